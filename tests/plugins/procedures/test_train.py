"""Training: where it stops, and measuring at chosen moments."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import reluscope as rs
from reluscope.context import Context, Interrupted
from reluscope.errors import RecipeError
from reluscope_plugins.procedures.train import Training

BATCHES = 5  # of the 1294 training digits, at 300 a batch


def table(**changes: Any) -> dict[str, Any]:
    base = {
        "title": "A training",
        "procedure": "train",
        "epochs": 3,
        "batch_size": 300,
        "flush_seconds": 0.0,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 16, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9},
        "scheduler": {"name": "one_cycle", "peak": 0.02},
    }
    return {**base, **changes}


@pytest.fixture(scope="module")
def lab() -> rs.Lab:
    return rs.Lab()


@pytest.fixture(scope="module")
def whole(lab: rs.Lab) -> xr.DataTree:
    return rs.run(table(metrics=[{"name": "firing_rate", "every": "1 step"}]), lab=lab)


@pytest.mark.parametrize(("max_steps", "epochs"), [(1, 0), (7, 1), (10, 2), (15, 3), (99, 3)])
def test_stopping_early_is_the_beginning_of_the_whole(
    lab: rs.Lab, whole: xr.DataTree, max_steps: int, epochs: int
) -> None:
    part = rs.run(table(max_steps=max_steps, metrics=[{"name": "firing_rate", "every": "1 step"}]), lab=lab)
    steps = min(max_steps, 3 * BATCHES)
    for group, dim, last in (("step", "step", steps), ("every_step", "step", steps), ("epoch", "epoch", epochs)):
        assert int(part[group].to_dataset()[dim].values[-1]) == last
        assert part[group].to_dataset().identical(whole[group].to_dataset().sel({dim: slice(0, last)}))


def test_a_resumed_run_stops_at_the_same_step(lab: rs.Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = table(max_steps=7, metrics=[{"name": "firing_rate", "every": "steps 0, 6, 7"}])
    checkpoint, left = Context.checkpoint, [6]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(recipe, lab=lab, out=tmp_path / "run.nc")
    resumed = rs.run(recipe, lab=lab, out=tmp_path / "run.nc", resume=True)
    expected = rs.run(recipe, lab=lab)
    for group in ("step", "epoch", "chosen_steps"):
        assert resumed[group].to_dataset().equals(expected[group].to_dataset())


def test_chosen_moments_are_those_of_every_step(lab: rs.Lab, whole: xr.DataTree) -> None:
    recipe = table(
        metrics=[
            {"name": "firing_rate", "every": "steps 0, 1, 10 and epochs 1, 2"},
            {"name": "dead_units", "every": "steps 1, 3"},
            {"name": "firing_rate", "every": "epochs 0, 3"},
        ]
    )
    found = rs.run(recipe, lab=lab)
    chosen = found["chosen_steps"].to_dataset()
    assert chosen["step"].values.tolist() == [0, 1, 3, 5, 10]
    rate = chosen["firing_rate"]
    assert np.isnan(rate.sel(step=3)).all()
    expected = whole["every_step/firing_rate"].sel(step=[0, 1, 5, 10])
    assert np.array_equal(rate.sel(step=[0, 1, 5, 10]), expected)
    dead = chosen["dead_units"].dropna("step")
    assert dead["step"].values.tolist() == [1, 3]
    epochs = found["chosen_epochs"].to_dataset()
    assert (epochs["epoch"].values.tolist(), epochs["step"].values.tolist()) == ([0, 3], [0, 15])
    assert np.array_equal(epochs["firing_rate"], whole["every_step/firing_rate"].sel(step=[0, 15]))


def test_comparing_chosen_moments_with_the_last(lab: rs.Lab) -> None:
    metrics = [{"name": "pattern_jaccard_last", "every": "steps 0, 3 and epochs 3", "split": "train"}]
    found = rs.run(table(metrics=metrics), lab=lab)["chosen_steps"].to_dataset()["pattern_jaccard_last"]
    assert found["step"].values.tolist() == [0, 3, 15]
    assert (found.sel(step=15) == 1).all()
    assert (found.sel(step=0) < 1).all()


@pytest.mark.parametrize(
    ("every", "max_steps", "words"),
    [
        ("steps 0, 16, 20", None, "step 16, but the training ends after 15 steps .3 whole epochs."),
        ("epochs 4", None, "epoch 4, but the training ends after 15 steps"),
        ("steps 8", 7, "step 8, but the training ends after 7 steps .1 whole epochs."),
        ("steps 0 and epochs 2", 7, "epoch 2, but"),
    ],
)
def test_a_moment_after_the_end(lab: rs.Lab, every: str, max_steps: int | None, words: str) -> None:
    changes = {} if max_steps is None else {"max_steps": max_steps}
    with pytest.raises(RecipeError, match=f"'firing_rate' is to be measured at {words}"):
        rs.run(table(metrics=[{"name": "firing_rate", "every": every}], **changes), lab=lab)


STEP_METRICS = [
    {"name": "pattern_distance", "every": "1 step"},
    {"name": "mean_pattern_temperature", "every": "1 epoch"},
    {"name": "mean_pattern_distance", "every": "2 steps", "split": "train", "samples": 100},
]


def test_looking_at_the_next_step_does_not_change_the_training(lab: rs.Lab, whole: xr.DataTree) -> None:
    tree = rs.run(table(metrics=[*STEP_METRICS, {"name": "firing_rate", "every": "1 step"}]), lab=lab)
    for group in ("step", "epoch"):
        mine, expected = tree[group].to_dataset(), whole[group].to_dataset()
        assert expected.data_vars
        assert all(mine[name].identical(expected[name]) for name in expected.data_vars)
    assert tree["every_step/firing_rate"].identical(whole["every_step/firing_rate"])


def test_the_pattern_distance_is_that_of_the_step_that_is_taken_next(lab: rs.Lab) -> None:
    """The same training by hand: patterns of the next batch before and after the optimizer's real step."""
    tree = rs.run(table(metrics=STEP_METRICS, max_steps=7), lab=lab)
    found = tree["every_step/pattern_distance"]
    seen: list[float] = []

    def step(self: Training, inputs: torch.Tensor, labels: torch.Tensor) -> None:
        before = rs.observe(self.model, inputs).pattern
        taken(self, inputs, labels)
        after = rs.observe(self.model, inputs).pattern
        seen.append(float(np.mean([(before[s] != after[s]).any(1).double().mean() for s in before])))

    taken = Training._step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "_step", step)
        rs.run(table(max_steps=7), lab=lab)
    assert len(seen) == 7
    # measured with the direction of the step, which is exact up to a rounding of the weights
    np.testing.assert_allclose(found.mean("site").values[:7], seen, atol=0.004)
    assert max(seen) > 0.01


def test_a_network_that_overflows_while_it_is_measured_has_diverged(lab: rs.Lab) -> None:
    deep = {"name": "mlp", "widths": [64, 16, 16, 16, 16, 10]}
    recipe = table(metrics=STEP_METRICS[:1], architecture=deep, scheduler={"name": "constant"})
    tree = rs.run({**recipe, "sweep": {"optimizer.learning_rate": [0.01, 1e12]}}, lab=lab)
    assert tree["outcome/diverged"].values.tolist() == [False, True]
