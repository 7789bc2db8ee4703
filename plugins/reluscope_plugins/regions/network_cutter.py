"""Cut a plane into the linear regions of any piecewise-linear network, which is run wherever its values are wanted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reluscope.observation import Observation, observe
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.site_functions import SiteFunctions
from reluscope_plugins.regions.subdivision import Subdivision

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_BATCH = 4096
_NUMBERS = 2**22
"""Values of functions at vertices that are held at once."""


class NetworkCutter:
    """Runs the network on the vertices, two or three times for each site.

    Args:
        network: In float64, in eval mode.
        plane: The plane.
        first: What was seen at the window's corners, with its affine map.
    """

    def __init__(self, network: nn.Module, plane: Plane, first: Observation) -> None:
        self._network, self._plane = network, plane
        self._sites = first.walls().sites
        self._batch = max(1, min(_BATCH, _NUMBERS // first.walls().value.shape[1]))
        self._scale = float(first.affine().input.abs().max())
        self._functions: dict[str, SiteFunctions] = {}

    def cut(self, subdivision: Subdivision) -> Iterator[tuple[str, Integers]]:
        """Cut site by site, in place.

        Args:
            subdivision: The window.

        Yields:
            After each site its name, and the unit of each function that it was cut along.
        """
        scale = self._scale
        for site in self._sites:
            begin = subdivision.functions
            functions = SiteFunctions(site, lambda: self._observed(subdivision.points), scale)
            for columns in functions.split(_NUMBERS // len(subdivision.points)):
                subdivision.cut(functions.values(columns), functions.tolerance(columns))
            if functions.pooled and subdivision.functions > begin:
                self._leave_walls(subdivision, functions, begin)
            self._functions[site], scale = functions, functions.scale
            yield site, functions.units()

    def finish(self, subdivision: Subdivision) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Look at the faces when all sites have cut.

        Args:
            subdivision: The regions.

        Returns:
            Slopes along x and y, and offset, `(region, 3, output)`; the bits of all units, activations before
            max-pools, `(region, byte)`.
        """
        centres = subdivision.centres()
        maps, patterns = [], []
        directions = [direction.flatten() for direction in self._plane.directions]
        for observation, some in zip(self._observed(centres), self._batches(len(centres)), strict=True):
            affine = observation.affine()
            slopes = [affine.matvec(d.expand(observation.samples, -1)).numpy() for d in directions]
            flat = observation.output.flatten(1).numpy()
            x, y = centres[some].T[:, :, None]
            maps.append(np.stack([*slopes, flat - slopes[0] * x - slopes[1] * y], 1))
            patterns.append(self.packed(observation))
        return np.concatenate(maps), np.concatenate(patterns)

    def packed(self, observation: Observation) -> npt.NDArray[np.uint8]:
        """Return patterns as bits.

        Args:
            observation: Of inputs of the plane, when all sites have cut.

        Returns:
            `(input, byte)`.
        """
        names = [name for name in (*observation.sites, *observation.pools) if name in self._functions]
        return np.concatenate([self._functions[name].packed(observation) for name in names], 1)

    # Places that do not win make cuts as well: a wall is where another one wins on the other side, whichever window
    # made the cut, and is named after a window whose winner changes.
    def _leave_walls(self, subdivision: Subdivision, functions: SiteFunctions, begin: int) -> None:
        made = (subdivision.maker >= begin).nonzero()[0]
        windows, first, window = np.unique(functions.units(), return_index=True, return_inverse=True)
        winners = np.concatenate([functions.states(seen)[:, windows] for seen in self._observed(subdivision.centres())])
        left, right = subdivision.face.reshape(-1, 2)[made].T
        changes = winners[left] != winners[right]
        maker = subdivision.maker[made]
        own = changes[np.arange(len(made)), window[maker - begin]]
        subdivision.maker[made] = np.where(own, maker, begin + first[changes.argmax(1)])
        subdivision.remove(made[~changes.any(1)])

    def _batches(self, count: int) -> list[slice]:
        return [slice(start, start + self._batch) for start in range(0, count, self._batch)]

    def _observed(self, points: Floats) -> Iterator[Observation]:
        for some in self._batches(len(points)):
            x, y = torch.from_numpy(points[some].T.copy())
            yield observe(self._network, self._plane.at(x, y), affine=True)
