"""The figures of Hartmann 2025, chapter 2.2: the recipes, and what the source concludes from them.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import reluscope as rs
import reluscope_catalog
from reluscope import recipe as recipes

ERROR = 1e-6
LAB = rs.Lab()
FOLDER = Path(reluscope_catalog.__file__).parent / "experiments"
FIGURES = ["4", "5", "6", "7", "8", "9", "10", "12", "13"]


def table(figure: str, sweep: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    found = tomllib.loads((FOLDER / f"hartmann_figure_2_{figure}.toml").read_text())
    return {**found, **changes, "sweep": {**found.get("sweep", {}), **(sweep or {})}}


def falls(one: Any, other: Any) -> bool:
    """Sign test. Null: whether the second of a pair is less than the first is a fair coin, for each pair on its own."""
    less = int((np.asarray(other) < np.asarray(one)).sum())
    return bool(scipy.stats.binom.sf(less - 1, len(one), 0.5) <= ERROR)


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("figure", FIGURES)
def test_recipes_are_complete(figure: str, scale: str) -> None:
    name = f"hartmann_figure_2_{figure}"
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.source == f"Hartmann 2025, figure 2.{figure}"
    assert plan.recipe.figures
    groups = LAB.procedures[plan.recipe.procedure].groups
    assert all(shown.group in groups for shown in plan.recipe.figures)
    assert "small" in table(figure)["scale"]


@pytest.mark.slow
def test_figure_2_4_and_2_5_cells_stay_below_what_lines_can_make() -> None:
    """No statistics: D lines never make more cells than in general position, nor more than there are patterns."""
    counts = rs.run("hartmann_figure_2_5", lab=LAB, scale="small")["limits/cell_count"]
    measured = counts.sel(site="relu1#0")
    lines = counts.sel(site="lines in general position")
    assert (measured <= lines).all()
    assert (measured <= counts.sel(site="all patterns")).all()
    assert (measured.diff("width") > 0).all()
    # many crossings of many lines lie outside the grid, or closer together than its points
    assert (measured.sel(width=[64, 128, 256]) < lines.sel(width=[64, 128, 256])).all()


@pytest.mark.slow
def test_figure_2_7_fewest_cells_without_bias_a_maximum_beside_it_and_symmetry() -> None:
    """25 networks of 128 units.

    Symmetric, exactly: W(-x) + b = -(W x - b), so that the picture is turned by half a turn and every state negated.
    Fewest at 0, in each network. A maximum between 0.25 and 2: sign test over the 25 networks on each side.
    """
    biases = [-2.0, -0.9, -0.25, 0.0, 0.25, 0.9, 2.0]
    recipe = table("7", {"seed": list(range(25)), "architecture.bias_init": biases})
    counts = rs.run(recipe, lab=LAB)["cells/cell_count"].squeeze(("epoch", "site"))
    for bias in (0.25, 0.9, 2.0):
        assert np.array_equal(counts.sel(bias_init=bias), counts.sel(bias_init=-bias))
        assert (counts.sel(bias_init=0.0) < counts.sel(bias_init=bias)).all()
    assert falls(counts.sel(bias_init=0.9), counts.sel(bias_init=2.0))
    assert falls(counts.sel(bias_init=0.9), counts.sel(bias_init=0.25))


@pytest.mark.slow
def test_figure_2_10_cells_fall_with_depth_and_rise_with_it_behind_batch_norm() -> None:
    """25 networks of 8 layers of 16 units each, biases 1 and uniform, without batch norm and with it.

    First layer against last: sign test over the 25 networks; that without batch norm and with uniform biases is left to
    the next test, since the effect is smaller there. All layers: Page's test; null: in each network every order of the
    layers is equally likely.
    """
    counts = rs.run("hartmann_figure_2_10", lab=LAB, scale="small")["cells/cell_count"].squeeze("epoch")
    for bias in ("1.0", "uniform"):
        plain = counts.sel(batch_norm=False, bias_init=bias).transpose("seed", "site").values
        normed = counts.sel(batch_norm=True, bias_init=bias).transpose("seed", "site").values
        assert plain.shape == normed.shape == (25, 8)
        assert falls(normed[:, -1], normed[:, 0])
        assert bias == "uniform" or falls(plain[:, 0], plain[:, -1])
        assert scipy.stats.page_trend_test(plain[:, ::-1], method="asymptotic").pvalue <= ERROR
        assert scipy.stats.page_trend_test(normed, method="asymptotic").pvalue <= ERROR


@pytest.mark.slow
def test_figure_2_10_with_uniform_biases() -> None:
    """First layer against last without batch norm, biases uniform: sign test over 100 networks."""
    sweep = {"seed": list(range(100)), "architecture.batch_norm": [False], "architecture.bias_init": ["uniform"]}
    counts = rs.run(table("10", sweep, resolution=200), lab=LAB)["cells/cell_count"].squeeze()
    assert falls(counts.sel(site="relu1#0"), counts.sel(site="relu8#0"))


@pytest.mark.slow
@pytest.mark.data
def test_figures_2_12_and_2_13_small_run(data_root: Path) -> None:
    """One run, no statistics: what the figures show of F1 on FashionMNIST is there at the small scale."""
    tree = rs.run("hartmann_figure_2_12", lab=LAB, scale="small", data_root=data_root)
    counts = tree["cells/cell_count"]
    deep = [f"relu{layer}#0" for layer in (2, 3, 4, 5)]
    first, last = (counts.sel(epoch=epoch, site=deep) for epoch in (0, 3))
    # with batch norm the first deep site's count hardly moves, and rounding decides its sign
    left = last / first
    assert (left.sel(batch_norm=False) < 1).all()
    assert (left.sel(batch_norm=True).mean() < 1).all()
    assert (left.sel(batch_norm=True) > left.sel(batch_norm=False)).all()
    assert (last.sel(batch_norm=True) > last.sel(batch_norm=False)).all()
    assert (tree["epoch/test_accuracy"].sel(epoch=3) > 0.75).all()
    pictures = tree["pictures"]
    assert pictures.cell_colour.sizes == {"batch_norm": 2, "epoch": 3, "site": 6, "y": 120, "x": 120}
    other = rs.run("hartmann_figure_2_13", lab=LAB, scale="small", data_root=data_root)
    assert np.array_equal(other["cells/cell_count"], counts)
    assert "pictures" not in other
