"""Johansson 2022, figures 2.1 and 2.2, and Johansson et al. 2021: the recipes, and what the sources conclude from them.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import xarray as xr

import reluscope as rs
from reluscope import recipe as recipes
from reluscope_plugins.geometry.rank_collapse import collapse_warning

LAB = rs.Lab()
NAMES = (
    "johansson_figure_2_1",
    "johansson_figure_2_2",
    "johansson_paper_2_cnn",
    "johansson_paper_2_mlp",
    "johansson_paper_2_rescaled",
)
ERROR = 1e-6
TRAINED = list(range(100, 125))


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_complete(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.source.startswith("Johansson")
    assert plan.recipe.figures
    assert {figure.group for figure in plan.recipe.figures} <= set(LAB.procedures[plan.recipe.procedure].groups)
    assert any("source" in (figure.caption or "") for figure in plan.recipe.figures)
    assert len({point["seed"] for point, _ in plan.points}) == (5 if scale == "paper" else 2)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("johansson_figure_2_1", {"rate": 0.001, "batch": 32, "widths": [784, 200, 10]}),
        ("johansson_figure_2_2", {"rate": [0.01, 0.1], "batch": 32, "widths": [784, 200, 200, 10]}),
        ("johansson_paper_2_cnn", {"rate": 0.001, "batch": 64}),
        ("johansson_paper_2_mlp", {"rate": 0.001, "batch": 64}),
        ("johansson_paper_2_rescaled", {"rate": 0.001, "batch": 64}),
    ],
)
def test_settings_are_those_that_are_printed(name: str, recipe: dict[str, Any]) -> None:
    table = recipes.load(name, lab=LAB).table
    rate = table["sweep"].get("optimizer.learning_rate", table["optimizer"]["learning_rate"])
    assert (rate, table["batch_size"], table["optimizer"]["momentum"]) == (recipe["rate"], recipe["batch"], 0.8)
    assert table["architecture"].get("widths") == recipe.get("widths", table["architecture"].get("widths"))
    assert table["epochs"] == 100


def run(name: str, data_root: Path, sweep: dict[str, Any], **changes: Any) -> xr.DataTree:
    """Run a recipe at small scale, with another sweep and without figures."""
    table = recipes.load(name, lab=LAB, scale="small").table
    return rs.run({**table, "sweep": sweep, "figures": [], "expected": [], **changes}, lab=LAB, data_root=data_root)


def images(name: str, train: int, test: int) -> dict[str, Any]:
    return {"name": "subset", "train": train, "validation": 100, "test": test, "dataset": {"name": name}}


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "group"), [(name, "best_epoch") for name in NAMES[2:]] + [(NAMES[0], "detection"), (NAMES[1], "epoch")]
)
def test_recipes_run(name: str, group: str, data_root: Path) -> None:
    changes: dict[str, Any] = {"epochs": 1}
    if name == NAMES[0]:
        changes |= {"looks": [1], "samples": 10, "mislabelled": 5}
    if name == NAMES[2]:
        changes |= {"dataset": images("mnist", 200, 100)}
    tree = run(name, data_root, {"seed": [0]}, **changes)
    found = tree[group].to_dataset()
    assert found.data_vars
    assert {variable for variable in found.data_vars if found[variable].isnull().any()} <= {"rank_collapse"}


@pytest.fixture(scope="module")
def memorised(data_root: Path) -> xr.Dataset:
    """Quantities of 100 wrongly labelled samples and 500 others, once the network has learnt the wrong labels.

    20,000 images, 40 epochs at the rate 0.01: at the source's rate of 0.001 wrong labels are not learnt in 100 epochs.
    Seeds other than 0 to 4, from which the rate and the number of epochs were chosen.
    """
    dataset = {"name": "mislabel", "k": 100, "dataset": images("mnist", 20_000, 1000)}
    changes = {"epochs": 40, "looks": [40], "samples": 500, "mislabelled": 100, "dataset": dataset}
    tree = run("johansson_figure_2_1", data_root, {"seed": [10, 11, 12]}, **changes)
    assert (tree["epoch/train_accuracy"].isel(epoch=-1) > 0.998).all()
    return tree["samples"].to_dataset().isel(epoch=0)


@pytest.mark.slow
@pytest.mark.data
def test_figure_2_1_learnt_wrong_labels_are_nearer_to_the_edge(memorised: xr.Dataset) -> None:
    """Null: in a trained network, the distances of both kinds are drawn alike. Mann-Whitney, 3 networks, 1e-6 each."""
    for seed in memorised["seed"].values:
        one = memorised.sel(seed=seed)
        wrong = one["mislabelled"].values.astype(bool)
        distance = one["edge_distance"].values
        assert scipy.stats.mannwhitneyu(distance[wrong], distance[~wrong], alternative="less").pvalue <= ERROR


@pytest.mark.slow
@pytest.mark.data
def test_figure_2_1_the_distance_does_not_find_wrong_labels(memorised: xr.Dataset) -> None:
    """Many others are as near. Null: of these, at most 5 % are nearer than half of the wrong ones; 500 others, 1e-6.

    With 5 %, and one wrong label in 200, nine of ten samples that are nearer would have the right label.
    """
    for seed in memorised["seed"].values:
        one = memorised.sel(seed=seed)
        wrong = one["mislabelled"].values.astype(bool)
        distance = one["edge_distance"].values
        nearer = int((distance[~wrong] < np.median(distance[wrong])).sum())
        assert scipy.stats.binom.sf(nearer - 1, (~wrong).sum(), 0.05) <= ERROR


@pytest.fixture(scope="module")
def two_rates(data_root: Path) -> xr.Dataset:
    """The two rates of figure 2.2, 25 seeds of each: 50 trainings of 15 epochs on 6,000 images."""
    metrics = [{"name": name, "split": "train", "samples": 200} for name in ("affine_rank", "rank_collapse")]
    sweep = {"seed": TRAINED, "optimizer.learning_rate": [0.01, 0.1]}
    dataset = images("fashion_mnist", 6000, 500)
    tree = run("johansson_figure_2_2", data_root, sweep, metrics=metrics, dataset=dataset, epochs=15)
    return tree["epoch"].to_dataset()


@pytest.mark.slow
@pytest.mark.data
def test_figure_2_2_rank_falls_from_the_start_where_the_rate_is_too_high(two_rates: xr.Dataset) -> None:
    """After 10 epochs the mean rank is below 9.9 at the rate 0.1, where the loss has halved, and never at 0.01.

    Null: a fair coin, or worse, for each seed. Three sign tests with 25 seeds, of error probability 2^-25 each.
    """
    low, high = (two_rates.sel(learning_rate=rate) for rate in (0.01, 0.1))
    assert (low["affine_rank"] >= 9.9).all()
    assert (high["affine_rank"].sel(epoch=10) < 9.9).all()
    assert (high["train_loss"].sel(epoch=10) < high["train_loss"].sel(epoch=0) / 2).all()


@pytest.mark.slow
@pytest.mark.data
def test_figure_2_2_no_false_alarm_at_the_low_rate(two_rates: xr.Dataset) -> None:
    """No warning within 15 epochs at 0.01. Null: a fair coin, or worse, for each seed; error probability 2^-25.

    At 0.1 not all of these 25 are warned of within 15 epochs, although all have lost rank: with seeds 0 to 4 the
    warning came after 7 to 12.
    """
    assert collapse_warning(two_rates["rank_collapse"].sel(learning_rate=0.01)).isnull().all()


def log_slope(tree: xr.DataTree, group: str) -> xr.DataArray:
    slope = tree[group].to_dataset()["slope"]
    return slope.copy(data=np.log(slope.values))


def far_below(logs: xr.DataArray, ratio: float) -> bool:
    """Two one-sided t tests. Null: on average a ratio is `ratio` or more, or its inverse or less.

    The logarithms of different seeds are independent, and normal enough for a t test of 25; error probability 1e-6.
    """
    assert logs.sizes["seed"] == len(TRAINED)
    values = logs.values
    return all(
        scipy.stats.ttest_1samp(side * values, np.log(ratio), alternative="less").pvalue <= ERROR for side in (-1, 1)
    )


@pytest.fixture(scope="module")
def slopes(data_root: Path) -> xr.DataTree:
    """Networks of 25 and 200 units and of depth 1 and 3, 25 seeds of each: 100 trainings of 15 epochs on 6,000 images.

    The least test loss comes after 3 to 13 epochs, where the slope still grows by 7 % an epoch:
    a single training says little of the slope at that epoch, hence means over seeds. What "hardly" and "weakly" mean,
    less than a factor of 1.5 and 2, was fixed with seeds 0 to 4; these are others.
    """
    sweep = {"seed": TRAINED, "architecture.width": [25, 200], "architecture.depth": [1, 3]}
    return run("johansson_paper_2_mlp", data_root, sweep)


@pytest.mark.slow
@pytest.mark.data
def test_paper_2_slope_grows_during_training(slopes: xr.DataTree) -> None:
    """Before training and after 1, 5, 10 and 15 epochs, each time greater. Null: a fair coin, or worse, for each seed.

    Sixteen sign tests with 25 seeds, of error probability 2^-25 each.
    """
    series = slopes["epoch/slope"].sel(epoch=[0, 1, 5, 10, 15])
    assert bool((series.diff("epoch") > 0).all())


@pytest.mark.slow
@pytest.mark.data
def test_paper_2_at_the_best_epoch_slope_hardly_depends_on_width(slopes: xr.DataTree) -> None:
    """The ratio at 200 and 25 units, mean over both depths; at the last epoch it is less than 1/1.5."""
    best, last = (log_slope(slopes, group) for group in ("best_epoch", "epoch"))
    assert far_below((best.sel(width=200) - best.sel(width=25)).mean("depth"), 1.5)
    late = last.sel(epoch=15, depth=1)
    grown = (late.sel(width=200) - late.sel(width=25)).values
    assert scipy.stats.ttest_1samp(grown, -np.log(1.5), alternative="less").pvalue <= ERROR


@pytest.mark.slow
@pytest.mark.data
def test_paper_2_at_the_best_epoch_slope_depends_weakly_on_depth(slopes: xr.DataTree) -> None:
    """The ratio at depth 3 and 1, mean over both widths."""
    best = log_slope(slopes, "best_epoch")
    assert far_below((best.sel(depth=3) - best.sel(depth=1)).mean("width"), 2)


@pytest.fixture(scope="module")
def rescaled(data_root: Path) -> xr.DataTree:
    """Inputs as they are and twice as large, 25 seeds of each: 50 trainings of 30 epochs on 6,000 images."""
    return run("johansson_paper_2_rescaled", data_root, {"seed": TRAINED, "dataset.factor": [1.0, 2.0]})


@pytest.mark.slow
@pytest.mark.data
def test_paper_2_slope_is_inverse_to_the_scale_of_the_inputs(rescaled: xr.DataTree) -> None:
    """Slope times factor, at the factors 2 and 1."""
    best = log_slope(rescaled, "best_epoch")
    assert far_below(best.sel(factor=2.0) - best.sel(factor=1.0) + np.log(2), 1.5)
