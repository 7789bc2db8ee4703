"""The decision boundary of a classifier in a plane, as exact segments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from reluscope.errors import ObservationError
from reluscope_plugins.regions.site_functions import RELATIVE
from reluscope_plugins.regions.subdivision import Subdivision

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


def decision_boundary(regions: xr.Dataset) -> xr.Dataset:
    r"""Find where the answer of a classifier changes.

    The answer is the class of the greatest logit, $\arg\max_k f_k(p)$, and the smallest such class where several logits
    are greatest. A network of one output is taken for two classes, of logits 0 and $f$: it answers 1 where $f > 0$. The
    boundary is where parts of the plane with different answers meet. So a line along which logits are equal, but on
    whose sides the answer is the same, is no boundary; and where $f$ is zero on a whole part of the plane, as
    $f = \operatorname{ReLU}(u)$ is, the boundary is the edge of the part where it is greater.

    On a region the logits are affine. The regions are cut further, class after class, along the zeros of
    $f_k - \max_{j < k} f_j$, which is affine on what the cuts before have left; what then has different answers on its
    two sides is boundary, once, be it inside a region or along a wall. Differences of no more than 1e-12 of the
    greatest term of a logit, $|s_x x|$, $|s_y y|$ or $|o|$, count as zero.

    Args:
        regions: What `plane_regions` found.

    Returns:
        `boundary_end(segment, end, axis)`, in coordinates of the plane; `boundary_class(segment, side)`, the answers on
        both sides, the smaller first, which is the one left of the segment; `boundary_region(segment, side)`, the
        regions there, the same twice but for a segment along a wall. Several segments may lie on one straight line.

    Raises:
        ObservationError: If regions is no such data set.

    Example:
        >>> from torch import nn
        >>> from reluscope_plugins.regions.plane_regions import plane_regions
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> list(decision_boundary(plane_regions(model)).data_vars)
        ['boundary_end', 'boundary_class', 'boundary_region']
    """
    if not isinstance(regions, xr.Dataset) or "region_slope" not in regions:
        raise ObservationError(
            f"regions is {type(regions).__name__}, expected the data set that plane_regions returns; give "
            "decision_boundary(plane_regions(model))"
        )
    subdivision = _subdivision(regions)
    maps = np.concatenate((regions["region_slope"].values, regions["region_offset"].values[:, :, None]), 2)
    if maps.shape[1] == 1:
        maps = np.concatenate((np.zeros_like(maps), maps), 1)
    greatest = np.append(np.abs(subdivision.points).max(0), 1.0)
    tolerance = RELATIVE * float((np.abs(maps).max((0, 1)) * greatest).max())
    region = np.arange(len(maps))
    answer = np.zeros(len(maps), dtype=np.int64)
    for other in range(1, maps.shape[1]):
        ahead = maps[region, other] - maps[region, answer]
        values = _at(ahead, subdivision.face_of_vertices(), subdivision.points)
        if (values <= tolerance).all():
            continue
        parent = subdivision.cut(values[:, None], np.array([tolerance]))
        region, answer, ahead = region[parent], answer[parent], ahead[parent]
        inside = (subdivision.face >= 0).nonzero()[0]
        face = subdivision.face[inside]
        values = _at(ahead, face, subdivision.points[subdivision.origin[inside]])
        highest = np.zeros(len(parent))
        np.maximum.at(highest, face, values)
        answer[highest > tolerance] = other
    half = 2 * np.flatnonzero((subdivision.face.reshape(-1, 2) >= 0).all(1))
    half = half[answer[subdivision.face[half]] != answer[subdivision.face[half + 1]]]
    half += answer[subdivision.face[half]] > answer[subdivision.face[half + 1]]
    sides = np.stack((half, half ^ 1), 1)
    described = {
        "boundary_end": (("segment", "end", "axis"), subdivision.points[subdivision.origin[sides]], "end of a segment"),
        "boundary_class": (("segment", "side"), answer[subdivision.face[sides]], "answer left and right of a segment"),
        "boundary_region": (("segment", "side"), region[subdivision.face[sides]], "region left and right of a segment"),
    }
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": long_name, "units": "1"})
            for name, (dims, values, long_name) in described.items()
        }
    )


def _at(maps: Floats, face: Integers, points: Floats) -> Floats:
    x, y, one = maps[face].T
    values: Floats = x * points[:, 0] + y * points[:, 1] + one
    return values


def _subdivision(regions: xr.Dataset) -> Subdivision:
    origin, face = (regions[name].values.flatten() for name in ("edge_vertices", "edge_regions"))
    half = np.arange(len(origin))
    # around one face no vertex comes twice
    vertices = regions.sizes["vertex"]
    begins, ends = ((face + 1) * vertices + vertex for vertex in (origin, origin[half ^ 1]))
    order = np.argsort(begins)
    following = order[np.searchsorted(begins[order], ends)]
    before, leaving = np.empty_like(half), np.empty(vertices, dtype=np.int64)
    start = np.empty(regions.sizes["region"] + 1, dtype=np.int64)
    before[following], leaving[origin], start[face] = half, half, half
    return Subdivision(
        points=regions["vertex_position"].values.copy(),
        origin=origin,
        following=following,
        before=before,
        face=face,
        start=start[:-1].copy(),
        leaving=leaving,
        maker=np.arange(len(half) // 2),
    )
