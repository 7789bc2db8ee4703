"""Residual networks that widen with every block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

PYRAMIDNET = Lab(plugins=[architectures]).architectures["pyramidnet"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# The exact numbers are asserted in the tests of an independent implementation (osmr/imgclsmob, pyramidnet_cifar).
# Han et al. 2017 print 1.7 and 3.8 million for alpha 48 and 84 on CIFAR-10: 1.77 cut off, but a little less than the
# 3.90 of their own published code, which is what is built here.
@pytest.mark.parametrize(
    ("alpha", "classes", "exact"),
    [
        (48, 10, 1_772_706),
        (48, 100, 1_778_556),
        (84, 10, 3_904_446),
        (84, 100, 3_913_536),
        (270, 10, 28_485_477),
        (270, 100, 28_511_307),
    ],
)
def test_parameters_are_as_many_as_published(alpha: int, classes: int, exact: int) -> None:
    with torch.device("meta"):
        model = PYRAMIDNET.build(depth=110, alpha=alpha, classes=classes)
    assert count(model) == exact
    assert model.head.in_features == 16 + alpha


@pytest.mark.parametrize(("depth", "alpha"), [(20, 84), (20, 48), (32, 84), (8, 7), (8, 0.7)])
def test_parameters_are_as_many_as_the_sum_says(depth: int, alpha: float) -> None:
    blocks = (depth - 2) // 2
    widths = [16]
    for k in range(1, blocks + 1):
        exact = 16 + Fraction(alpha) * k / blocks
        widths.append(math.floor(exact + Fraction(1, 2)))
    total = 3 * 16 * 9 + 2 * 16
    for inputs, outputs in itertools.pairwise(widths):
        total += 2 * inputs + inputs * outputs * 9 + 2 * outputs + outputs * outputs * 9 + 2 * outputs
    total += 2 * widths[-1] + widths[-1] * 10 + 10
    assert count(PYRAMIDNET.build(depth=depth, alpha=alpha)) == total


def test_widths_are_rounded_to_the_nearest() -> None:
    # 18.5, 21 and 23.5: halves go to the even number, as Python's round in the authors' code has it.
    model = PYRAMIDNET.build(depth=8, alpha=7.5)
    stages = (model.stage1, model.stage2, model.stage3)
    assert [stage.block1.conv2.out_channels for stage in stages] == [18, 21, 24]


def test_values_are_those_of_the_loops(dense: SimpleNamespace, scrambled: Callable[..., dict[str, np.ndarray]]) -> None:
    model = PYRAMIDNET.build(depth=8, alpha=5, width=2, classes=3).double().eval()
    p = scrambled(model)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = []
    for image in x.numpy():
        value = dense.normalise(dense.convolve(image, p["stem.conv.weight"]), p, "stem.norm")
        # round(2 + 5 k / 3)
        for stage, channels in enumerate((4, 5, 7), start=1):
            name, stride = f"stage{stage}.block1", 1 if stage == 1 else 2
            branch = dense.normalise(value, p, f"{name}.norm1")
            branch = dense.convolve(branch, p[f"{name}.conv1.weight"], stride=stride)
            branch = np.maximum(dense.normalise(branch, p, f"{name}.norm2"), 0)
            branch = dense.normalise(dense.convolve(branch, p[f"{name}.conv2.weight"]), p, f"{name}.norm3")
            value = branch + dense.shortcut(value, channels, stride, before=0, average=True)
        value = np.maximum(dense.normalise(value, p, "final.norm"), 0)
        expected.append(p["head.weight"] @ value.mean(axis=(1, 2)) + p["head.bias"])
    assert np.allclose(model(x).detach().numpy(), np.array(expected), rtol=1e-10, atol=1e-10)


def test_each_block_activates_once() -> None:
    observation = rs.observe(PYRAMIDNET.build(seed=0).eval(), torch.zeros(1, 3, 32, 32))
    assert list(observation.sites) == [
        *(f"stage{stage}.block{block}.relu#0" for stage in (1, 2, 3) for block in (1, 2, 3)),
        "final.relu#0",
    ]
    # round(16 + 84 k / 9); fewer activation layers than ResNet-20, as Hartmann 2025, section 3.1.6, has it.
    widths = [observation.pattern[site].shape[1] for site in observation.sites]
    assert widths == [25, 35, 44, 53, 63, 72, 81, 91, 100, 100]


def test_initial_weights_are_he_normal(are_he_normal: Callable[..., bool]) -> None:
    """Null: each convolution's weights N(0, 2 / fan_out), 432 to 90,000 of them in 19 layers; error 1e-6 in all."""
    model = PYRAMIDNET.build(seed=0)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 19
    assert are_he_normal(convolutions, mode="fan_out")
    assert not are_he_normal(convolutions, mode="fan_in")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 12}, "architecture 'pyramidnet': depth is 12"),
        ({"alpha": 0}, "alpha is 0, expected a number above 0"),
        ({"alpha": -3}, "alpha is -3"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": math.inf}, "alpha is inf"),
        ({"alpha": "84"}, "alpha is '84'"),
        ({"alpha": True}, "alpha is True"),
        ({"width": 0}, "width is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"input_channels": None}, "input_channels is None"),
        ({"activation": "reloo"}, "Did you mean 'relu"),
        ({"alfa": 3}, "Did you mean 'alpha'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        PYRAMIDNET.build(**params)
    assert message in str(caught.value)
