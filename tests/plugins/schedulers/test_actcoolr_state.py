"""ActCooLR's state: interrupted trainings end as if they had not been, and states of others are refused."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope import random_state
from reluscope.context import Context, Interrupted
from reluscope.errors import RecipeError
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers.followed_transition import FLOOR


@pytest.mark.parametrize("per_group", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_resumed_at_any_step_it_ends_as_if_never_interrupted(nets: SimpleNamespace, name: str, per_group: bool) -> None:
    def start(lr: float) -> tuple[nn.Module, torch.optim.Optimizer, ActCooLR]:
        model = nets.Tied()
        optimizer = nets.optimizers[name](nets.groups_of(model, lr), lr)
        return model, optimizer, ActCooLR(optimizer, model, 20, t_start=1.5, every=2, per_group=per_group)

    torch.manual_seed(0)
    whole = start(0.01)
    saved, rates = [], []
    for step in range(20):
        file = io.BytesIO()
        torch.save([*(one.state_dict() for one in whole), random_state.capture()], file)
        saved.append(file.getvalue())
        rates.append(nets.take(*whole, step))
    measured = whole[2].probes
    for begin in range(1, 20):
        torch.manual_seed(5)
        again = start(0.5)
        *states, randomness = torch.load(io.BytesIO(saved[begin]), weights_only=True)
        for one, state in zip(again, states, strict=True):
            one.load_state_dict(state)
        random_state.restore(randomness)
        assert [nets.take(*again, step) for step in range(begin, 20)] == rates[begin:]
        assert nets.same(again[0].state_dict(), whole[0].state_dict())
        assert nets.same(again[1].state_dict(), whole[1].state_dict())
        assert again[2].probes == measured


def test_a_state_of_other_groups_is_refused(nets: SimpleNamespace) -> None:
    model = nets.Tied()
    state = ActCooLR(torch.optim.SGD(model.parameters(), lr=0.1), model, 5).state_dict()
    other = ActCooLR(torch.optim.SGD(nets.groups_of(model, 0.1)), model, 5)
    with pytest.raises(RecipeError, match="a state of 1 parameter groups, expected 2"):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state, other: {}, r"a state without \['_last_lr', .*'width'\], expected what its own state_dict gives"),
        (lambda state, other: other, r"without \[.*'mu'.*\] and with the unknown keys \[.*'step_size'\], expected"),
        (lambda state, other: {key: state[key] for key in state if key != "sigma"}, r"without \['sigma'\], expected"),
        # a state of before the length of a step was limited
        (
            lambda state, other: {key: state[key] for key in state if key not in ("max_step", "reach")},
            r"without \['max_step', 'reach'\], expected what its own state_dict gives",
        ),
        (lambda state, other: {**state, "spare": 1}, r"a state with the unknown keys \['spare'\], expected"),
        (lambda state, other: {**state, "t_start": -1}, "t_start is -1, expected a number above 0"),
        (lambda state, other: {**state, "max_step": -5.0}, "max_step is -5.0, expected a number above 0"),
        (lambda state, other: {**state, "samples": 0}, "samples is 0, expected an integer of at least 1"),
        (lambda state, other: {**state, "mu": [0.0, 1.0]}, "a state of .*'mu': 2.* numbers, expected 1 of each"),
        (lambda state, other: None, "state_dict is of class NoneType, expected Mapping"),
    ],
)
def test_a_foreign_state_is_refused_whole(nets: SimpleNamespace, change: Any, words: str) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    other = torch.optim.lr_scheduler.StepLR(torch.optim.SGD(model.parameters(), lr=0.3), 3).state_dict()
    scheduler = ActCooLR(optimizer, model, 5)
    for step in range(2):
        nets.take(model, optimizer, scheduler, step)
    later = ActCooLR(torch.optim.SGD(model.parameters(), lr=0.4), model, 7, every=3)
    before = scheduler.state_dict()
    with pytest.raises(RecipeError, match=words):
        scheduler.load_state_dict(change(later.state_dict(), other))
    assert scheduler.state_dict() == before
    assert optimizer.param_groups[0]["lr"] == before["_last_lr"][0]


def test_a_state_brings_its_own_length(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    given = {"every": 3, "samples": 5, "width": 7, "max_step": 2.5, "warmup": 0.5, "gamma": 2.0}
    state = ActCooLR(torch.optim.SGD(model.parameters(), lr=0.4), model, 7, **given).state_dict()
    scheduler = ActCooLR(torch.optim.SGD(model.parameters(), lr=0.1), model, 5)
    scheduler.load_state_dict(state)
    assert {key: scheduler.state_dict()[key] for key in given} == given
    assert repr(scheduler.state_dict()) == repr(state)
    assert (scheduler.curve.total_steps, scheduler.every, scheduler.get_last_lr()) == (7, 3, [FLOOR])


def table(**changes: Any) -> dict[str, Any]:
    return {
        "title": "A training",
        "procedure": "train",
        "epochs": 3,
        "batch_size": 300,
        "flush_seconds": 0.0,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 32, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5},
        "scheduler": {"name": "actcoolr", "t_start": 1.0, "every": 4},
        **changes,
    }


def test_in_a_recipe_and_resumed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = rs.Lab()
    expected = rs.run(table(), lab=lab)
    rates = expected["step"]["rate"].values
    assert rates.shape == (15,)
    assert rates[0] == FLOOR
    assert len(np.unique(rates)) == 15
    checkpoint, left = Context.checkpoint, [7]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(table(), lab=lab, out=tmp_path / "run.nc")
    resumed = rs.run(table(), lab=lab, out=tmp_path / "run.nc", resume=True)
    for group in ("step", "epoch"):
        assert resumed[group].to_dataset().equals(expected[group].to_dataset())
