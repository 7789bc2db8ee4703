"""An estimate without bias of how much wall there is between linear regions, by random lines."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.input_box import Box
from reluscope_plugins.regions.labels import labelled
from reluscope_plugins.regions.line_regions import line_regions


def wall_area(
    model: nn.Module, low: torch.Tensor, high: torch.Tensor, *, lines: int = 100, seed: int = 0
) -> xr.Dataset:
    r"""Estimate the area of all walls between linear regions within a box, of a network of any size.

    The union S of all walls has $n_0 - 1$ dimensions. A random line, uniform among all lines that meet the box B, meets
    it on average

    $$\mathbb{E}[\#] = 2 \frac{|S|}{|\partial B|}$$

    times (Cauchy and Crofton), so that half the mean number of breakpoints, which `line_regions` finds exactly, is the
    area of the walls in surfaces of the box, without bias. It is no number of regions: many small regions have as much
    wall as few large ones. `estimated_region_count` estimates that number, of smaller networks; from lines alone it is
    only bounded (`region_count_bounds`).

    Where several units change their state in one place, their common wall counts once.

    Args:
        model: Any piecewise-linear module. It is looked at in eval mode, in a copy in float64.
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each.
        lines: How many lines, at least 2.
        seed: Draws them.

    Returns:
        `wall_area`, in surfaces of the box; `wall_area_error`, its standard error; `box_surface`, the surface of the
        box, infinite where that overflows; `breakpoint_count(line)`.

    Raises:
        ObservationError: If the network is not piecewise linear, or the box or the number of lines is none.

    References:
        Santaló 1976, chapter 14 (lines that meet a convex body); Hanin & Rolnick 2019a, on the volume of the
        boundary of linear regions.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with torch.no_grad():
        ...     _ = model[0].weight.fill_(1.0), model[0].bias.copy_(torch.tensor([-0.5, 0.0, 0.5]))
        >>> found = wall_area(model, -torch.ones(1), torch.ones(1), lines=2)
        >>> float(found.wall_area * found.box_surface)  # three points, between the box's two
        3.0
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or lines < 2:
        raise ObservationError(f"lines is {lines!r}, expected an integer of at least 2")
    box = Box(model, low, high)
    ends = random_lines(low, high, lines, np.random.default_rng(seed))
    counts = np.array([int(line_regions(box.network, line, pieces=False).region_count) - 1 for line in ends])
    sides = 2 * box.half_sides
    with np.errstate(over="ignore"):
        surface = 2 * np.prod(sides) * np.sum(1 / sides)
    error = counts.std(ddof=1) / 2 / math.sqrt(lines)
    variables = {
        "wall_area": ((), counts.mean() / 2, "Area of the walls between regions, in surfaces of the box"),
        "wall_area_error": ((), error, "Standard error of that area"),
        "box_surface": ((), surface, "Surface of the box"),
        "breakpoint_count": ("line", counts, "Number of breakpoints on a random line"),
    }
    return xr.Dataset(labelled(variables))


def random_lines(low: torch.Tensor, high: torch.Tensor, lines: int, generator: np.random.Generator) -> torch.Tensor:
    """Draw lines uniformly among all that meet a box.

    A point uniform on the surface, and a direction inwards of a density in proportion to its cosine with the normal:
    its part along the face is uniform in the unit ball. So every line has the same density, whichever face it comes
    from.

    Args:
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each.
        lines: How many.
        generator: Draws them.

    Returns:
        Where each line enters and leaves the box, float64, `(line, 2, feature...)`.

    References:
        Santaló 1976, chapter 14 (the density of lines by where they meet a surface).

    Example:
        >>> random_lines(torch.zeros(1), torch.ones(1), 1, np.random.default_rng(0)).sort(1).values.ravel().tolist()
        [0.0, 1.0]
    """
    least, most = (side.detach().double().flatten().cpu().numpy() for side in (low, high))
    sides, inputs = most - least, len(least)
    every = np.arange(lines)
    axis = generator.choice(inputs, lines, p=(1 / sides) / (1 / sides).sum())
    upper = generator.integers(0, 2, lines)
    start = least + sides * generator.random((lines, inputs))
    start[every, axis] = np.where(upper, most[axis], least[axis])
    direction = generator.standard_normal((lines, inputs))
    direction[every, axis] = 0.0
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    along = generator.random((lines, 1)) ** (1 / max(1, inputs - 1)) * (inputs > 1)
    direction *= along / np.where(length > 0, length, 1.0)
    inwards = np.sqrt(np.maximum(0.0, 1.0 - (direction**2).sum(1)))
    direction[every, axis] = np.where(upper, -inwards, inwards)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(direction > 0, most - start, least - start) / direction
    leaves = np.where(direction == 0, np.inf, reach).min(axis=1, keepdims=True)
    end = np.clip(start + leaves * direction, least, most)
    return torch.from_numpy(np.stack([start, end], axis=1)).reshape(lines, 2, *low.shape).to(low.device)
