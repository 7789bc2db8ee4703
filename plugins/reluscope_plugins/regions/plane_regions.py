"""The exact partition of a plane through a network's input space into linear regions."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope.inputs import unwrap
from reluscope.observation import Observation
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.dense_cutter import DenseCutter
from reluscope_plugins.regions.fitting_inputs import observed_at
from reluscope_plugins.regions.network_cutter import NetworkCutter
from reluscope_plugins.regions.region_states import pattern_layout
from reluscope_plugins.regions.sampled_patterns import check_patterns
from reluscope_plugins.regions.subdivision import Subdivision

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

SQUARE = ((-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))
CONTINUOUS = 1e-7
"""Of the greatest output: by how much the functions of two neighbouring regions may differ on their common edge."""


def plane_regions(
    model: nn.Module, plane: Plane | None = None, *, window: Sequence[Sequence[float]] = SQUARE
) -> xr.Dataset:
    r"""Find all linear regions that meet a window of a plane, as polygons.

    The window is cut site by site. On each polygon that the sites before have left, the pre-activation of a site is
    affine, so that its values at the corners tell which units change their sign there, and where: each polygon is cut
    along their zeros. So all polygons are convex, and exact up to rounding in float64. A unit that is at a corner no
    greater than 1e-12 of its greatest value counts as zero there, so that lines through one point leave no slivers;
    regions about as small as that, relative to the window, are lost.

    What is no greater than 4e-15 of the terms that it is the sum of counts as zero too; in other networks than chains
    of dense layers, of the greatest value at the site before. Of places of a max-pool that are the greatest together on
    a whole region the first wins.

    Every result is checked: areas are positive and sum to the window's, vertices less edges plus regions are one, the
    functions of neighbouring regions agree at both ends of their common edge, and at 144 points of a grid the network
    has the pattern of the region that holds the point. Units nearer to zero there than 1e-9 of their greatest value at
    the window's corners are passed over.

    Cost: time and memory proportional to the number of regions, for one network. The network is copied in float64.

    Args:
        model: The network; it takes a batch of inputs of the plane's shape. It is looked at in eval mode.
        plane: The plane; None for all inputs of two features.
        window: Corners of a convex polygon, counterclockwise, in coordinates of the plane, `(corner, 2)`.

    Returns:
        Of regions: `region_area(region)`, `region_corners(region)` (how many, in the order of `corner_vertex(corner)`,
        vertices counterclockwise, region after region), `region_slope(region, feature, axis)` and
        `region_offset(region, feature)`, which give output $s_x x + s_y y + o$ in coordinates of the plane, and
        `region_pattern(region, byte)`, the bits of all units, site after site as `Observation.packed` lays them out
        (max-pools last), which `region_states` decodes. Of vertices: `vertex_position(vertex, axis)`. Of edges:
        `edge_vertices(edge, end)`, `edge_regions(edge, side)` (left of it and right, -1 beyond the window),
        `edge_site(edge)` (number of the site
        that made it, -1 for the window) and `edge_unit(edge)`. Of sites: `regions_so_far(site)`, how many regions there
        are when sites up to this one are looked at, `site_units(site)`, the units at all positions, and where a pattern
        holds them: `pattern_byte(site)`, the first byte, `pattern_rows(site)` of `pattern_units(site)` units each, of
        `pattern_bits(site)` bits each. Of the window and the plane: `window_corner(window_side, axis)`,
        `plane_origin(input)`, `plane_direction(axis, input)`.

    Raises:
        ObservationError: If the network is not piecewise linear, or jumps, or the window is no convex polygon.

    Example:
        >>> found = plane_regions(nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1)))
        >>> found.sizes["region"], round(float(found["region_area"].sum()), 9)
        (4, 4.0)
    """
    corners = _checked(window)
    plane = Plane.axes() if plane is None else plane
    if not isinstance(plane, Plane):
        raise ObservationError(
            f"plane is {type(plane).__name__}, expected a Plane or None; make one with Plane.through(a, b, c)"
        )
    network = copy.deepcopy(unwrap(model)).double().eval()
    subdivision = Subdivision.of(corners.tolist())
    first = observed_at(
        network, plane.at(*torch.from_numpy(corners.T.copy())), given="origin and directions of a plane"
    )
    first.walls().map.check()
    weights = first.dense_weights(output=True)
    cutter = NetworkCutter(network, plane, first) if weights is None else DenseCutter(weights, first, plane)
    sites = [(site, len(subdivision.start), units) for site, units in cutter.cut(subdivision)]
    maps, patterns = cutter.finish(subdivision)
    _check(subdivision, corners, maps)
    check_patterns(network, plane, first, subdivision, patterns)
    return _dataset(subdivision, sites, first, maps, patterns, plane, corners)


def _checked(window: Sequence[Sequence[float]]) -> Floats:
    try:
        corners = np.asarray(window, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObservationError(
            f"window is {window!r:.60}, expected at least three corners with two finite coordinates each; give numbers "
            "(x, y) for each corner"
        ) from error
    if corners.ndim != 2 or corners.shape[1:] != (2,) or len(corners) < 3 or not np.isfinite(corners).all():
        raise ObservationError(
            f"window has shape {corners.shape}, expected at least three corners with two finite coordinates each; "
            "give (x, y) for each, counterclockwise"
        )
    sides = np.roll(corners, -1, 0) - corners
    after = np.roll(sides, -1, 0)
    turn = np.arctan2(sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0], (sides * after).sum(1))
    # all corners turn left, once round in all: twice or more crosses itself
    if not (0 < turn).all() or not (turn < math.pi).all() or turn.sum() > 3 * math.pi:
        raise ObservationError(
            f"window {corners.tolist()} is not strictly convex, crosses itself, or is not counterclockwise; give the "
            "corners of a convex polygon, counterclockwise"
        )
    return corners


def _check(subdivision: Subdivision, corners: Floats, maps: Floats) -> None:
    x, y = (corners - corners[0]).T
    whole = float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    areas = subdivision.areas()
    euler = len(subdivision.points) - len(subdivision.maker) + len(subdivision.start)
    if euler != 1 or not (areas > 0).all() or not math.isclose(areas.sum(), whole, rel_tol=1e-9):
        raise ObservationError(
            f"the regions' areas sum to {areas.sum():.17g} of the window's {whole:.17g} (least {areas.min():.3g}), and "
            f"vertices less edges plus regions are {euler}, expected 1: walls meet within rounding of each other; move "
            "the window a little, or look at a smaller one"
        )
    inner = subdivision.maker >= 0
    sides = subdivision.face.reshape(-1, 2)[inner]
    ends = subdivision.points[subdivision.origin.reshape(-1, 2)[inner]]
    here = np.pad(ends, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
    left, right = (np.einsum("eap,epf->eaf", here, maps[side]) for side in sides.T)
    terms = np.einsum("eap,epf->eaf", np.abs(here), np.abs(maps[sides[:, 0]]))
    jump = np.abs(left - right)
    if jump.size and jump.max() > CONTINUOUS * terms.max():
        edge = int(jump.max((1, 2)).argmax())
        raise ObservationError(
            f"the function jumps by {jump.max():.3g} from one region to the next, at {ends[edge, 0].tolist()}, "
            f"of terms up to {terms.max():.3g}, expected a continuous network of numbers that float64 can add up; "
            "replace what jumps, such as hardshrink, or bring weights that differ by many powers of ten nearer to each "
            "other"
        )


def _dataset(
    subdivision: Subdivision,
    sites: list[tuple[str, int, Integers]],
    first: Observation,
    maps: Floats,
    patterns: npt.NDArray[np.uint8],
    plane: Plane,
    window: Floats,
) -> xr.Dataset:
    # half-edges face by face, counterclockwise
    corner_vertex, corners = subdivision.polygons()
    maker = subdivision.maker
    # of each function its site and unit; the last entries are those of the window, whose maker is -1
    site = np.concatenate([*(np.full(len(units), number) for number, (_, _, units) in enumerate(sites)), [-1]])[maker]
    unit = np.concatenate([*(units for _, _, units in sites), [-1]])[maker]
    described = [first.site[name] for name, _, _ in sites]
    units = np.array([0 if site.states == 0 else site.units * site.positions for site in described])
    variables = {
        "vertex_position": (("vertex", "axis"), subdivision.points, "position of a vertex in the plane"),
        "region_area": (("region",), subdivision.areas(), "area of a region"),
        "region_corners": (("region",), corners, "number of corners of a region"),
        "corner_vertex": (("corner",), corner_vertex, "vertex at a corner, counterclockwise, region after region"),
        "region_slope": (("region", "feature", "axis"), maps[:, :2].transpose(0, 2, 1), "slope of an output"),
        "region_offset": (("region", "feature"), maps[:, 2], "offset of an output"),
        "region_pattern": (("region", "byte"), patterns, "bits of all units, site after site"),
        "edge_vertices": (("edge", "end"), subdivision.origin.reshape(-1, 2), "vertices at both ends of an edge"),
        "edge_regions": (("edge", "side"), subdivision.face.reshape(-1, 2), "regions left and right of an edge"),
        "edge_site": (("edge",), site, "number of the site that made an edge, -1 for the window's"),
        "edge_unit": (("edge",), unit, "unit that made an edge, -1 for the window's"),
        "site_units": (("site",), units, "units of a site, at all positions; 0 of a max-pool"),
        **pattern_layout(described),
        "window_corner": (("window_side", "axis"), window, "corner of the window, counterclockwise"),
        "plane_origin": (("input",), plane.origin.flatten().numpy(), "input at (0, 0), flattened"),
        "plane_direction": (
            ("axis", "input"),
            np.stack([direction.flatten().numpy() for direction in plane.directions]),
            "step along an axis, flattened",
        ),
        "regions_so_far": (
            ("site",),
            np.array([count for _, count, _ in sites]),
            "regions of sites up to this one",
        ),
    }
    return xr.Dataset(
        {
            name: (dims, values, {"long_name": long_name, "units": "1"})
            for name, (dims, values, long_name) in variables.items()
        },
        coords={"site": ("site", [name for name, _, _ in sites], {"long_name": "site", "units": "1"})},
    )
