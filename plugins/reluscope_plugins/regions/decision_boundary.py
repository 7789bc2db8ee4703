"""The decision boundary of a classifier in a plane, as exact segments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import xarray as xr

Floats = npt.NDArray[np.float64]

_LEAST = 1e-12
"""Segments no longer than this share of the window are rounding."""


def decision_boundary(regions: xr.Dataset) -> xr.Dataset:
    r"""Find where two classes have the same logit, and no other a greater one.

    On a region the logits are affine, $f_k(p) = s_k \cdot p + o_k$, so that the boundary between classes $i$ and $j$ is
    the part of the line $f_i = f_j$ that lies in the region and on which $f_i \ge f_k$ for all $k$. A network of one
    output is taken for two classes, of logits 0 and $f$.

    Args:
        regions: What `plane_regions` found.

    Returns:
        `boundary_end(segment, end, axis)`, in coordinates of the plane; `boundary_class(segment, side)`, the two
        classes, the smaller first; `boundary_region(segment)`, the region in which the segment lies.

    Example:
        >>> from torch import nn
        >>> from reluscope_plugins.regions.plane_regions import plane_regions
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> list(decision_boundary(plane_regions(model)).data_vars)
        ['boundary_end', 'boundary_class', 'boundary_region']
    """
    counts = regions["region_corners"].values
    points = regions["vertex_position"].values[regions["corner_vertex"].values]
    slope, offset = regions["region_slope"].values, regions["region_offset"].values
    if offset.shape[1] == 1:
        slope, offset = (np.concatenate((np.zeros_like(values), values), 1) for values in (slope, offset))
    region = np.repeat(np.arange(len(counts)), counts)
    winner = (np.einsum("nka,na->nk", slope[region], points) + offset[region]).argmax(1)
    start = np.cumsum(counts) - counts
    # where one class wins at all corners, it wins everywhere
    mixed = np.flatnonzero(np.maximum.reduceat(winner, start) != np.minimum.reduceat(winner, start))
    size = float(np.ptp(points, axis=0).max())
    ends, classes, where = [], [], []
    for number in mixed:
        corners = points[start[number] : start[number] + counts[number]]
        for pair, segment in _segments(corners, slope[number], offset[number], _LEAST * size):
            ends.append(segment)
            classes.append(pair)
            where.append(number)
    described = {
        "boundary_end": (("segment", "end", "axis"), np.array(ends).reshape(-1, 2, 2), "ends of a segment"),
        "boundary_class": (
            ("segment", "side"),
            np.array(classes, dtype=np.int64).reshape(-1, 2),
            "classes on both sides",
        ),
        "boundary_region": (("segment",), np.array(where, dtype=np.int64), "region in which a segment lies"),
    }
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": long_name, "units": "1"})
            for name, (dims, values, long_name) in described.items()
        }
    )


def _segments(
    corners: Floats, slope: Floats, offset: Floats, least: float
) -> Iterator[tuple[tuple[int, int], tuple[Floats, Floats]]]:
    sides = np.roll(corners, -1, 0) - corners
    inward = np.stack((-sides[:, 1], sides[:, 0]), 1)
    inward_offset = -(inward * corners).sum(1)
    values = corners @ slope.T + offset
    possible = np.flatnonzero(values.max(0) >= values.min(0).max())
    for i, j in itertools.combinations(possible.tolist(), 2):
        across = slope[i] - slope[j]
        square = float(across @ across)
        if square == 0:
            continue
        base = -(offset[i] - offset[j]) * across / square
        along = np.array([-across[1], across[0]]) / np.sqrt(square)
        others = [k for k in range(len(offset)) if k not in (i, j)]
        normals = np.concatenate((inward, slope[i] - slope[others]))
        heights = normals @ base + np.concatenate((inward_offset, offset[i] - offset[others]))
        speeds = normals @ along
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -heights / speeds
        low = max(crossing[speeds > 0], default=-np.inf)
        high = min(crossing[speeds < 0], default=np.inf)
        if high - low > least and (heights[speeds == 0] >= 0).all():
            yield (i, j), (base + low * along, base + high * along)
