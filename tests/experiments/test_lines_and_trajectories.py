"""Regions along lines and growth of trajectories: the recipes, and what they show.

Statistical tests: null, sample size and error probability in each docstring; seeds are fixed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope import recipe as recipes
from reluscope_plugins import architectures, datasets, performance, procedures, regions, schedulers
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.random_networks import random_network

LAB = rs.Lab(plugins=[architectures, datasets, performance, procedures, regions, schedulers])
NAMES = (
    "tanner_figure_1",
    "tanner_figure_2",
    "tanner_figure_3a",
    "tanner_figure_3b",
    "hanin_rolnick_lines",
    "icerm_regions_through_training",
)
ERROR_OF_NORMAL = 4.9  # of a standard normal, exceeded to one side with probability 4.8e-7


def path_of(name: str) -> str:
    import reluscope_catalog

    return f"{reluscope_catalog.__path__[0]}/experiments/{name}.toml"


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_complete(name: str, scale: str) -> None:
    plan = recipes.load(path_of(name), lab=LAB, scale=scale)
    groups = LAB.procedures[plan.recipe.procedure].groups
    assert plan.recipe.figures
    assert {figure.group for figure in plan.recipe.figures} <= set(groups)


@pytest.mark.parametrize("name", NAMES)
def test_recipes_run_small(name: str) -> None:
    tree = rs.run(path_of(name), lab=LAB, scale="small", overrides=["networks=2"] if name.startswith("tanner") else [])
    group, variable = ("growth", "growth") if name.startswith("tanner") else ("line_regions", "region_count")
    assert tree[group][variable].sizes


def breakpoints(width: int, depth: int, networks: int = 200) -> np.ndarray:
    counts = []
    for seed in range(networks):
        generator = torch.Generator().manual_seed(100_000 * depth + 1000 * width + seed)
        model = random_network([10, *[width] * depth, 1], generator=generator, bias_std=0.1)
        points = torch.randn(2, 10, generator=generator, dtype=torch.float64)
        counts.append(int(line_regions(model, points, pieces=False).region_count) - 1)
    return np.array(counts)


def test_breakpoints_grow_linearly_with_the_units_whatever_the_depth() -> None:
    """Breakpoints for each unit lie within 0.3..0.7 at every width and depth.

    Null for each of six points: the mean is outside. 200 networks each; 4.9 standard errors to either side, error
    probability below 1e-6 for each. Growth by a constant factor per layer, however small (1.25), would leave the
    interval between depths 1 and 6 (1.25^5 > 7/3).
    """
    for depth in (1, 2, 6):
        for width in (16, 48):
            share = breakpoints(width, depth) / (width * depth)
            error = ERROR_OF_NORMAL * share.std(ddof=1) / np.sqrt(len(share))
            assert 0.3 < share.mean() - error
            assert share.mean() + error < 0.7


def test_breakpoints_of_one_layer_are_half_of_the_units() -> None:
    """Null: 1/2 of the units.

    Of a unit without bias the values at two independent standard normal points are independent and symmetric, so that
    they differ in sign with probability 1/2. 200 networks of 20 units; 4.9 standard errors to either side.
    """
    counts = []
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        model = random_network([10, 20, 1], generator=generator)
        points = torch.randn(2, 10, generator=generator, dtype=torch.float64)
        counts.append(int(line_regions(model, points, pieces=False).region_count) - 1)
    share = np.array(counts) / 20
    assert abs(share.mean() - 0.5) < ERROR_OF_NORMAL * share.std(ddof=1) / np.sqrt(len(share))
