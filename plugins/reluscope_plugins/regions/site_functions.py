"""The functions along whose zeros a site bends, as values at many inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt
import torch

from reluscope.observation import Observation
from reluscope.packing import pack_states

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

RELATIVE = 1e-12
"""Of a function's greatest value at any input: what is no greater counts as zero."""
ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Of the greatest terms that are summed up: likewise, so that sums that cancel are zero."""
_SHRINKS = frozenset(("softshrink", "hardshrink"))


class SiteFunctions:
    """Functions that are affine wherever all sites before are, and between whose zeros a site is too.

    Of an activation they are the pre-activations less each threshold. Of a max-pool they are the differences of any two
    places of a window: more than the site bends along, since a place counts only where it is the greatest.

    What is no greater than the tolerance counts as zero, in patterns too: a unit that is zero on a whole face is not
    active there, and of places that are the greatest together the first wins.

    Args:
        site: Name of the site.
        observed: Observes all inputs, batch by batch, within the graph.
        scale: The greatest value at the site before, or of the inputs, at any input.

    Attributes:
        pooled: Whether it is a max-pool.
        scale: The greatest value at the site.
    """

    def __init__(self, site: str, observed: Callable[[], Iterable[Observation]], scale: float) -> None:
        self._site, self._observed = site, observed
        first = next(iter(observed()))
        self.pooled, self.scale = site in first.pools, 0.0
        walls = first.walls()
        self._walls = np.flatnonzero(walls.site == walls.sites.index(site))
        self._unit, self._beyond = walls.unit[self._walls], walls.beyond[self._walls]
        low, high = np.full(len(self._walls), np.inf), np.full(len(self._walls), -np.inf)
        for observation in observed():
            found = self._found(observation)
            low, high = np.minimum(low, found.min(0)), np.maximum(high, found.max(0))
            if not self.pooled:
                self.scale = max(self.scale, float(observation.preactivation[site].abs().max()))
        greatest = np.maximum(np.abs(low), np.abs(high))
        self._order = np.argsort(self._unit, kind="stable")
        self._windows = np.flatnonzero(np.diff(self._unit[self._order], prepend=-1))
        if self.pooled:
            counts = np.diff(self._windows, append=len(self._order))
            greatest[self._order] = np.repeat(np.maximum.reduceat(greatest[self._order], self._windows), counts)
        self.scale = self.scale or scale
        self._tolerance = np.maximum(RELATIVE * greatest, ROUNDING * max(scale, self.scale))
        self._changing = self._pairs(high) if self.pooled else self._signs(low, high)

    def split(self, size: int) -> list[Integers]:
        """Share the functions that change their sign among parts.

        Args:
            size: How many a part may hold.

        Returns:
            Numbers of functions, part by part.
        """
        count = -(-len(self._changing) // max(1, size))
        return np.array_split(np.arange(len(self._changing)), count) if count else []

    def values(self, columns: Integers) -> Floats:
        """Evaluate functions.

        Args:
            columns: Numbers of functions.

        Returns:
            `(input, function)`.
        """
        chosen = self._changing[columns]
        parts = []
        for observation in self._observed():
            found = self._found(observation)
            parts.append(found[:, chosen[:, 1]] - found[:, chosen[:, 0]] if self.pooled else found[:, chosen[:, 0]])
        return np.concatenate(parts)

    def tolerance(self, columns: Integers) -> Floats:
        """Say up to what functions count as zero.

        Args:
            columns: Numbers of functions.

        Returns:
            `(function,)`.
        """
        return self._tolerance[self._changing[columns, 0]]

    def states(self, observation: Observation) -> Integers:
        """Return the states of all units, or the winners of all windows.

        Args:
            observation: Of inputs.

        Returns:
            As `Observation.pattern`, but for what counts as zero, `(input, unit at all positions)`.
        """
        found = self._found(observation)
        if self.pooled:
            wins = (found <= self._tolerance)[:, self._order]
            first = np.where(wins, np.arange(wins.shape[1]), wins.shape[1])
            return self._beyond[self._order[np.minimum.reduceat(first, self._windows, axis=1)]]
        above, below = found > self._tolerance, found < -self._tolerance
        units = len(self._windows)
        site = observation.site[self._site]
        if site.states == 2:
            return np.where(self._beyond == 0, above, below).astype(np.int64)
        if site.activation in _SHRINKS:
            return above[:, units:] + 2 * below[:, :units]
        return above[:, :units].astype(np.int64) + ~below[:, units:]

    def packed(self, observation: Observation) -> npt.NDArray[np.uint8]:
        """Return the states as bits.

        Args:
            observation: Of inputs.

        Returns:
            As `Observation.packed`, `(input, byte at all positions)`.
        """
        states, site = self.states(observation), observation.site[self._site]
        rows = torch.from_numpy(states.reshape(-1, site.units))
        packed = pack_states(rows.bool() if site.bits == 1 else rows, 1, bits=site.bits)
        bits: npt.NDArray[np.uint8] = packed.reshape(len(states), -1).numpy()
        return bits

    def units(self) -> Integers:
        """Return the unit of each function.

        Returns:
            As `reluscope.walls.Walls.unit` counts them, `(function,)`.
        """
        return self._unit[self._changing[:, 0]]

    # Of an activation the functions; of a max-pool what each place is behind the winner by.
    def _found(self, observation: Observation) -> Floats:
        ahead: Floats = observation.walls().value[:, self._walls].numpy()
        if self.pooled:
            return ahead
        state = observation.pattern[self._site].reshape(observation.samples, -1).numpy()[:, self._unit]
        if observation.site[self._site].states == 2:
            above = state.astype(bool) == (self._beyond == 0)
        elif observation.site[self._site].activation in _SHRINKS:
            above = np.where(self._beyond == 0, state != 2, state == 1)
        else:
            above = state > self._beyond
        return np.where(above, ahead, -ahead)

    def _signs(self, low: Floats, high: Floats) -> Integers:
        return np.flatnonzero((low < -self._tolerance) & (high > self._tolerance))[:, None]

    def _pairs(self, high: Floats) -> Integers:
        always = high <= self._tolerance
        windows = np.split(self._order, self._windows[1:])
        open_windows = [window for window in windows if not always[window].any()]
        pairs = [window[np.stack(np.triu_indices(len(window), 1), 1)] for window in open_windows]
        return np.concatenate(pairs or [np.empty((0, 2), np.int64)])
