"""What ActCooLR refuses, and what it says."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.schedulers import ActCooLR


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
    ],
)
def test_wrong_parameters(nets: SimpleNamespace, parameters: dict[str, Any], words: str) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(RecipeError, match=words):
        ActCooLR(optimizer, model, **{"total_steps": 5, **parameters})


def test_a_network_without_activation(nets: SimpleNamespace) -> None:
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    with pytest.raises(ObservationError, match="called no activation function"):
        nets.take(model, optimizer, scheduler, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [torch.zeros(4, 9), torch.zeros(0, 8), torch.zeros(()), 3.0])
def test_a_wrong_batch(nets: SimpleNamespace, wrong: Any) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    nets.backward(model, *nets.batch_of(0))
    optimizer.step()
    moved = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises((ObservationError, RuntimeError)):
        scheduler.step(wrong)
    assert nets.same(model.state_dict(), moved)
    assert not nets.same(moved, weights)
