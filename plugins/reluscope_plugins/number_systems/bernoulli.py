"""One Bernoulli variable a weight: each sample is the largest weight with its sign, or nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from reluscope.kernels import compiled
from reluscope_plugins.number_systems.binomial import Array
from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.counted import CountedSystem
from reluscope_plugins.number_systems.layer_parts import by_parts
from reluscope_plugins.number_systems.scaled import largest, shares


@dataclasses.dataclass(frozen=True)
class Shares:
    """Weights as a sign, one scale a tensor, and a probability.

    Attributes:
        value: The represented numbers, float32 or float64.
        scale: The greatest magnitude, a scalar.
    """

    value: torch.Tensor
    scale: torch.Tensor

    @property
    def probability(self) -> torch.Tensor:
        """The magnitude's share of the scale, in [0, 1], float64; 0 where all weights are zero."""
        return shares(self.value.double(), self.scale.double()).abs()


class Bernoulli(CountedSystem):
    """The weight as the probability of a success.

    With the scale a = max|w| of the tensor, the sign s and p = |w| / a the mean of n samples is drawn as s a B / n,
    B ~ Binomial(n, p). It is unbiased, and its variance |w| (a - |w|) / n. The source has it for weights within [0, 1];
    sign and scale make it one for any weights. p is rounded to double precision.

    Example:
        >>> system = Bernoulli()
        >>> encoded = system.encode(torch.tensor([0.5, -2.0]))
        >>> encoded.probability
        tensor([0.2500, 1.0000], dtype=torch.float64)
        >>> system.from_counts(encoded, torch.tensor([1, 4]), 4)
        tensor([ 0.5000, -2.0000])

    References:
        Hartmann 2025, equation 4.3.
    """

    bits = 32
    operations: Mapping[str, float] = {"add": 1, "random_bit": 1}

    def encode(self, weight: torch.Tensor) -> Shares:
        """Split weights into sign, scale and probability.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code, with the weight itself.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        return Shares(value, largest(value))

    def variance(self, encoded: Shares, samples: int) -> torch.Tensor:
        """Return the variance of the mean of some samples, |w| (a - |w|) / n.

        Args:
            encoded: What `encode` returned.
            samples: n, at least 1.

        Returns:
            float32 or float64; under- or overflows where the square of the weight does.
        """
        return by_parts(encoded.value, lambda part: part.abs() * (encoded.scale - part.abs()) / samples)

    def bits_of(self, dtype: torch.dtype) -> int:
        """Return the bits that one weight takes: its own.

        Args:
            dtype: Of the weight.

        Returns:
            Such as 64 in double precision.
        """
        return torch.finfo(dtype).bits

    def _formula(self, encoded: Shares, counts: torch.Tensor, samples: int) -> torch.Tensor:
        signed = encoded.value.double().sign() * encoded.scale.double()
        return (signed * (counts.double() / samples)).to(encoded.value.dtype)

    def _codes(self, encoded: Shares) -> Callable[[Array, Array], None]:
        scale = float(encoded.scale)
        return lambda values, out: _codes(values, scale or 1.0, out)

    def _weights(self, encoded: Shares, samples: int) -> Callable[[Array, Array, Array], None]:
        scale = float(encoded.scale)
        return lambda values, counts, out: _weights(values, counts, float(samples), scale, out)


@compiled
def _codes(values: Array, scale: float, out: Array) -> None:
    for place in range(len(values)):
        # a probability of 1 falls short of it by 2^-64
        share = abs(np.float64(values[place])) / scale
        out[place] = np.uint64(share * 2.0**64) if share < 1 else np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _weights(values: Array, counts: Array, samples: float, scale: float, out: Array) -> None:
    shares = np.empty(len(values), np.float64)
    for place in range(len(values)):
        shares[place] = np.float64(counts[place]) / samples
    for place in range(len(values)):
        out[place] = np.sign(np.float64(values[place])) * scale * shares[place]
