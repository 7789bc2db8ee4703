"""An estimate without bias of how many linear regions a network has in a box."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.enumeration_cost import check_size
from reluscope_plugins.regions.input_box import Box
from reluscope_plugins.regions.labels import labelled
from reluscope_plugins.regions.refinement import TOLERANCE, Refinement


def estimated_region_count(
    model: nn.Module,
    low: torch.Tensor,
    high: torch.Tensor,
    *,
    cells: int = 100,
    repeats: int = 10,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> xr.Dataset:
    r"""Estimate without bias how many regions `box_regions` would find.

    The box is cut as there, but whenever there are more than `cells` cells, so many of them are drawn at random and the
    others dropped. Each that is left stands for (cells before) / (cells left) as many; the product of these factors
    times the cells at the end is the estimate. Given the cells before a draw, each is kept with the inverse of that
    factor for a probability, so that the expectation is the exact number, whatever the network and however few the
    cells. The spread is not small where some cells hold most of the regions: see to it by the standard error, or with
    more cells.

    Args:
        model: Any piecewise-linear module.
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each.
        cells: How many cells are followed; with at least as many as there are regions the estimate is exact.
        repeats: How many independent estimates.
        tolerance: As in `box_regions`.
        seed: Draws the cells.

    Returns:
        `region_count`, the mean of `region_count_estimate(repeat)`, with `region_count_error`, its standard error.

    Raises:
        ObservationError: If a number is out of its range, or a linear programme is too large.

    References:
        Knuth 1975 (one cell); Chen 1992 (several).

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 1))
        >>> float(estimated_region_count(model, -torch.ones(2), torch.ones(2), repeats=2).region_count)
        8.0
    """
    for name, value, least in (("cells", cells, 1), ("repeats", repeats, 2)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ObservationError(f"{name} is {value!r}, expected an integer of at least {least}")
    box = Box(model, low, high)
    begin = Refinement(box, tolerance)
    check_size(begin)
    found = np.empty(repeats)
    for repeat, stream in enumerate(np.random.SeedSequence(seed).spawn(repeats)):
        end = begin.followed(cells, np.random.default_rng(stream))
        found[repeat] = end.weight * len(end.systems)
    error = found.std(ddof=1) / math.sqrt(repeats)
    variables = {
        "region_count": ((), found.mean(), "Number of regions, estimated without bias"),
        "region_count_error": ((), error, "Standard error of that number"),
        "region_count_estimate": ("repeat", found, "Independent estimates of the number of regions"),
    }
    return xr.Dataset(labelled(variables))
