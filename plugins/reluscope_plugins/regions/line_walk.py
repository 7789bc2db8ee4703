"""The breakpoints of a network along a polyline, site after site."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.inputs import unwrap
from reluscope.observation import Observation
from reluscope.walls import Walls
from reluscope_plugins.regions.crossings import NOWHERE, Crossings, joined, sign_changes, winner_changes
from reluscope_plugins.regions.fitting_inputs import observed_at

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

EPSILON = float(np.finfo(np.float64).eps)
NOISE = 16 * EPSILON
"""Rounding of a site's values, relative to the greatest of them, before any was seen."""

_BENT = 1e-6
"""A value so great, relative to the greatest, where it should be zero, is no rounding."""

_NUMBERS = 2**25
"""How many values are kept at a time."""

_AT_ONCE = 2**22
"""How many values a forward pass may give."""


class Polyline:
    """A polyline through the input space, and a network along it, in float64.

    The point at parameter t is on the segment number floor(t), at t - floor(t) of its length.

    Args:
        model: The network; where it is not in float64, a copy of it is.
        points: The vertices, `(point, feature...)`.

    Raises:
        ObservationError: If there are fewer than two points, or they are not finite.
    """

    def __init__(self, model: nn.Module, points: torch.Tensor) -> None:
        if not isinstance(points, torch.Tensor) or points.ndim < 2 or len(points) < 2:
            got = f"shape {tuple(points.shape)}" if isinstance(points, torch.Tensor) else type(points).__name__
            raise ObservationError(
                f"points: got {got}, expected a tensor (point, feature...) of at least two points; stack the inputs "
                "that the line is to go through"
            )
        if not bool(points.isfinite().all()):
            raise ObservationError("points hold NaN or infinity, expected finite values; clean the data")
        network = unwrap(model)
        tensors = [*network.parameters(), *network.buffers()]
        if any(tensor.is_floating_point() and tensor.dtype != torch.float64 for tensor in tensors):
            network = copy.deepcopy(network).double()
        self.network = network
        self.points = points.detach().double()

    @property
    def segments(self) -> int:
        """Number of segments."""
        return len(self.points) - 1

    def at(self, parameter: Floats) -> torch.Tensor:
        """Return the points at parameters.

        Args:
            parameter: `(parameter,)`, within 0 and the number of segments.

        Returns:
            `(parameter, feature...)`.
        """
        segment = np.clip(np.floor(parameter), 0, self.segments - 1)
        share = torch.from_numpy(parameter - segment).to(self.points.device)
        number = torch.from_numpy(segment.astype(np.int64)).to(self.points.device)
        share = share.reshape(-1, *[1] * (self.points.ndim - 1))
        return torch.lerp(self.points[number], self.points[number + 1], share)

    def direction(self, parameter: Floats) -> torch.Tensor:
        """Return the derivative of the point by the parameter.

        Args:
            parameter: `(parameter,)`.

        Returns:
            `(parameter, feature)`, flattened.
        """
        segment = torch.from_numpy(np.clip(np.floor(parameter), 0, self.segments - 1).astype(np.int64))
        steps = (self.points[1:] - self.points[:-1]).flatten(1)
        return steps[segment.to(steps.device)]


@dataclasses.dataclass
class Breakpoints:
    """Where units change their state.

    Attributes:
        parameter: Of each change, in order, `(crossing,)`; several changes may be at one.
        site: Number of its site, `(crossing,)`.
        unit: Its unit, as of `reluscope.walls.Walls`, `(crossing,)`.
        beyond: Which threshold, or the place that wins from there on, likewise.
        sites: Names of all sites, max-pools included.
    """

    parameter: Floats
    site: Integers
    unit: Integers
    beyond: Integers
    sites: tuple[str, ...]


@dataclasses.dataclass
class _Look:
    # Values of all walls of each site at parameters, signed: positive where a unit passes its input on.
    parameter: Floats
    values: list[Floats]

    def last(self) -> _Look:
        return _Look(self.parameter[-1:], [values[-1:] for values in self.values])


class LineWalk:
    """Goes along a polyline and finds every breakpoint.

    Args:
        line: The polyline.

    Raises:
        ObservationError: If the network is not piecewise linear.
    """

    def __init__(self, line: Polyline) -> None:
        self._line = line
        observation = observed_at(
            line.network, line.at(np.array([0.0, float(line.segments)])), given="the points of a line"
        )
        observation.affine().check()
        walls = observation.walls()
        walls.map.check()
        self.sites = walls.sites
        self._count = walls.value.shape[1]
        self._unit, self._beyond = walls.unit, walls.beyond
        self._bounds = np.searchsorted(walls.site, np.arange(len(walls.sites) + 1))
        self._places = [
            _places(walls, site) if name in observation.pools else None for site, name in enumerate(walls.sites)
        ]
        self._scale = np.zeros(len(walls.sites))
        self._noise = NOISE

    def breakpoints(self) -> Breakpoints:
        """Find them all.

        Returns:
            The breakpoints.

        Raises:
            ObservationError: If there are more than float64 can tell apart, or a site is not affine where it should be.
        """
        look = self._look(np.array([0.0]))
        states: list[npt.NDArray[np.generic] | None] = [None] * len(self.sites)
        found: list[tuple[Floats, Integers, Integers]] = []
        width = 1.0
        budget = max(8, _NUMBERS // max(1, self._count))
        while look.parameter[0] < self._line.segments:
            begin = float(look.parameter[0])
            end = min(begin + width, math.floor(begin) + 1.0)
            if end <= np.nextafter(begin, math.inf):
                raise ObservationError(
                    f"at parameter {begin} of the line there are more than {budget} breakpoints too near to each other "
                    "for float64; move the points"
                )
            scale, noise = self._scale.copy(), self._noise
            window = self._window(look, end, states, budget)
            if isinstance(window, int):
                self._scale, self._noise = scale, noise
                width = (end - begin) * 0.5 * budget / window
                continue
            crossings, look, states, used = window
            found += crossings
            width = (end - begin) * (2.0 if used < budget // 4 else 1.0)
        parameter, site, column = (np.concatenate(parts) for parts in zip(*found, strict=True))
        # in order; at one parameter earlier sites first
        order = np.lexsort((column, site, parameter))
        parameter, site, column = parameter[order], site[order], column[order]
        inside = (parameter > 0) & (parameter < self._line.segments)
        return Breakpoints(
            parameter=parameter[inside],
            site=site[inside],
            unit=self._unit[column[inside]],
            beyond=self._beyond[column[inside]],
            sites=self.sites,
        )

    def _window(
        self, first: _Look, end: float, before: list[npt.NDArray[np.generic] | None], budget: int
    ) -> tuple[list[tuple[Floats, Integers, Integers]], _Look, list[npt.NDArray[np.generic] | None], int] | int:
        # The crossings, what was seen at the end, the states before it, and how many knots; or, where these are more
        # than the budget, how many at least.
        looks = [first, self._look(np.array([end]))]
        found: list[tuple[Floats, Integers, Integers]] = []
        states: list[npt.NDArray[np.generic] | None] = []
        for site, places in enumerate(self._places):
            knots = np.concatenate([look.parameter for look in looks])
            order = np.argsort(knots)
            values = np.concatenate([look.values[site] for look in looks])[order]
            knots = knots[order]
            scale = self._scale[site] = max(self._scale[site], float(np.abs(values).max(initial=0.0)))
            tolerance = self._noise * scale
            crossings: Crossings
            if places is None:
                crossings = sign_changes(knots, values, tolerance, before[site])  # type: ignore[arg-type]
            else:
                crossings = winner_changes(knots, values, places, tolerance, before[site])  # type: ignore[arg-type]
            states.append(crossings.state)
            crossings.radius[crossings.radius > 0] += 4 * EPSILON * (1 + end)
            parameter, given = joined(crossings)
            found.append((parameter, np.full(len(parameter), site), self._bounds[site] + crossings.column))
            new = np.setdiff1d(parameter[given], knots)
            if len(knots) + len(new) > budget:
                return len(knots) + len(new)
            if len(new):
                looks.append(self._look(new))
                row = np.searchsorted(new, parameter[given])
                made = (row < len(new)) & (new[np.minimum(row, len(new) - 1)] == parameter[given])
                at_zero = looks[-1].values[site][row[made], crossings.column[given][made]]
                self._judge(site, float(np.abs(at_zero).max()), scale)
        return found, looks[1], states, sum(len(look.parameter) for look in looks)

    def _judge(self, site: int, rest: float, scale: float) -> None:
        # What a value is where it should be zero measures the rounding, of this site and of those after it.
        if rest > _BENT * scale:
            raise ObservationError(
                f"site {self.sites[site]!r} is {rest:.3g} where it should be zero, of values up to {scale:.3g}: it is "
                "not affine between the breakpoints of the sites before it, expected a piecewise-linear network that "
                "does the same on every input; replace what is smooth or depends on the batch"
            )
        self._noise = max(self._noise, 4 * rest / scale)

    def _look(self, parameter: Floats) -> _Look:
        parts: list[list[Floats]] = []
        for some in np.array_split(parameter, max(1, math.ceil(len(parameter) * self._count / _AT_ONCE))):
            observation = observed_at(self._line.network, self._line.at(some), given="the points of a line")
            walls = observation.walls()
            if walls.value.shape[1] != self._count or walls.sites != self.sites:
                raise ObservationError(
                    f"the network has {walls.value.shape[1]} walls of the sites {list(walls.sites)} at one point of "
                    f"the line and {self._count} of {list(self.sites)} at another, expected the same calls for every "
                    "input"
                )
            bounds = itertools.pairwise(self._bounds)
            parts.append([_signed(observation, walls, site, *both) for site, both in enumerate(bounds)])
        return _Look(parameter, [np.concatenate(values) for values in zip(*parts, strict=True)])


def _signed(observation: Observation, walls: Walls, site: int, begin: int, end: int) -> Floats:
    name = walls.sites[site]
    value: Floats = walls.value[:, begin:end].double().cpu().numpy()
    if name in observation.pools:
        return value
    pattern = observation.pattern[name].reshape(len(value), -1).cpu().numpy()
    if pattern.dtype == np.bool_:
        passing = pattern
    else:
        outer = observation.site[name].activation in ("softshrink", "hardshrink")
        passing = np.concatenate((pattern == 2, pattern == 1) if outer else (pattern >= 1, pattern <= 1), axis=1)
    return np.where(passing, value, -value)


def _places(walls: Walls, site: int) -> Integers:
    # Columns of the places of each window, within the site, in the plane's order: (window, place).
    mine = walls.site == site
    unit, beyond = walls.unit[mine], walls.beyond[mine]
    order = np.lexsort((beyond, unit))
    windows, start, count = np.unique(unit[order], return_index=True, return_counts=True)
    places = np.full((len(windows), int(count.max(initial=0))), NOWHERE, dtype=np.int64)
    place = np.arange(len(order)) - np.repeat(start, count)
    places[np.repeat(np.arange(len(windows)), count), place] = order
    return places
