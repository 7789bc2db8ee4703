"""What stochastic systems share whose draws are binomial counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reluscope.quantization_arguments import whole_number
from reluscope_plugins.number_systems.binomial import (
    BLOCK,
    Array,
    count_dtype,
    counts_by_comparison,
    draw_blocks,
    one_seed,
)

MANY = 2**22
"""The most samples, for which there are random words; single precision takes no more."""


class CountedSystem:
    """A stochastic number system: of n samples of a weight, Binomial(n, p) are successes.

    A subclass has `encode`, which returns what has a `value` and a `probability`, `variance`, the formula
    of a draw, and the two compiled steps.
    """

    stochastic = True
    most_samples = MANY

    def decode(self, encoded: Any) -> torch.Tensor:
        """Return the represented numbers.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64, exact.
        """
        value: torch.Tensor = encoded.value
        return value

    def mean(self, encoded: Any) -> torch.Tensor:
        """Return the mean of the draws, which is the represented number.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64, exact.
        """
        return self.decode(encoded)

    def counts(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw for each weight how many of some samples are successes.

        Args:
            encoded: What `encode` returned.
            samples: n, at least 1.
            generator: Where chance comes from.

        Returns:
            Binomial(n, p), in the smallest integer type.
        """
        samples = whole_number("samples", samples, 1, MANY)
        value, seed = encoded.value, one_seed(generator)
        if value.device.type != "cpu":
            return counts_by_comparison(encoded.probability.contiguous(), samples, seed)
        out = value.new_empty(value.shape, dtype=count_dtype(samples))
        draw_blocks(_flat(value), samples, seed, self._codes(encoded), _keep, _flat(out))
        return out

    def from_counts(self, encoded: Any, counts: torch.Tensor, samples: int) -> torch.Tensor:
        """Return the weight that belongs to a number of successes.

        Args:
            encoded: What `encode` returned.
            counts: Integers from 0 to n, in the shape of the weight.
            samples: n, at least 1.

        Returns:
            float32 or float64.
        """
        samples = whole_number("samples", samples, 1, MANY)
        value = encoded.value
        if value.device.type != "cpu":
            return self._formula(encoded, counts, samples)
        out = value.new_empty(value.shape)
        values, successes, drawn, finish = _flat(value), _flat(counts), _flat(out), self._weights(encoded, samples)
        for first in range(0, len(values), BLOCK):
            block = slice(first, first + BLOCK)
            finish(values[block], successes[block].astype(np.uint64), drawn[block])
        return out

    def draw(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the mean of some samples of each weight.

        Args:
            encoded: What `encode` returned.
            samples: n, at least 1.
            generator: Where chance comes from.

        Returns:
            float32 or float64: what `from_counts` makes of `counts`, without a tensor for these.
        """
        value = encoded.value
        if value.device.type != "cpu":
            return self.from_counts(encoded, self.counts(encoded, samples, generator), samples)
        samples = whole_number("samples", samples, 1, MANY)
        return self._drawn(encoded, samples, generator, value.new_empty(value.shape))

    def draw_over(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw as `draw` does, in the memory of the code, which is lost.

        Args:
            encoded: What `encode` returned, of a weight that nobody else needs.
            samples: n, at least 1.
            generator: Where chance comes from.

        Returns:
            float32 or float64.
        """
        value: torch.Tensor = encoded.value
        if value.device.type != "cpu" or not value.is_contiguous():
            return self.draw(encoded, samples, generator)
        samples = whole_number("samples", samples, 1, MANY)
        return self._drawn(encoded, samples, generator, value)

    def _drawn(self, encoded: Any, samples: int, generator: torch.Generator, out: torch.Tensor) -> torch.Tensor:
        finish = self._weights(encoded, samples)
        draw_blocks(_flat(encoded.value), samples, one_seed(generator), self._codes(encoded), finish, _flat(out))
        return out

    def _formula(self, encoded: Any, counts: torch.Tensor, samples: int) -> torch.Tensor:
        """Return what `from_counts` does, on any device."""
        raise NotImplementedError

    def _codes(self, encoded: Any) -> Callable[[Array, Array], None]:
        """Return what writes the probabilities of a block of values, times 2^64."""
        raise NotImplementedError

    def _weights(self, encoded: Any, samples: int) -> Callable[[Array, Array, Array], None]:
        """Return what writes `from_counts` of a block of values and their counts."""
        raise NotImplementedError


def _flat(tensor: torch.Tensor) -> Array:
    array: Array = tensor.reshape(-1).numpy()
    return array


def _keep(values: Array, counts: Array, out: Array) -> None:
    out[:] = counts
