"""What an enumeration of linear regions would cost, and the refusal where it would not end."""

from __future__ import annotations

import time

import numpy as np

from reluscope.errors import ObservationError
from reluscope_plugins.regions.inscribed_balls import inscribed_balls
from reluscope_plugins.regions.refinement import Refinement
from reluscope_plugins.regions.region_bounds import product_upper_bound

LARGEST = 2**17
"""Numbers of a linear programme that holds all walls: at 2 ** 17 one takes about a fifth of a second."""

LOOK_AHEAD = 200
"""Cells from which on the cost of the rest is estimated."""

_SECONDS = 3.0
"""Time that the estimate may take, about."""


def check_size(refinement: Refinement) -> None:
    """See to it that linear programmes with all walls are small enough.

    Args:
        refinement: Before it begins.

    Raises:
        ObservationError: If they are not, with what they would cost.
    """
    box = refinement.box
    walls = len(refinement.noise)
    numbers = (walls + 2 * box.inputs) * (box.inputs + 1)
    if numbers <= LARGEST:
        return
    cost = "far more than 3 seconds (not tried)"
    if numbers <= 16 * LARGEST:
        begin = time.perf_counter()
        inscribed_balls([np.vstack([box.faces(), np.tile(box.faces()[:1], (walls, 1))])])
        each = time.perf_counter() - begin
        cost = f"{each:.1f} s here, {_duration(each * walls)} for a single region"
    raise ObservationError(
        f"{walls} walls in {box.inputs} inputs make linear programmes of {numbers} numbers, expected at most "
        f"{LARGEST}; one takes {cost}, each region takes up to {walls}, and there may be {_most(refinement)} regions; "
        "take a smaller network, or look at a plane (plane_regions), a line (line_regions) or random lines (wall_area)"
    )


def look_ahead(
    refinement: Refinement, elapsed: float, generator: np.random.Generator, limit: int, seconds: float
) -> None:
    """Follow some of the cells to the end, to see whether the rest would end.

    Args:
        refinement: As far as it has come.
        elapsed: Seconds that it took so far.
        generator: Draws the cells.
        limit: Greatest number of regions.
        seconds: Greatest time.

    Raises:
        ObservationError: If it would take more.
    """
    rate = max(1.0, refinement.programmes) / max(elapsed, 1e-6)
    cells = int(np.clip(_SECONDS * rate / max(1, refinement.left), 1, LOOK_AHEAD // 2))
    end = refinement.followed(cells, generator)
    count = end.weight * len(end.systems)
    needed = (end.programmes + count) / rate
    if count > limit or needed > seconds:
        raise ObservationError(
            f"box_regions: about {count:.1e} regions (estimated from {cells} cells; at most {_most(refinement)})"
            f", expected at most {limit}, and about {end.programmes + count:.1e} linear programmes at {rate:.0f} a "
            f"second, {_duration(needed)}, expected at most {_duration(seconds)}; raise limit or seconds, "
            "take a smaller box, or use estimated_region_count"
        )


def _most(refinement: Refinement) -> str:
    bound = str(product_upper_bound(refinement.box.inputs, refinement.hyperplanes))
    return bound if len(bound) < 10 else f"{bound[0]}.{bound[1]}e+{len(bound) - 1}"


def _duration(seconds: float) -> str:
    for unit, size in (("years", 3.15e7), ("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
