"""The recipes about regions of a plane: that they run, and what they show."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest

import reluscope as rs
import reluscope_catalog
from reluscope import recipe as recipes

LAB = rs.Lab()
FOLDER = Path(reluscope_catalog.__file__).parent / "experiments"
NAMES = ("tanner_partition", "hartmann_figure_2_5_exact", "icerm_normalised_regions")


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_complete(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    groups = LAB.procedures["regions"].groups
    assert plan.recipe.procedure == "regions"
    assert {figure.group for figure in plan.recipe.figures} <= {*groups}


def test_figure_2_5_exactly() -> None:
    """One hidden layer: never more regions than lines in general position make; a grid sees no more and misses some."""
    widths = [1, 2, 4, 8, 16, 32, 64]
    found = []
    for name, group, variable, more in (
        ("hartmann_figure_2_5_exact", "regions", "region_count", {}),
        ("hartmann_figure_2_5", "cells", "cell_count", {"resolution": 100}),
    ):
        table = tomllib.loads((FOLDER / f"{name}.toml").read_text())
        del table["scale"]
        table |= {"sweep": {"seed": [0, 1, 2], "architecture.width": widths}, "figures": [], **more}
        found.append(rs.run(table, lab=LAB)[group].to_dataset()[variable])
    exact, grid = (counts.squeeze("epoch").isel(site=0).transpose("seed", "width") for counts in found)
    lines = np.array([1 + d + d * (d - 1) // 2 for d in widths])
    assert (exact.values <= lines).all()
    assert (grid.values <= exact.values).all()
    assert (grid.values[:, -1] < exact.values[:, -1]).all()


def test_partition_while_learning(tmp_path: Path) -> None:
    """With epochs the training is recorded too, and the counts are those of the network as it was then."""
    table = {
        "title": "Regions while learning",
        "procedure": "regions",
        "epochs": 2,
        "batch_size": 32,
        "extent": 2.0,
        "resolution": 40,
        "dataset": {"name": "gaussian", "features": 2, "classes": 3, "samples": 160},
        "architecture": {"name": "mlp", "widths": [2, 12, 12, 3]},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "scheduler": {"name": "constant"},
    }
    tree = rs.run(table, lab=LAB, out=tmp_path / "run.nc")
    counts = tree["regions"].to_dataset()
    assert counts["region_count"].sizes == {"epoch": 3, "site": 2}
    per_unit = counts["regions_per_squared_unit"].values
    np.testing.assert_allclose(per_unit, counts["region_count"].values[:, -1] / 24**2)
    pictures = tree["pictures"].to_dataset()["wall_colour"]
    assert pictures.sizes == {"epoch": 2, "y": 40, "x": 40}
    assert len(np.unique(pictures.values)) > 3
    assert "epoch" in tree
