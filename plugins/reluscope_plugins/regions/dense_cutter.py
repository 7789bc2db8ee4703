"""The units of a chain of dense layers, on the faces of a plane."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from reluscope.kernels import shared_out
from reluscope.packing import row_bytes
from reluscope_plugins.regions.affine_pieces import affine_values, chains, follow, masked_maps, positive
from reluscope_plugins.regions.site_functions import RELATIVE, ROUNDING

if TYPE_CHECKING:
    import numpy.typing as npt

    from reluscope.observation import Observation
    from reluscope_plugins.patterns.plane import Plane
    from reluscope_plugins.regions.subdivision import Subdivision

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Bits = npt.NDArray[np.uint8]

_BATCH = 1024
_NUMBERS = 2**22
"""Values of functions at vertices that are held at once."""
_FUNCTIONS = 64
"""But no fewer functions than that: each part walks over all edges once."""
_MAPS = 2**27
"""Numbers of the last layer's maps that are held at once."""
_STEPS = 64
"""Maps are carried on from face to face no further than this, so that their rounding errors do not add up."""


class DenseCutter:
    """Cuts a subdivision along the zeros of all units of a chain of dense layers, one after the other.

    The maps of a layer's units are known on each face. Of the next layer's, a full product gives them on one face of
    those into which a face was cut. On the others they follow from neighbour to neighbour, between which one unit
    changes: what it contributes is an outer product, cheaper than the full one by the layer's width.

    Args:
        weights: Of all layers, the output's last, `(output, input)` each.
        first: An observation of the network at a point of the plane.
        plane: The plane.
    """

    def __init__(self, weights: list[torch.Tensor], first: Observation, plane: Plane) -> None:
        self._sites = first.sites
        self._weights = [weight.numpy() for weight in weights]
        points = [first.preactivation[site].numpy()[0] for site in first.sites] + [first.output.numpy()[0]]
        inputs = [first.affine().input.numpy()[0]] + [np.maximum(point, 0) for point in points[:-1]]
        self._biases = [z - w @ x for z, w, x in zip(points, self._weights, inputs, strict=True)]
        axes = np.stack([*(d.flatten().numpy() for d in plane.directions), plane.origin.flatten().numpy()])
        # the layer before: its maps, the face among those of each present face, and which of its units are positive
        self._old: Floats = np.ascontiguousarray(axes[None])
        self._parent: Integers = np.zeros(1, np.int64)
        self._bits: Bits = np.full((1, row_bytes(axes.shape[1])), 255, np.uint8)
        self._patterns: list[Bits] = []
        self._outputs: Floats = np.empty(0)
        self._axes = axes

    def cut(self, subdivision: Subdivision) -> Iterator[tuple[str, Integers]]:
        """Cut a subdivision, layer by layer.

        Args:
            subdivision: Of one face; cut in place.

        Yields:
            The layer's site, and its units, one for each function that it was cut along.
        """
        corners = np.column_stack([subdivision.points, np.ones(len(subdivision.points))])
        before = np.abs(corners @ self._axes).max(0)  # the greatest value of each unit before
        for number, site in enumerate(self._sites):
            terms = np.abs(self._weights[number]) @ before + np.abs(self._biases[number])  # what is summed up
            before = np.empty(len(terms))
            units, faces, is_last = len(self._weights[number]), len(subdivision.start), site == self._sites[-1]
            chain = chains(subdivision.face, subdivision.following, subdivision.start, self._parent, self._bits, _STEPS)
            # the last layer's maps are wanted once only, so they are held in part
            held = max(_FUNCTIONS, _MAPS // (3 * faces) // 8 * 8) if is_last else units
            self._outputs = np.zeros((faces, 3, len(self._biases[-1])))
            parent, bits = np.arange(faces), np.zeros((faces, row_bytes(units)), np.uint8)
            for first in range(0, units, held):
                maps = self._extended(number, chain, slice(first, min(units, first + held)))
                width, begin = maps.shape[2], 0
                while begin < width:
                    size = max(_FUNCTIONS, _NUMBERS // len(subdivision.points) // 8 * 8)
                    end = min(width, begin + size)
                    at_vertices = parent[subdivision.face_of_vertices()]
                    values = _values(maps, at_vertices, subdivision.points, begin, end)
                    some_units = slice(first + begin, first + end)
                    before[some_units] = values.max(0).clip(0)
                    greatest = np.maximum(before[some_units], -values.min(0))
                    tolerance = np.maximum(RELATIVE * greatest, ROUNDING * terms[some_units])
                    came = subdivision.cut(values, tolerance)
                    parent, bits, self._outputs = parent[came], bits[came], self._outputs[came]
                    some = bits[:, (first + begin) // 8 : -(-(first + end) // 8)]
                    _positive(maps, parent, subdivision.centres(), begin, tolerance, some)
                    begin = end
                if is_last:
                    some = bits[:, first // 8 : -(-(first + width) // 8)]
                    self._add(maps, parent, some, self._weights[-1][:, first : first + width])
            self._patterns = [*(pattern[parent] for pattern in self._patterns), bits]
            self._old, self._parent, self._bits = maps, parent, bits
            yield site, np.arange(units)

    def finish(self, subdivision: Subdivision) -> tuple[Floats, Bits]:
        """Return what holds on each face.

        Args:
            subdivision: After all cuts.

        Returns:
            Maps of the outputs, `(face, axis, output)`, and the bits of all units, `(face, byte)`.
        """
        self._outputs[:, 2] += self._biases[-1]
        return self._outputs, np.concatenate(self._patterns, axis=1)

    def _extended(self, number: int, chain: tuple[Integers, ...], functions: slice) -> Floats:
        # the maps of some of a layer's functions
        order, neighbour, changed, ends = chain
        weight = np.ascontiguousarray(self._weights[number][functions].T)
        maps = np.empty((len(order), 3, weight.shape[1]))
        units = np.unpackbits(np.bitwise_or.reduce(self._bits, 0), bitorder="little")[: len(weight)].nonzero()[0]
        begins = order[neighbour[order] < 0]
        for some in _batches(len(begins)):
            here = begins[some]
            product = _product(self._old, self._parent[here], self._bits[here], units, weight[units])
            product[:, 2] += self._biases[number][functions]
            maps[here] = product

        def work(part: slice) -> bool:
            known = (order, neighbour, changed, ends, self._bits, self._parent, self._old, weight)
            return follow(*known, maps, part.start, part.stop) is None

        shared_out(maps.shape[2], work, maps.nbytes)
        return maps

    def _add(self, maps: Floats, parent: Integers, bits: Bits, weight: Floats) -> None:
        units = np.arange(weight.shape[1])
        for some in _batches(len(parent)):
            self._outputs[some] += _product(maps, parent[some], bits[some], units, weight.T)


def _batches(count: int) -> list[slice]:
    return [slice(start, start + _BATCH) for start in range(0, count, _BATCH)]


def _product(maps: Floats, parent: Integers, bits: Bits, units: Integers, weight: Floats) -> Floats:
    # weight: (unit, function)
    masked = np.empty((len(parent), 3, len(units)))

    def work(rows: slice) -> bool:
        return masked_maps(maps, parent[rows], bits[rows], units, masked[rows]) is None

    shared_out(len(parent), work, masked.nbytes)
    product = torch.from_numpy(masked.reshape(3 * len(parent), -1)) @ torch.from_numpy(weight)
    return product.numpy().reshape(len(parent), 3, -1)


def _values(maps: Floats, face: Integers, points: Floats, begin: int, end: int) -> Floats:
    values = np.empty((len(points), end - begin))

    def work(rows: slice) -> bool:
        return affine_values(maps, face[rows], points[rows], begin, values[rows]) is None

    shared_out(len(points), work, values.nbytes)
    return values


def _positive(maps: Floats, face: Integers, points: Floats, begin: int, tolerance: Floats, bits: Bits) -> None:
    def work(rows: slice) -> bool:
        return positive(maps, face[rows], points[rows], begin, tolerance, bits[rows]) is None

    shared_out(len(points), work, 8 * len(points) * len(tolerance))
