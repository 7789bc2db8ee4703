"""Metrics of patterns on networks of torchvision, unchanged, against a dictionary of their patterns."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import xarray as xr
from torch import Tensor, nn

import reluscope as rs
from reluscope import random_state
from reluscope.errors import PluginError, ReluscopeError
from reluscope.observation import Observation, observe
from reluscope_plugins.patterns.estimators import corrected_entropy
from reluscope_plugins.patterns.keys import false_merge_bound
from reluscope_plugins.patterns.multiplicities import multiplicities

METRICS = [
    "pattern_total",
    "most_frequent_pattern",
    "pattern_entropy",
    "relative_pattern_entropy",
    "pattern_entropy_given_class",
    "pattern_class_information",
    "global_pattern_total",
    "global_pattern_entropy",
]


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def resnet18() -> nn.Module:
    model: nn.Module = torchvision.models.resnet18(weights=None)
    return model


def vit_b_16() -> nn.Module:
    model: nn.Module = torchvision.models.vit_b_16(weights=None)
    return model


def entropy(seen: Counter[Any]) -> float:
    return -math.fsum(n / seen.total() * math.log2(n / seen.total()) for n in seen.values())


def rows_as_bytes(pattern: Tensor) -> list[bytes]:
    assert pattern.dtype == torch.bool
    return [row.tobytes() for row in pattern.numpy()]


def compare(ds: xr.Dataset, observation: Observation, labels: list[int]) -> None:
    """Compare what was measured with a dictionary of what was observed."""
    assert ds.site.values.tolist() == list(observation.sites)
    for site in observation.sites:
        found = ds.sel(site=site)
        pattern = observation.pattern[site]
        rows = rows_as_bytes(pattern)
        of_row = [labels[number * len(labels) // len(rows)] for number in range(len(rows))]
        seen, joint, classes = Counter(rows), Counter(zip(of_row, rows, strict=True)), Counter(of_row)
        assert float(found.pattern_total) == len(seen)
        assert float(found.most_frequent_pattern) == max(seen.values()) / len(rows)
        bits = pattern.shape[1]
        greatest = min(bits, math.log2(len(rows)))
        assert float(found.pattern_entropy) == pytest.approx(entropy(seen), rel=1e-11, abs=1e-11)
        assert float(found.relative_pattern_entropy) == pytest.approx(entropy(seen) / greatest, rel=1e-11, abs=1e-11)
        corrected = corrected_entropy(multiplicities(list(seen.values())), limit=bits)
        assert float(found.pattern_entropy_corrected) == corrected
        assert float(found.pattern_singleton_share) == sum(n == 1 for n in seen.values()) / len(seen)
        assert float(found.pattern_false_merge_bound) == false_merge_bound(len(seen), bits)
        given = entropy(joint) - entropy(classes)
        information = entropy(seen) - given
        assert float(found.pattern_entropy_given_class) == pytest.approx(given, rel=1e-9, abs=1e-9)
        assert float(found.pattern_class_information) == pytest.approx(information, rel=1e-9, abs=1e-9)
    whole = [
        b"".join(
            observation.pattern[site].reshape(len(labels), -1)[sample].numpy().tobytes() for site in observation.sites
        )
        for sample in range(len(labels))
    ]
    assert float(ds.global_pattern_total) == len(set(whole))
    assert float(ds.global_pattern_entropy) == pytest.approx(entropy(Counter(whole)), abs=1e-12)


def plain(state: Any) -> Any:
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain(value) for value in state]
    return state.numpy() if isinstance(state, Tensor) else state


class Untouched:
    """All that measuring must leave as it was."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.before = self.now()

    def now(self) -> dict[str, Any]:
        modules = list(self.model.modules())
        return {
            "tensors": {name: tensor.clone() for name, tensor in self.model.state_dict().items()},
            "identities": [id(tensor) for tensor in (*self.model.parameters(), *self.model.buffers())],
            "gradients": [(p.grad, p.requires_grad) for p in self.model.parameters()],
            "modes": [module.training for module in modules],
            "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in modules],
            "attributes": [sorted(vars(module)) for module in modules],
            "random": copy.deepcopy(random_state.capture()),
            "grad_mode": torch.is_grad_enabled(),
        }

    def check(self) -> None:
        now = self.now()
        for name, tensor in now.pop("tensors").items():
            assert torch.equal(tensor, self.before["tensors"][name]), name
        np.testing.assert_equal(plain(now.pop("random")), plain(self.before["random"]))
        assert now == {name: value for name, value in self.before.items() if name not in ("tensors", "random")}


def images(side: int, samples: int, dtype: torch.dtype) -> Tensor:
    """The last image comes twice."""
    x = torch.randn(samples, 3, side, side, dtype=dtype)
    x[-1] = x[-2]
    return x


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_resnet18(dtype: torch.dtype, training: bool) -> None:
    grad = training == (dtype == torch.float64)
    measured(resnet18, images(64, 4, dtype), [0, 1, 1, 0], training=training, grad=grad)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_vit_b_16(training: bool) -> None:
    # at the size that it is made for; float64 in one of the two modes
    dtype = torch.float64 if training else torch.float32
    measured(vit_b_16, images(224, 2, dtype), [0, 1], training=training, grad=training)


def measured(build: Callable[[], nn.Module], x: Tensor, labels: list[int], *, training: bool, grad: bool) -> None:
    model = build().to(x.dtype).train(training)
    with torch.set_grad_enabled(grad):
        untouched = Untouched(model)
        ds = rs.measure(model, [(x, torch.tensor(labels))], METRICS, training=training)
        untouched.check()
        observation = observe(model, x, patterns_only=not training)
        untouched.check()
    compare(ds, observation, labels)


def test_a_resnet_in_training_mode_is_measured_in_evaluation_mode() -> None:
    model, x = resnet18().train(), images(64, 4, torch.float32)
    rs.measure(model, [x], "pattern_total", training=True)
    untouched = Untouched(model)
    ds = rs.measure(model, [(x, torch.tensor([0, 1, 1, 0]))], METRICS)
    untouched.check()
    compare(ds, observe(copy.deepcopy(model).eval(), x), [0, 1, 1, 0])


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_a_metric_that_raises_leaves_the_network_alone(training: bool) -> None:
    @rs.metric(dims=("site",), needs={"patterns"})
    def breaks(observation: Observation) -> dict[str, float]:
        """Fail."""
        raise RuntimeError("on purpose")

    model, x = resnet18().train(not training), images(64, 2, torch.float32)
    untouched = Untouched(model)
    with pytest.raises(PluginError, match="on purpose"):
        rs.measure(model, [x], ["pattern_total", breaks], training=training)
    untouched.check()


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_bad_data_leave_the_network_alone(training: bool) -> None:
    model, x = resnet18().train(not training), images(64, 2, torch.float32)
    untouched = Untouched(model)
    good = (x, torch.tensor([0, 1]))
    bad = x.clone()
    bad[1, 2, 3, 4] = math.nan
    for batch, what in (
        ((bad, torch.tensor([0, 1])), "NaN"),
        ((x[:, :2], torch.tensor([0, 1])), "channels"),
        ((x, torch.tensor([0.5, 1.5])), "integer labels"),
    ):
        with pytest.raises(ReluscopeError, match=f"batch 1.*{what}"):
            rs.measure(model, [good, batch], METRICS, training=training)
        untouched.check()
