"""Curves through a network: the exact length of a polyline's image at every site, and its projection on two dims."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import Observation, observe
from reluscope.preserve import preserved
from reluscope_plugins.regions.activation_values import activations
from reluscope_plugins.regions.line_walk import Floats, LineWalk, Polyline

_AT_ONCE = 2**22


def circle(first: torch.Tensor, second: torch.Tensor, *, vertices: int = 1000) -> torch.Tensor:
    r"""Return a closed polygon with its vertices on the ellipse $\cos(\theta)\, a + \sin(\theta)\, b$.

    Of two orthogonal vectors of one length it is a circle; a regular polygon of m vertices is shorter than it by the
    factor $\sin(\pi/m) / (\pi/m)$, 1.6e-6 for 1000.

    Args:
        first: a, the point at angle 0, of any shape `(feature...)`.
        second: b, the point at a quarter of the way, of the same shape.
        vertices: How many, at least 3.

    Returns:
        The vertices, the first again at the end, in float64, `(point, feature...)`.

    Raises:
        ObservationError: If a and b are no tensors of one shape, or there are fewer than 3 vertices.

    Example:
        >>> circle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]), vertices=4)[:2].round()
        tensor([[1., 0.],
                [0., 1.]], dtype=torch.float64)
    """
    both = (first, second)
    if not all(isinstance(axis, torch.Tensor) for axis in both) or first.shape != second.shape:
        got = [tuple(axis.shape) if isinstance(axis, torch.Tensor) else type(axis).__name__ for axis in both]
        raise ObservationError(
            f"circle: first and second are {got[0]} and {got[1]}, expected two tensors of one shape; give "
            "both that of an input"
        )
    if isinstance(vertices, bool) or not isinstance(vertices, int) or vertices < 3:
        raise ObservationError(f"circle: vertices is {vertices!r}, expected an integer of at least 3; give more")
    angle = 2 * math.pi * torch.arange(vertices + 1, dtype=torch.float64, device=first.device) / vertices
    angle[-1] = 0.0
    angle = angle.reshape(-1, *[1] * first.ndim)
    return torch.cos(angle) * first.double() + torch.sin(angle) * second.double()


def trajectory_lengths(model: nn.Module, points: torch.Tensor) -> xr.Dataset:
    r"""Measure how long the image of a polyline is at every site.

    On each piece the pre-activations are affine, so that the image of a polyline is one, with its vertices at the
    images of the vertices and of the breakpoints: its length $\int \|dz(t)/dt\|\,dt$ is the sum of the lengths of its
    segments. This is no sampled sum, which would be too short by all that it cuts off.

    Args:
        model: Any piecewise-linear module in eval mode; left as found.
        points: The polyline's vertices, `(point, feature...)`.

    Returns:
        `input_length`, `output_length`, and along the dim `site` (activation sites in the order of the calls, no
        max-pools) `preactivation_length`, `activation_length` (after the activation) and
        `growth`: the activation's length over that of the site before it, or over that of the input.

    Raises:
        ObservationError: If the network is not piecewise linear, or has an activation that may jump, or points are no
            such tensor.

    References:
        Raghu et al. 2017, section 2.1 (trajectory length).

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
        >>> with torch.no_grad():
        ...     for parameter in model.parameters():
        ...         _ = parameter.fill_(1.0)
        >>> found = trajectory_lengths(model, torch.tensor([[-3.0], [2.0]]))
        >>> float(found.preactivation_length[0]), float(found.activation_length[0])
        (5.0, 3.0)
    """
    with preserved(model):
        line, knots = _knots(model, points)
        lengths = np.zeros((2, 0))
        ends = np.zeros(2)
        sites: tuple[str, ...] = ()
        for observation, inputs in _along(line, knots):
            sites = observation.sites
            after_sites = activations(line.network, inputs, observation)
            found = [(_length(_rows(observation, site)), _length(after_sites[site])) for site in sites]
            lengths = np.array(found).reshape(-1, 2).T + (lengths if lengths.size else 0.0)
            ends += _length(inputs), _length(observation.output)
    before, after = lengths
    previous = np.concatenate(([ends[0]], after[:-1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = np.where(previous > 0, after / previous, np.nan)
    about = {"units": "1"}
    return xr.Dataset(
        {
            "input_length": ((), ends[0], {"long_name": "Length of the polyline", **about}),
            "output_length": ((), ends[1], {"long_name": "Length of its image at the output", **about}),
            "preactivation_length": ("site", before, {"long_name": "Length of its image before the site", **about}),
            "activation_length": ("site", after, {"long_name": "Length of its image after the site", **about}),
            "growth": ("site", growth, {"long_name": "Growth of the length from site to site", **about}),
        },
        coords={"site": ("site", np.array(sites), {"long_name": "Site", **about})},
    )


def trajectory_projection(model: nn.Module, points: torch.Tensor) -> xr.Dataset:
    """Project the image of a polyline at every site onto the two dims along which it is widest.

    The vertices are the images of the polyline's vertices and of all breakpoints, so that straight segments between
    them are the image. Coordinates are the first two principal components of the vertices, each with the sign that
    makes its greatest value positive.

    Args:
        model: Any piecewise-linear module in eval mode; left as found.
        points: The polyline's vertices, `(point, feature...)`.

    Returns:
        `first` and `second`, the coordinates of the pre-activation, `(site, point)`, and `parameter(point)`.

    Raises:
        ObservationError: If the network is not piecewise linear, has no activation site, or points are no such tensor.

    References:
        Tanner, Theories of Deep Learning, video 5, figure 1, as Price & Tanner 2019 have it.
    """
    with preserved(model):
        line, knots = _knots(model, points)
        parts: dict[str, list[torch.Tensor]] = {}
        for number, (observation, _) in enumerate(_along(line, knots)):
            for site in observation.sites:
                parts.setdefault(site, []).append(_rows(observation, site)[int(number > 0) :])
    if not parts:
        raise ObservationError(
            "the network bends at max-pools alone, expected an activation site to project at; add one"
        )
    both = np.stack([_principal(torch.cat(rows)) for rows in parts.values()])  # (site, point, axis)
    about = {"units": "1"}
    return xr.Dataset(
        {
            "first": (("site", "point"), both[..., 0], {"long_name": "First principal component", **about}),
            "second": (("site", "point"), both[..., 1], {"long_name": "Second principal component", **about}),
            "parameter": ("point", knots, {"long_name": "Parameter along the polyline", **about}),
        },
        coords={"site": ("site", np.array(list(parts)), {"long_name": "Site", **about})},
    )


def _knots(model: nn.Module, points: torch.Tensor) -> tuple[Polyline, Floats]:
    line = Polyline(model, points)
    knots: Floats = np.union1d(LineWalk(line).breakpoints().parameter, np.arange(line.segments + 1.0))
    return line, knots


def _along(line: Polyline, knots: Floats) -> Iterator[tuple[Observation, torch.Tensor]]:
    # In parts that overlap in one point.
    most, begin = 2, 0
    while begin < len(knots) - 1:
        inputs = line.at(knots[begin : begin + most])
        observation = observe(line.network, inputs)
        if not isinstance(observation.output, torch.Tensor):
            raise ObservationError(
                f"the model returns {type(observation.output).__name__}, expected one tensor; wrap the model so that "
                "it returns one"
            )
        yield observation, inputs
        begin += most - 1
        values = sum(observation.preactivation[site].numel() for site in observation.sites) / observation.samples
        most = max(2, int(_AT_ONCE // max(values, 1.0)))


def _rows(observation: Observation, site: str) -> torch.Tensor:
    return observation.preactivation[site].reshape(observation.samples, -1)


def _length(values: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(torch.diff(values.flatten(1), dim=0), dim=1).sum())


def _principal(rows: torch.Tensor) -> Floats:
    centred = (rows - rows.mean(0)).cpu()
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    coordinates = torch.nn.functional.pad(centred @ axes[:2].T, (0, max(0, 2 - len(axes))))
    greatest = coordinates.gather(0, coordinates.abs().argmax(0, keepdim=True))
    found: Floats = (coordinates * torch.where(greatest < 0, -1.0, 1.0)).numpy()
    return found
