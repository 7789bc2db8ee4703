"""The functions along whose zeros a site bends, as values at many inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from reluscope.observation import Observation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_SHRINKS = frozenset(("softshrink", "hardshrink"))


class SiteFunctions:
    """Functions that are affine wherever all sites before are, and between whose zeros a site is too.

    Of an activation they are the pre-activations less each threshold. Of a max-pool they are the differences of any two
    places of a window: more than the site bends along, since a place counts only where it is the greatest.

    Args:
        site: Name of the site.
        observed: Observes all inputs, batch by batch, within the graph.

    Attributes:
        pooled: Whether it is a max-pool.
    """

    def __init__(self, site: str, observed: Callable[[], Iterable[Observation]]) -> None:
        self._site, self._observed = site, observed
        first = next(iter(observed()))
        self.pooled = site in first.pools
        walls = first.walls()
        self._walls = np.flatnonzero(walls.site == walls.sites.index(site))
        self._unit, self._beyond = walls.unit[self._walls], walls.beyond[self._walls]
        self._changing = self._pairs() if self.pooled else self._signs()

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

    def winners(self, observed: Iterable[Observation]) -> Integers:
        """Return the winners of a max-pool's windows, of those whose winner is not the same for all inputs.

        Args:
            observed: Observations of inputs.

        Returns:
            `(input, window)`.
        """
        windows = np.unique(self.units())
        return np.concatenate(
            [seen.pattern[self._site].reshape(seen.samples, -1)[:, windows].numpy() for seen in observed]
        )

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

    def _signs(self) -> Integers:
        low, high = np.full(len(self._walls), np.inf), np.full(len(self._walls), -np.inf)
        for observation in self._observed():
            found = self._found(observation)
            low, high = np.minimum(low, found.min(0)), np.maximum(high, found.max(0))
        return np.flatnonzero((low < 0) & (high > 0))[:, None]

    def _pairs(self) -> Integers:
        order = np.argsort(self._unit, kind="stable")
        windows = np.split(order, np.flatnonzero(np.diff(self._unit[order])) + 1)
        always = np.ones(len(self._walls), dtype=bool)
        for observation in self._observed():
            always &= (self._found(observation) <= 0).all(0)
        open_windows = [window for window in windows if not always[window].any()]
        pairs = [window[np.stack(np.triu_indices(len(window), 1), 1)] for window in open_windows]
        return np.concatenate(pairs or [np.empty((0, 2), np.int64)])
