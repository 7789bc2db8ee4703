"""What ActCooLR refuses, and what it says."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers.batches import first_samples


def test_no_batch(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    nets.backward(model, *nets.batch_of(0))
    optimizer.step()
    with pytest.raises(ObservationError, match=r"got no batch.*scheduler\.step\(x\)"):
        scheduler.step()


def test_a_closure(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    with pytest.raises(ObservationError, match="got a closure"):
        optimizer.step(lambda: torch.zeros(()))
    with pytest.raises(ObservationError, match="got a closure"):
        optimizer.step(closure=lambda: torch.zeros(()))
    assert scheduler.last_epoch == 0


def test_lbfgs(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    with pytest.raises(ObservationError, match="LBFGS evaluates the loss several times"):
        ActCooLR(torch.optim.LBFGS(model.parameters()), model, 5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"total_steps": 0}, "total_steps is 0, expected an integer of at least 1"),
        ({"total_steps": 2.5}, "total_steps is 2.5"),
        ({"t_start": 0}, "t_start is 0, expected a number above 0"),
        ({"t_start": math.nan}, "t_start is nan"),
        ({"gamma": -1}, "gamma is -1"),
        ({"curve": "temprature"}, "Did you mean 'temperature'"),
        ({"samples": 0}, "samples is 0, expected an integer of at least 1"),
        ({"every": 1.5}, "every is 1.5"),
        ({"every": True}, "every is True"),
        ({"warmup": 1.0}, "warmup is 1.0, expected a share from 0 to below 1"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"warmup": None}, "warmup is None, expected a share from 0 to below 1; for none give 0"),
        ({"warmup": False}, "warmup is False"),
        ({"warmup": math.nan}, "warmup is nan"),
        ({"warmup": "0.1"}, "warmup is '0.1'"),
        ({"width": -1}, "width is -1, expected an integer of at least 0"),
        ({"width": 6.4}, "width is 6.4"),
        ({"width": True}, "width is True"),
        ({"width": None}, "width is None"),
        ({"max_step": 0}, "max_step is 0, expected a number above 0"),
        ({"t_start": math.inf}, "t_start is inf, expected a finite temperature"),
        ({"t_start": -math.inf, "curve": "probability"}, "t_start is -inf"),
        ({"per_group": "no"}, "per_group is of class str, expected bool; give true for a rate of its own"),
        ({"per_group": 1}, "per_group is of class int, expected bool"),
        ({"per_group": None}, "per_group is of class NoneType, expected bool"),
    ],
)
def test_wrong_parameters(nets: SimpleNamespace, parameters: dict[str, Any], words: str) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(RecipeError, match=words):
        ActCooLR(optimizer, model, **{"total_steps": 5, **parameters})


def test_no_network(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for wrong in (None, "mlp", model.forward):
        with pytest.raises(RecipeError, match=r"model is of class .*, expected Module; give the network"):
            ActCooLR(optimizer, wrong, 5)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="optimizer is of class Sequential, expected Optimizer; give the optimizer"):
        ActCooLR(model, optimizer, 5)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"model is of class NoneType"):
        rs.Lab().schedulers["actcoolr"].build(optimizer, total_steps=5)


def test_a_network_without_activation(nets: SimpleNamespace) -> None:
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    with pytest.raises(ObservationError, match="called no activation function"):
        nets.take(model, optimizer, scheduler, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (torch.zeros(4, 9), r"ActCooLR: the network cannot be run on the batch \(RuntimeError.*scheduler\.step\(x\)"),
        ((torch.zeros(4, 8), torch.zeros(4, 8)), r"cannot be run on the batch \(TypeError"),
        ({"y": torch.zeros(4, 8)}, r"cannot be run on the batch \(TypeError"),
        (torch.zeros(0, 8), "got an empty batch"),
        (torch.zeros(()), "got a scalar"),
        (3.0, "got float, expected a tensor"),
    ],
)
@pytest.mark.parametrize("at", [0, 3])
def test_a_wrong_batch(nets: SimpleNamespace, wrong: Any, words: str, at: int) -> None:
    """At step 0 a fit finds out, at step 3 a measurement."""
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 9, every=1)
    for step in range(at):
        nets.take(model, optimizer, scheduler, step)
    x, y = nets.batch_of(at)
    nets.backward(model, x, y)
    optimizer.step()
    moved = {key: value.clone() for key, value in model.state_dict().items()}
    state, randomness = scheduler.state_dict(), torch.get_rng_state()
    with pytest.raises(ObservationError, match=words) as caught:
        scheduler.step(wrong)
    if "cannot be run" in words:
        assert type(caught.value.__cause__) in (RuntimeError, TypeError)
    assert nets.same(model.state_dict(), moved)
    assert torch.equal(torch.get_rng_state(), randomness)
    assert repr(scheduler.state_dict()) == repr(state)
    scheduler.step(x)
    assert (scheduler.last_epoch, scheduler.probes) == (at + 1, state["probes"])
    nets.take(model, optimizer, scheduler, at + 1)
    assert (scheduler.last_epoch, scheduler.fits) == (at + 2, 1)
    assert scheduler.probes > state["probes"]


class Two(NamedTuple):
    x: torch.Tensor
    shift: torch.Tensor


class Fields(tuple[Any, ...]):
    """A tuple whose constructor takes its fields one by one."""

    def __new__(cls, x: Any, shift: Any) -> Fields:
        return super().__new__(cls, (x, shift))

    @property
    def shift(self) -> Any:
        return self[1]


class Only(tuple[Any, ...]):
    """A tuple of one field, which `Only([x])` would take for the field itself."""

    def __new__(cls, x: Any) -> Only:
        return super().__new__(cls, (x,))


class Numbers(list[Any]):
    """A list whose constructor takes what a list's does."""


class Closed(tuple[Any, ...]):
    """A tuple that only its own class method makes."""

    def __new__(cls, x: Any, shift: Any, key: int) -> Closed:
        return super().__new__(cls, (x, shift))


@pytest.mark.parametrize("kind", [Two, Fields, lambda x, shift: Numbers([x, shift]), lambda x, shift: [x, shift]])
def test_parts_of_a_batch_keep_their_class(kind: Any) -> None:
    x, shift = torch.randn(5, 3), torch.randn(5)
    whole = kind(x, shift)
    for cut in (first_samples(whole, 2), first_samples((whole, 1), 2)[0], first_samples({"a": whole}, 2)["a"]):
        assert type(cut) is type(whole)
        assert torch.equal(cut[0], x[:2])
        assert torch.equal(cut[1], shift[:2])
    assert len(whole[0]) == 5


def test_other_parts_of_a_batch() -> None:
    x = torch.randn(5, 3)
    (one,) = first_samples(Only(x), 2)
    assert torch.equal(one, x[:2])
    for same in ("text", b"bytes", range(9), x.shape, None, 3, Two(1, 2), torch.tensor(1.0)):  # type: ignore[arg-type]
        assert first_samples(same, 2) is same
    with pytest.raises(ObservationError, match=r"got a Closed that can be made anew neither .*; pass a tuple"):
        first_samples(Closed(x, x, 1), 2)


@pytest.mark.parametrize("kind", [Two, Fields])
def test_a_network_that_takes_a_tuple_by_its_fields(nets: SimpleNamespace, kind: Any) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nets.mlp(8, 64, 3)

        def forward(self, scale: torch.Tensor, both: Any) -> torch.Tensor:
            return self.inner(scale * (both[0] + both.shift))

    model = Shifted()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5, samples=16, max_step=math.inf)
    for step in range(5):
        x, y = nets.batch_of(step)
        batch = (torch.ones(len(x), 1), kind(x, 0.5 * x))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(*batch), y).backward()
        optimizer.step()
        scheduler.step(batch)
    assert scheduler.fits == 1
    assert 0 < scheduler.measured[0] < 1
