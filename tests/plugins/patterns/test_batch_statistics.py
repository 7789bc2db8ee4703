"""Batch norm with the statistics of given data, against training mode itself."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.batch_statistics import batch_statistics


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def dense() -> nn.Module:
    layers = [nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(6, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU()).double()


def images() -> nn.Module:
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    first = nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU())
    return nn.Sequential(first, nn.Conv2d(4, 5, 2), nn.BatchNorm2d(5, momentum=None), nn.ReLU()).double()


def in_training(model: nn.Module, data: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(model).train()(data)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize(("make", "shape"), [(dense, (50, 3)), (images, (20, 3, 6, 6))])
@pytest.mark.parametrize("sizes", [[], [1, 3], [7, 7], [2] * 5])
def test_network_is_that_of_training_mode_on_all_the_data(make: Any, shape: Any, sizes: list[int]) -> None:
    model, data = make(), 2 * drawn(*shape) + 1
    batches: Any = data.split([*sizes, len(data) - sum(sizes)]) if sizes else data
    with batch_statistics(model, list(batches) if sizes else data), torch.no_grad():
        torch.testing.assert_close(model(data), in_training(model, data), rtol=1e-10, atol=1e-12)
        # and a point does not depend on its neighbours
        torch.testing.assert_close(model(data[:1]), in_training(model, data)[:1], rtol=1e-10, atol=1e-12)


def test_labelled_batches_loaders_and_iterators_are_taken() -> None:
    model, data = dense(), drawn(20, 3)
    loader = DataLoader(TensorDataset(data, torch.zeros(20)), batch_size=6)
    for batches in (loader, [(part, None) for part in data.split(6)], iter(data.split(6)), [data]):
        with batch_statistics(model, batches), torch.no_grad():
            torch.testing.assert_close(model(data), in_training(model, data), rtol=1e-10, atol=1e-12)


def test_dropout_rests() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.BatchNorm1d(8)).double()
    data = drawn(30, 3)
    without = nn.Sequential(model[0], model[2])
    with batch_statistics(model, data), torch.no_grad():
        torch.testing.assert_close(model(data), in_training(without, data), rtol=1e-10, atol=1e-12)


def test_a_model_without_batch_norm_never_sees_the_data() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    with batch_statistics(model, torch.zeros(1, 99)):
        assert not model.training


def state(model: nn.Module) -> list[Any]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    modules = [
        (module.training, len(module._forward_pre_hooks), len(module._forward_hooks)) for module in model.modules()
    ]
    names = [(name, id(value), value.data_ptr()) for name, value in tensors]
    return [modules, names, *(value.detach().clone() for _, value in tensors), torch.get_rng_state()]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_model_is_left_as_it_was(mode: bool, fails: bool) -> None:
    model = images().train(mode)
    batches = [drawn(5, 3, 6, 6), drawn(5, 2, 6, 6) if fails else drawn(5, 3, 6, 6)]
    before = state(model)
    with pytest.raises(ObservationError) if fails else contextlib.nullcontext(), batch_statistics(model, batches):
        torch.rand(3)
    for one, other in zip(before, state(model), strict=True):
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other
    assert model[0][1].running_mean is None


def test_error_within_restores_too() -> None:
    model = dense()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    data = drawn(5, 3)

    def fail() -> None:
        with batch_statistics(model, data):
            assert not torch.equal(model[1].running_mean, before["1.running_mean"])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_one_batch_costs_one_pass_and_several_one_for_each_batch_norm() -> None:
    model, data = dense(), drawn(12, 3)
    passes = []
    model[0].register_forward_hook(lambda module, args, output: passes.append(len(args[0])))
    with batch_statistics(model, data):
        pass
    assert passes == [12]
    passes.clear()
    with batch_statistics(model, list(data.split(4))):
        pass
    assert passes == [4, 4, 4] * 3


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.norm(x).relu())


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (Reused(), torch.zeros(5, 3), "'norm' is called several times"),
        (nn.BatchNorm1d(3), [], "the data gave no batch"),
        (nn.BatchNorm1d(3), torch.zeros(1, 3), "one value a channel"),
        (nn.BatchNorm1d(3), torch.zeros(0, 3), "empty batch"),
        (dense(), drawn(5, 4), "RuntimeError on the data: .*multiplied.*expected batches that it takes"),
        (dense(), torch.zeros(5, 3), "RuntimeError on the data: .*dtype.*of its own dtype"),
        (dense(), drawn(5, 3) * torch.nan, "the data hold 15 NaN among 15 values, expected finite values"),
    ],
)
def test_bad_data_say_what_is_wrong(model: nn.Module, data: Any, message: str) -> None:
    with pytest.raises(ObservationError, match=message), batch_statistics(model, data):
        pass
