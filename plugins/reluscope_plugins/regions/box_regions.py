"""The exact partition of a box in any dimension into linear regions, by linear programming."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope.progress import Progress, SilentProgress
from reluscope_plugins.regions.enumeration_cost import LOOK_AHEAD, check_size, look_ahead
from reluscope_plugins.regions.input_box import Box, Floats, Integers
from reluscope_plugins.regions.inscribed_balls import inscribed_balls
from reluscope_plugins.regions.labels import labelled
from reluscope_plugins.regions.refinement import NOISE, TOLERANCE, Refinement


def box_regions(
    model: nn.Module,
    low: torch.Tensor,
    high: torch.Tensor,
    *,
    tolerance: float = TOLERANCE,
    limit: int = 100_000,
    seconds: float = 600.0,
    samples: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> xr.Dataset:
    r"""Find all linear regions of a small network within a box, each with a point inside and its pattern.

    The box is cut site by site and wall by wall. On each cell that the sites before have left, a site's functions are
    affine, and known from one point inside. A wall cuts a cell if a ball of more than `tolerance` fits in on either
    side; where a known ball does not tell, a linear programme does (`inscribed_balls`, HiGHS). So equal rows, dead
    units, walls through a corner or along a face of the box, and any number of walls through one point make no region
    too many.

    Regions into which no such ball fits are not counted; their part of the box falls to a neighbour. Sizes are relative
    to the box: half of each side is 1. A box a million times as large as its regions needs another tolerance, or a
    smaller box.

    Every result is checked: of each of so many random points, the region that holds it, as its own walls tell, holds
    the point of exactly one of the regions found, unless it is too thin to be counted.

    Cost: about as many linear programmes as there are regions times the walls that come near to one, 0.1 to 1
    millisecond each in 2 to 8 dimensions. Where there are more than 200 cells, the rest of the work is first estimated
    by following some of them, drawn at random: without bias, as `estimated_region_count` does it.

    Args:
        model: Any piecewise-linear module. It is looked at in eval mode, in a copy in float64.
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each.
        tolerance: Radius of the ball that must fit into a region, at least 1e-9.
        limit: How many regions there may be.
        seconds: How long it may be expected to take.
        samples: Random points for the check; none for no check.
        seed: Draws the points of the check and the cells of the estimate.
        progress: Told how many walls are done.

    Returns:
        `region_point(region, feature)`, the centre of a greatest ball in each region (of a greatest ellipsoid, its axes
        in proportion to the box, where that is no cube), flattened; `region_radius(region)`, its radius in half sides;
        `region_pattern(region, unit)`, as `Observation.pattern` has it but for rounding, site after site, with
        `pattern_site(unit)`;
        `regions_so_far(site)`, how many there are when sites up to this one are looked at; `programmes`.

    Raises:
        ObservationError: If the network is not piecewise linear, if it is too large, with an estimate of the regions
            and of the time, or if the check fails.

    References:
        Boyd & Vandenberghe 2004, section 8.5.1, for the ball; Knuth 1975 and Chen 1992 for the estimate.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 64, bias=False), nn.ReLU(), nn.Linear(64, 1))
        >>> box_regions(model, -torch.ones(2), torch.ones(2)).sizes["region"]
        128
    """
    for name, value, least in (("limit", limit, 1), ("samples", samples, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ObservationError(f"{name} is {value!r}, expected an integer of at least {least}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0:
        raise ObservationError(f"seconds is {seconds!r}, expected a number above 0; math.inf sets no limit")
    box = Box(model, low, high)
    refinement = Refinement(box, tolerance)
    check_size(refinement)
    generator = np.random.default_rng(seed)
    shown = SilentProgress() if progress is None else progress
    shown.start("linear regions", float(refinement.left))
    begin, looked = time.perf_counter(), False
    so_far = np.ones(len(refinement.sites), dtype=np.int64)
    try:
        while refinement.left:
            site = refinement.site
            refinement.step()
            so_far[site:] = len(refinement.systems)
            shown.advance()
            if len(refinement.systems) > min(LOOK_AHEAD, limit) and not looked:
                looked = True
                look_ahead(refinement, time.perf_counter() - begin, generator, limit, seconds)
            if len(refinement.systems) > limit:
                raise ObservationError(
                    f"box_regions: more than {limit} regions when {refinement.left} units are left to look at; raise "
                    "limit, take a smaller box, or use estimated_region_count"
                )
        points, radius = refinement.centred()
    finally:
        shown.finish()
    _check(refinement, points, tolerance, samples, generator)
    return _dataset(box, points, radius, so_far, refinement)


def _check(
    refinement: Refinement, points: Floats, tolerance: float, samples: int, generator: np.random.Generator
) -> None:
    # The region around each random point, told by its own walls, must hold the point of exactly one region found.
    drawn = generator.uniform(-1.0, 1.0, (samples, points.shape[1]))
    for some in np.array_split(drawn, math.ceil(samples / 32)) if samples else []:
        for functions in refinement.functions(some):
            length = np.linalg.norm(functions[:, :-1], axis=1)
            bent = length > refinement.noise
            wall = functions[bent] / length[bent, None]
            held = int((points @ wall[:, :-1].T + wall[:, -1] > 0).all(axis=1).sum())
            if held == 1:
                continue
            radius = inscribed_balls([np.vstack([refinement.box.faces(), wall])])[1][0]
            if radius > tolerance * (1 + 1e-3):
                raise ObservationError(
                    f"box_regions: a random point lies in a region that was found {held} times, expected once: the "
                    "network's numbers are too far apart for float64; take a smaller box, or another tolerance"
                )


def _patterns(refinement: Refinement, points: Floats) -> list[Integers]:
    # Of each site (region, unit). A unit at its threshold in all of a region is in the state in which it would be there
    # without rounding: not beyond the threshold; of places of a max-pool that are equal in all of it, the first wins.
    walls = refinement.box.observed(points[:1]).walls()
    found: list[list[Integers]] = [[] for _ in refinement.sites]
    for some in np.array_split(points, math.ceil(points.size * len(walls.site) / 2**23)):
        observation = refinement.box.observed(some)
        functions = refinement.functions(some)
        value = np.abs(np.einsum("pwi,pi->pw", functions[..., :-1], some) + functions[..., -1])
        level = np.linalg.norm(functions[..., :-1], axis=2) <= refinement.noise
        for site, name in enumerate(refinement.sites):
            here = walls.site == site
            state = observation.pattern[name].reshape(len(some), -1).cpu().numpy().astype(np.int64)
            least = max(refinement.noise[here].max(initial=0.0), NOISE * value[:, here].max(initial=0.0))
            region, column = np.nonzero(level[:, here] & (value[:, here] <= least))
            unit, beyond = walls.unit[here][column], walls.beyond[here][column]
            if name in observation.pools:
                state[region, unit] = np.iinfo(np.int64).max
                np.minimum.at(state, (region, unit), beyond)
            else:
                outer = observation.site[name].activation in ("softshrink", "hardshrink")
                state[region, unit] = 0 if outer else beyond
            found[site].append(state)
    return [np.concatenate(states) for states in found]


def _dataset(box: Box, points: Floats, radius: Floats, so_far: Integers, refinement: Refinement) -> xr.Dataset:
    inputs = box.at(points)
    patterns = _patterns(refinement, points)
    site = np.repeat(np.arange(len(patterns)), [pattern.shape[1] for pattern in patterns])
    variables = {
        "region_point": (
            ("region", "feature"),
            inputs.flatten(1).cpu().numpy(),
            "Centre of a greatest ball in a region",
        ),
        "region_radius": ("region", radius, "Radius of that ball, in half sides of the box"),
        "region_pattern": (("region", "unit"), np.concatenate(patterns, axis=1), "State of each unit, site after site"),
        "pattern_site": ("unit", site, "Number of the site of a unit"),
        "regions_so_far": ("site", so_far, "Regions of sites up to this one"),
        "programmes": ((), int(refinement.programmes), "Linear programmes solved"),
    }
    return xr.Dataset(labelled(variables), coords=labelled({"site": ("site", np.array(refinement.sites), "Site")}))
