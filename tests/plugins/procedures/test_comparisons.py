"""Training measured by metrics that compare moments: by a slow reference, over sweeps, killed and resumed."""

from __future__ import annotations

import copy
import itertools
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import reluscope as rs
from reluscope import hookimpl
from reluscope.context import Context, Interrupted
from reluscope.entries import Procedure
from reluscope.errors import RecipeError
from reluscope.observation import observe
from reluscope_plugins import architectures, datasets, patterns, performance, procedures, schedulers
from reluscope_plugins.patterns.similarity import between_moments
from reluscope_plugins.procedures.train import Training

JACCARD = ["pattern_jaccard_first", "pattern_jaccard_previous", "pattern_jaccard_last"]
SAMPLES = 120
SEEN: dict[tuple[Any, ...], torch.nn.Module] = {}


def watched(context: Context, *, epochs: int, batch_size: int = 300) -> None:
    training = Training(context, epochs, batch_size, 50, torch.device("cpu"))

    def look(epoch: int) -> None:
        SEEN[(*context.point.values(), epoch)] = copy.deepcopy(training.model)

    training.run(after_epoch=look)


class Watched:
    """A procedure that trains as `train` does, and keeps what the network was."""

    @hookimpl
    def reluscope_procedures(self) -> list[Procedure]:
        return [Procedure(name="watched", summary="Trains", definition=watched, groups={"epoch": "each epoch"})]


@pytest.fixture(scope="module")
def lab() -> rs.Lab:
    plugins = [architectures, datasets, patterns, performance, procedures, schedulers, Watched()]
    return rs.Lab(plugins=plugins)


def table(**changes: Any) -> dict[str, Any]:
    base = {
        "title": "Moments compared",
        "procedure": "train",
        "epochs": 2,
        "batch_size": 300,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 8, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.5},
        "scheduler": {"name": "constant"},
        "metrics": [{"name": name, "split": "train", "samples": SAMPLES} for name in JACCARD],
    }
    return {**base, **changes}


DEPTHS = [[64, 8, 10], [64, 8, 70, 10]]


def slow_jaccard(one: Counter[Any], other: Counter[Any]) -> float:
    every = set(one) | set(other)
    return sum(min(one[p], other[p]) for p in every) / sum(max(one[p], other[p]) for p in every)


def test_similarities_are_those_of_dictionaries(lab: rs.Lab) -> None:
    SEEN.clear()
    sweep = {"seed": [0, 1], "architecture.widths": DEPTHS}
    tree = rs.run(table(procedure="watched", sweep=sweep), lab=lab)
    found = tree["epoch"].to_dataset()
    between = between_moments(tree["pattern_counts_epoch"].to_dataset(), "epoch")
    digits = lab.datasets["digits"].load("train", None, lab=lab)
    x = torch.stack([digits[place][0] for place in range(SAMPLES)])
    counts = {}
    for key, model in SEEN.items():
        observation = observe(model.eval(), x)
        counts[key] = {s: Counter(map(tuple, observation.pattern[s].tolist())) for s in observation.sites}
    assert len(counts) == 12
    assert len(found.site) == 2
    widths = found.widths.values.tolist()
    for seed, label, epoch, site in itertools.product([0, 1], widths, range(3), found.site.values.tolist()):
        now = counts[seed, label, epoch]
        at = found.sel(seed=seed, widths=label, epoch=epoch, site=site)
        others = [counts[seed, label, other] for other in (0, max(0, epoch - 1), 2)]
        for name, other in zip(JACCARD, others, strict=True):
            value = float(at[name])
            assert value == slow_jaccard(now[site], other[site]) if site in now else np.isnan(value)
        for other in range(3):
            value = float(between.sel(seed=seed, widths=label, epoch=epoch, other_epoch=other, site=site))
            expected = slow_jaccard(now[site], counts[seed, label, other][site]) if site in now else np.nan
            np.testing.assert_equal(value, expected)
    assert found.pattern_jaccard_last.attrs["split"] == "train"


def test_steps_are_compared_as_epochs_are(lab: rs.Lab) -> None:
    metrics = [
        {"name": name, "split": "train", "samples": SAMPLES, "every": every}
        for name in JACCARD
        for every in ("1 epoch", "5 steps")  # an epoch has five
    ]
    tree = rs.run(table(metrics=metrics), lab=lab)
    epochs, steps = tree["epoch"].to_dataset(), tree["every_5_steps"].to_dataset()
    assert steps.step.values.tolist() == [0, 5, 10]
    for name in JACCARD:
        np.testing.assert_array_equal(epochs[name], steps[name])
    assert (epochs.pattern_jaccard_last.isel(epoch=0) < 1).any()
    assert {"pattern_counts_epoch", "pattern_counts_every_5_steps"} <= set(tree.children)


def test_last_alone_at_a_cadence_of_its_own(lab: rs.Lab) -> None:
    metrics = [{"name": "pattern_jaccard_last", "split": "train", "samples": SAMPLES, "every": "2 epochs"}]
    found = rs.run(table(metrics=metrics, epochs=3), lab=lab)["every_2_epochs"].to_dataset()
    assert list(found.data_vars) == ["pattern_jaccard_last"]
    assert found.epoch.values.tolist() == [0, 2]
    assert (found.pattern_jaccard_last.sel(epoch=2) == 1).all()  # the last that was measured


def same_bits(left: xr.DataTree, right: xr.DataTree) -> None:
    assert set(left.groups) == set(right.groups)
    for node in left.subtree:
        other = right[node.path]
        assert set(node.variables) == set(other.variables)
        for name, variable in node.variables.items():
            assert variable.dims == other.variables[name].dims
            assert variable.dtype == other.variables[name].dtype
            assert variable.values.tobytes() == other.variables[name].values.tobytes(), f"{node.path}/{name}"


@pytest.fixture(scope="module")
def stopped_and_whole(lab: rs.Lab) -> tuple[dict[str, Any], xr.DataTree]:
    recipe = table(
        metrics=[
            *({"name": name, "split": "train", "samples": SAMPLES} for name in JACCARD),
            *({"name": name, "samples": 50, "every": "2 steps"} for name in ("pattern_changes", *JACCARD[1:])),
        ],
        flush_seconds=0.0,
        batch_size=500,
        sweep={"architecture.widths": DEPTHS},
    )
    return recipe, rs.run(recipe, lab=lab)


@pytest.mark.parametrize("checkpoint", [2, 8])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    lab: rs.Lab,
    stopped_and_whole: tuple[dict[str, Any], xr.DataTree],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    checkpoint: int,
) -> None:
    recipe, whole = stopped_and_whole
    left = [checkpoint]
    original = Context.checkpoint

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        original(context, state)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "checkpoint", interrupted)
        with pytest.raises(Interrupted):
            rs.run(recipe, lab=lab, out=tmp_path / "run.nc")
    same_bits(rs.run(recipe, lab=lab, out=tmp_path / "run.nc", resume=True), whole)
    same_bits(rs.open_archive(tmp_path / "run.nc", verify=True), whole)


def test_a_point_that_diverges_leaves_the_tables_of_the_others(lab: rs.Lab, tmp_path: Path) -> None:
    metrics = [{"name": name, "split": "train", "samples": SAMPLES} for name in JACCARD]
    late = [{"name": "pattern_jaccard_last", "samples": 50, "every": "epochs 1, 2"}]
    architecture = {"name": "mlp", "widths": DEPTHS[1]}
    recipe = table(metrics=[*metrics, *late], architecture=architecture)
    alone = rs.run(recipe, lab=lab)
    both = {**recipe, "sweep": {"optimizer.learning_rate": [0.5, 1e30]}}
    rs.run(both, lab=lab, out=tmp_path / "run.nc")
    tree = rs.open_archive(tmp_path / "run.nc", verify=True)
    assert tree["outcome/diverged"].values.tolist() == [False, True]
    for group in ("pattern_counts_epoch", "pattern_counts_chosen_epochs"):
        found, expected = tree[group].to_dataset(), alone[group].to_dataset()
        good = found.sel(learning_rate=0.5)
        for name in ("pattern_key", "pattern_count", "pattern_site"):
            assert found[name].dtype == expected[name].dtype
            assert found[name].dtype.kind in "iu"
            size = expected.sizes["pattern"]
            np.testing.assert_array_equal(
                good[name].isel(learning_rate=0, missing_dims="ignore")[..., :size], expected[name]
            )
            assert not good[name][..., size:].any()
    assert (tree["pattern_counts_epoch/pattern_key"].values >= 2**53).any()
    tables = tree["pattern_counts_epoch"].to_dataset()
    assert not tables.pattern_count.sel(learning_rate=1e30, epoch=[1, 2]).any()
    epochs = tree["epoch"].to_dataset().sel(learning_rate=1e30)
    assert (epochs.pattern_jaccard_first.sel(epoch=0) == 1).all()
    assert epochs.pattern_jaccard_last.isnull().all()
    between = between_moments(tables, "epoch").sel(learning_rate=1e30)
    assert (between.sel(epoch=0, other_epoch=0) == 1).all()
    assert between.sel(epoch=[1, 2]).isnull().all()


def test_tables_of_two_splits_would_have_one_name(lab: rs.Lab) -> None:
    metrics = [{"name": "pattern_jaccard_last", "split": split} for split in ("train", "test")]
    with pytest.raises(RecipeError, match=r"'pattern_jaccard_last' is measured .* whose tables would have one name"):
        rs.run(table(metrics=metrics), lab=lab)


def test_what_is_brought_is_measured_and_named_by_its_split_where_it_must(lab: rs.Lab) -> None:
    metrics = [{"name": "pattern_total", "split": split} for split in ("train", "test")]
    found = rs.run(table(metrics=metrics, epochs=1), lab=lab)["epoch"].to_dataset()
    for split in ("train", "test"):
        assert found[f"{split}_pattern_total"].attrs["split"] == split
        assert (found[f"{split}_pattern_false_merge_bound"] == 0).all()
    asked = [{"name": "pattern_total"}, {"name": "pattern_false_merge_bound"}]
    alone = rs.run(table(metrics=asked, epochs=1), lab=lab)["epoch"].to_dataset()
    assert {"pattern_total", "pattern_false_merge_bound"} <= set(alone.data_vars)


def test_what_is_asked_for_keeps_its_own_parameters(lab: rs.Lab) -> None:
    metrics = [
        {"name": "pattern_total", "exact": True},
        {"name": "pattern_false_merge_bound"},
        {"name": "pattern_entropy"},
    ]
    found = rs.run(table(metrics=metrics, epochs=1), lab=lab)["epoch"].to_dataset()
    assert found.pattern_total.attrs["parameters"] == '{"exact": true}'
    assert "parameters" not in found.pattern_false_merge_bound.attrs
    assert "parameters" not in found.pattern_saturated.attrs
    brought = rs.run(table(metrics=metrics[:1], epochs=1), lab=lab)["epoch"].to_dataset()
    assert brought.pattern_false_merge_bound.attrs["parameters"] == '{"exact": true}'


def test_training_mode_is_told_apart_by_batch_norm(lab: rs.Lab) -> None:
    changes = {"architecture": {"name": "mlp", "widths": [64, 8, 10], "batch_norm": True}, "epochs": 1}

    def run(training: bool) -> xr.Dataset:
        metrics = [{"name": name, "samples": 50, "training": training} for name in ("pattern_total", JACCARD[2])]
        return rs.run(table(metrics=metrics, **changes), lab=lab)["epoch"].to_dataset()

    training, evaluation = run(True), run(False)
    np.testing.assert_array_equal(training.test_loss, evaluation.test_loss)  # it left nothing behind
    assert not training.pattern_total.equals(evaluation.pattern_total)
