"""The nearest wall in a chain of dense layers, found by bounds that are sharpened layer by layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_ROWS = 2**15
"""Gradients that are pulled back at once."""


class DenseWalls:
    r"""The walls of the regions that hold a batch, of a network whose sites are a chain of dense layers with ReLU.

    The gradient of unit $i$ of layer $l$ is $w_i Z_{l-1} W_{l-1} \cdots Z_1 W_1$ with the sample's patterns $Z$. Pulled
    back to layer $k$ it is a row $v$, and $\|v\|\,\sigma_k$ bounds it, with $\sigma_k$ the product of the layers'
    spectral norms.

    Args:
        weights: Of each layer `(unit, unit before)`.
        preactivations: Of each layer `(sample, unit)`.

    Attributes:
        distance: Distance to the nearest wall known so far, float64 `(sample,)`.
        layer: The layer that has it, from 0, int64 `(sample,)`; -1 where there is none.
        unit: The unit, int64 `(sample,)`; -1 where there is none.
        gradients: How many gradients were taken.
    """

    def __init__(self, weights: Sequence[Tensor], preactivations: Sequence[Tensor]) -> None:
        # in double precision, where squares of small or large weights neither vanish nor overflow
        self._weights = [weight.double() for weight in weights]
        self._heights = [values.abs().double() for values in preactivations]
        self._active = [(values > 0).double() for values in preactivations[:-1]]
        self._slack = 1 + math.sqrt(torch.finfo(torch.float64).eps)
        norms = [self._slack * torch.linalg.matrix_norm(weight, 2).item() for weight in self._weights[:-1]]
        self._scales = list(itertools.accumulate(norms, lambda first, second: first * second))
        samples, device = len(preactivations[0]), preactivations[0].device
        self.distance = torch.full((samples,), math.inf, dtype=torch.float64, device=device)
        self.layer = torch.full((samples,), -1, dtype=torch.int64, device=device)
        self.unit = torch.full((samples,), -1, dtype=torch.int64, device=device)
        self.gradients = 0

    def search(self) -> None:
        """Find the nearest wall of each sample."""
        self._note(0, _over(self._heights[0], torch.linalg.vector_norm(self._weights[0], dim=1)))
        bounds = []
        for layer in range(1, len(self._weights)):
            lengths = (self._active[layer - 1] @ self._weights[layer].square().t()).sqrt() * self._slack
            bounds.append(_over(self._heights[layer], lengths * self._scales[layer - 1]))
        # the likeliest of each layer first: the nearer the nearest known wall, the fewer are left
        for layer, bound in enumerate(bounds, start=1):
            likeliest = bound.argmin(1)
            self._look(layer, torch.arange(len(bound), device=bound.device), likeliest)
            bound.scatter_(1, likeliest.unsqueeze(1), math.inf)
        for layer, bound in enumerate(bounds, start=1):
            samples, units = (bound < self.distance.unsqueeze(1)).nonzero(as_tuple=True)
            for some in torch.split(torch.arange(len(samples), device=bound.device), _ROWS):
                self._look(layer, samples[some], units[some])

    def gradient(self) -> Tensor:
        """Return the gradients of the nearest walls.

        Returns:
            `(sample, in)`; zero where there is no wall.
        """
        found = self.distance.new_zeros(len(self.distance), self._weights[0].shape[1])
        for layer in range(len(self._weights)):
            samples = (self.layer == layer).nonzero().squeeze(1)
            rows = self._weights[layer][self.unit[samples]]
            for before in reversed(range(layer)):
                rows = (rows * self._active[before][samples]) @ self._weights[before]
            found[samples] = rows
        return found

    def _look(self, layer: int, samples: Tensor, units: Tensor) -> None:
        rows, heights = self._weights[layer][units], self._heights[layer][samples, units]
        for before in reversed(range(layer)):
            rows = rows * self._active[before][samples]
            bound = torch.linalg.vector_norm(rows, dim=1) * (self._slack * self._scales[before])
            left = (_over(heights, bound) < self.distance[samples]).nonzero().squeeze(1)
            samples, units, heights = samples[left], units[left], heights[left]
            rows = rows[left] @ self._weights[before]
        self.gradients += len(samples)
        found = torch.full_like(self._heights[layer], math.inf)
        found[samples, units] = _over(heights, torch.linalg.vector_norm(rows, dim=1))
        self._note(layer, found)

    def _note(self, layer: int, distances: Tensor) -> None:
        nearest, unit = distances.min(1)
        nearer = nearest < self.distance
        self.distance = torch.where(nearer, nearest, self.distance)
        self.layer[nearer], self.unit[nearer] = layer, unit[nearer]


def _over(heights: Tensor, lengths: Tensor) -> Tensor:
    # A gradient of zero belongs to no wall.
    found = heights / lengths
    none = lengths == 0
    if bool(none.any()):
        found.masked_fill_(none, math.inf)
    return found
