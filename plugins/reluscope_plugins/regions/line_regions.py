"""Linear regions along a line or a polyline: all breakpoints, exactly, and the function's pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.preserve import preserved
from reluscope_plugins.regions.line_walk import EPSILON, Breakpoints, Floats, LineWalk, Polyline

_AT_ONCE = 2**22


def line_regions(model: nn.Module, points: torch.Tensor, *, pieces: bool = True) -> xr.Dataset:
    r"""Find every region of the input space that a polyline crosses, and what the network is on each of its pieces.

    A region is where the activation pattern is one: the states of all units at all positions, and the winners of all
    max-pools. Sites are taken in the order of their calls. Between two neighbouring breakpoints of the sites before it
    a site's pre-activation is affine in the parameter, so that its values at these breakpoints give all its zeros at
    once, in closed form: $t = t_i + (t_{i+1} - t_i)\, v_i / (v_i - v_{i+1})$; the network is evaluated there, and the
    next site is taken. Each breakpoint costs one forward pass, in batches, all of it in float64.

    Exact but for rounding, which is measured: by how far a value is from zero where it should be zero. Breakpoints that
    rounding cannot tell apart are one. A unit that is zero on a whole piece does not pass its input on there, and of
    places of a max-pool that are equal there the first wins, as in torch. The ends of the line are no breakpoints.

    Args:
        model: Any piecewise-linear module in eval mode; left as found.
        points: The polyline's vertices, inputs of the network, `(point, feature...)`; two for a line.
        pieces: Whether to find the function's pieces as well, which takes about as long again.

    Returns:
        A data set. A parameter t runs from 0 to the number of segments: the point at t is on segment floor(t), at
        t - floor(t) of its length.

        - `region_count`: number of regions crossed, one more than there are breakpoints. A straight line crosses a
          region once; one to which a polyline comes back counts again.
        - `breakpoint(breakpoint)`: the parameters at which the pattern changes, in order.
        - Along `crossing`, what changes at them: `crossing_parameter`, `crossing_site` (name), `crossing_unit` (counted
          over all positions of the sample; of a max-pool the window), `crossing_beyond` (which threshold, 0 lower, 1
          upper; of a max-pool the place that wins from there on).
        - `site_breakpoint_count(site)`: at how many parameters each site changes.
        - Along `piece`, which ends at a breakpoint or a vertex: `piece_start`, `piece_end`, `piece_region` (number
          of the region), and `slope` and `offset` of each output, `(piece, output)`: the network is slope * t + offset.

    Raises:
        ObservationError: If the network is not piecewise linear, or points are no such tensor.

    References:
        Hanin & Rolnick 2019 (Complexity of linear regions in deep networks), section 5, count regions along lines.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     for values, given in zip(model.parameters(), ([[1.0], [2.0]], [0.0, -1.0], [[1.0, -1.0]], [0.0])):
        ...         _ = values.copy_(torch.tensor(given))
        >>> found = line_regions(model, torch.tensor([[-1.0], [1.0]]))
        >>> found.breakpoint.values.tolist(), found.slope.values.ravel().tolist()
        ([0.5, 0.75], [0.0, 2.0, -2.0])
    """
    with preserved(model):
        line = Polyline(model, points)
        found = LineWalk(line).breakpoints()
        parameter = np.unique(found.parameter)
        data = _dataset(found, parameter)
        return _with_pieces(data, line, parameter) if pieces else data


def _dataset(found: Breakpoints, parameter: Floats) -> xr.Dataset:
    sites = np.array(found.sites)
    counts = [len(np.unique(found.parameter[found.site == site])) for site in range(len(sites))]
    variables = {
        "region_count": ((), len(parameter) + 1, "Number of regions crossed"),
        "crossing_parameter": ("crossing", found.parameter, "Parameter at which a unit changes its state"),
        "crossing_site": ("crossing", sites[found.site], "Site of that unit"),
        "crossing_unit": ("crossing", found.unit, "Number of that unit, or window of a max-pool"),
        "crossing_beyond": ("crossing", found.beyond, "Threshold of that unit, or place that wins from there on"),
        "site_breakpoint_count": ("site", np.array(counts), "Number of parameters at which a site changes"),
    }
    coordinates = {
        "breakpoint": ("breakpoint", parameter, "Parameter at which the activation pattern changes"),
        "site": ("site", sites, "Site"),
    }
    return xr.Dataset(_labelled(variables), coords=_labelled(coordinates))


def _labelled(variables: Mapping[str, tuple[Any, Any, str]]) -> dict[str, tuple[Any, Any, dict[str, str]]]:
    return {
        name: (dims, values, {"long_name": long_name, "units": "1"})
        for name, (dims, values, long_name) in variables.items()
    }


def _with_pieces(data: xr.Dataset, line: Polyline, parameter: Floats) -> xr.Dataset:
    knots = np.union1d(parameter, np.arange(line.segments + 1.0))
    start, end = knots[:-1], knots[1:]
    middle = start + (end - start) / 2
    slopes, offsets = [], []
    most = 1
    while len(middle):
        some, middle = middle[:most], middle[most:]
        observation = observe(line.network, line.at(some), affine=True)
        slope = observation.affine().matvec(line.direction(some)).cpu().numpy()
        value = observation.output.reshape(len(some), -1).cpu().numpy()
        slopes.append(slope)
        offsets.append(value - slope * some[:, None])
        most = max(1, _AT_ONCE // observation.walls().value.shape[1])
    slope, offset = np.concatenate(slopes), np.concatenate(offsets)
    _check(line, knots, slope, offset)
    region = np.searchsorted(parameter, start, side="right")
    variables = {
        "piece_start": ("piece", start, "Parameter at which a piece begins"),
        "piece_end": ("piece", end, "Parameter at which it ends"),
        "piece_region": ("piece", region, "Number of its region along the line"),
        "slope": (("piece", "output"), slope, "Derivative of the output by the parameter"),
        "offset": (("piece", "output"), offset, "Output less slope times parameter"),
    }
    return data.assign(_labelled(variables))


def _check(line: Polyline, knots: Floats, slope: Floats, offset: Floats) -> None:
    # Neighbouring pieces meet, and end where the network is at the vertices.
    begins, ends = slope * knots[:-1, None] + offset, slope * knots[1:, None] + offset
    vertices = np.arange(line.segments + 1.0)
    with torch.no_grad():
        there = observe(line.network, line.at(vertices)).output.reshape(len(vertices), -1).cpu().numpy()
    jump = np.zeros(len(knots))
    jump[1:-1] = np.abs(ends[:-1] - begins[1:]).max(1, initial=0.0)
    at = np.searchsorted(knots, vertices)
    jump[at[:-1]] = np.maximum(jump[at[:-1]], np.abs(begins[at[:-1]] - there[:-1]).max(1, initial=0.0))
    jump[-1] = np.abs(ends[-1] - there[-1]).max(initial=0.0)
    scale = max(float(np.abs(offset).max(initial=0.0)), float(np.abs(slope).max(initial=0.0) * knots[-1]))
    # affine functions, each known up to the rounding of a whole pass
    if jump.max() > math.sqrt(EPSILON) * scale:
        worst = int(jump.argmax())
        raise ObservationError(
            f"two pieces are {jump[worst]:.3g} apart at parameter {float(knots[worst]):.6g} of the line, expected a "
            "continuous network that bends at its activations and max-pools alone; replace what jumps (such as "
            "hardshrink), and what bends unheard (such as torch.abs and torch.maximum)"
        )
