"""Compare the regions of a plane with the patterns that the network has on a grid of points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import Observation, observe
from reluscope.packing import unpack
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.subdivision import Subdivision

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

ROWS = 12
"""The grid has as many rows, and as many points in each."""
NEAR = 1e-9
"""Of a wall's greatest value at the window's corners: a point at which it is no greater is too near to tell."""
_ROUNDING = 1e-12
"""Of the greatest value of all walls of the site there, and of the site before: likewise."""
_NUMBERS = 2**22


def check_patterns(
    network: nn.Module,
    plane: Plane,
    first: Observation,
    subdivision: Subdivision,
    patterns: npt.NDArray[np.uint8],
) -> None:
    """Check that the network has, at each point of a grid, the pattern of the region that holds the point.

    A unit whose state there differs is passed over where it is nearer to its threshold than `NEAR`, as a window of a
    max-pool is whose winner is ahead of the region's by no more.

    Args:
        network: In float64, in eval mode.
        plane: The plane.
        first: What was seen at the window's corners, with its affine map.
        subdivision: The regions.
        patterns: Their patterns, `(region, byte)`.

    Raises:
        ObservationError: If a pattern is another one.
    """
    points, face = grid(subdivision)
    inputs = plane.at(*torch.from_numpy(points.T.copy()))
    seen = observe(network, inputs, patterns_only=bool(first.sites))
    doubtful = np.flatnonzero((_bits(seen) != patterns[face]).any(1))
    walls = first.walls()
    greatest = walls.value.max(0).values.numpy()
    of_sites = [greatest[walls.site == site].max(initial=0.0) for site in range(len(walls.sites))]
    before = [float(first.affine().input.abs().max()), *of_sites[:-1]]
    least = np.maximum(NEAR * greatest, _ROUNDING * np.maximum(of_sites, before)[walls.site])
    least = np.maximum(least, np.finfo(np.float64).tiny)
    size = max(1, _NUMBERS // len(greatest))
    for some in np.split(doubtful, range(size, len(doubtful), size)):
        if not len(some):
            continue
        seen = observe(network, plane.at(*torch.from_numpy(points[some].T.copy())), affine=True)
        for number, wrong in enumerate(_beyond(seen, patterns[face[some]], least)):
            if wrong is not None:
                raise ObservationError(
                    f"at {points[some[number]].tolist()} {wrong} is not in the state that region {face[some[number]]} "
                    "has, which holds the point, expected the same pattern: a region was lost, or walls meet within "
                    "rounding of each other; move the window a little, or look at a smaller one"
                )


def grid(subdivision: Subdivision) -> tuple[Floats, Integers]:
    """Spread points over the window, and find the faces that hold them.

    Args:
        subdivision: Faces.

    Returns:
        Points `(point, 2)`, and the face of each, `(point,)`.
    """
    x, y = subdivision.points.T
    one, other = subdivision.origin.reshape(-1, 2).T
    share = (np.arange(ROWS) + 0.381966) / ROWS
    points, faces = [], []
    for height in y.min() + share * np.ptp(y):
        above = y > height
        cut = np.flatnonzero(above[one] != above[other])
        begin, end = one[cut], other[cut]
        at = x[begin] + (height - y[begin]) / (y[end] - y[begin]) * (x[end] - x[begin])
        order = np.argsort(at)
        at, cut = at[order], cut[order]
        along = at[0] + share * (at[-1] - at[0])
        behind = cut[np.searchsorted(at, along) - 1]
        # right of an edge that rises, left of one that falls
        faces.append(subdivision.face[2 * behind + above[other[behind]]])
        points.append(np.stack((along, np.full(ROWS, height)), 1))
    return np.concatenate(points), np.concatenate(faces)


def _names(seen: Observation) -> list[str]:
    return [name for name in (*seen.sites, *seen.pools) if not seen.site[name].smooth]


def _bits(seen: Observation) -> npt.NDArray[np.uint8]:
    return np.concatenate([seen.packed[name].reshape(seen.samples, -1).numpy() for name in _names(seen)], 1)


# Of each point a unit whose state differs from that of a pattern, not just by rounding.
def _beyond(seen: Observation, patterns: npt.NDArray[np.uint8], least: Floats) -> list[str | None]:
    walls = seen.walls()
    far = np.full(walls.value.shape, np.inf)
    begin = 0
    for name in _names(seen):
        site = seen.site[name]
        width = seen.packed[name].numel() // seen.samples
        rows = torch.from_numpy(patterns[:, begin : begin + width].copy()).reshape(-1, width // site.positions)
        begin += width
        expected = unpack(rows, site.units, bits=site.bits).reshape(seen.samples, -1).numpy()
        state = seen.pattern[name].reshape(seen.samples, -1).numpy()
        mine = np.flatnonzero(walls.site == walls.sites.index(name))
        unit = walls.unit[mine]
        differs = (expected != state)[:, unit]
        if name in seen.pools:
            differs &= expected[:, unit] == walls.beyond[mine]
        far[:, mine] = np.where(differs, walls.value[:, mine].numpy() / least[mine], np.inf)
    order = np.lexsort((walls.unit, walls.site))
    number, unit = walls.site[order], walls.unit[order]
    start = np.flatnonzero(np.append(True, (np.diff(number) != 0) | (np.diff(unit) != 0)))
    nearest = np.minimum.reduceat(far[:, order], start, axis=1)
    found: list[str | None] = []
    for row in np.isfinite(nearest) & (nearest > 1):
        which = start[row.argmax()]
        found.append(f"unit {unit[which]} of site {walls.sites[number[which]]!r}" if row.any() else None)
    return found
