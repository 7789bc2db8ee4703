"""Progressive stochastic binarization: each sample of a weight is one of the two powers of two around it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from reluscope.errors import RecipeError
from reluscope.kernels import compiled
from reluscope.quantization_arguments import whole_number
from reluscope_plugins.number_systems.binomial import Array
from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.counted import CountedSystem
from reluscope_plugins.number_systems.layer_parts import by_parts
from reluscope_plugins.number_systems.scaled import largest

LIFT = 2.0**64
"""Takes the subnormal numbers of a type to its normal ones, exactly."""


@dataclasses.dataclass(frozen=True)
class Binarized:
    """Weights as sign, exponent and probability: w = s 2^e (1 + p).

    That is how a float is stored anyway, so the float is the code.

    Attributes:
        value: The represented numbers, float32 or float64.
    """

    value: torch.Tensor

    @property
    def sign(self) -> torch.Tensor:
        """s, int8: -1 or 1; 0 for zero."""
        return self.value.sign().to(torch.int8)

    @property
    def exponent(self) -> torch.Tensor:
        """e, int16; 0 for zero."""
        return (self.value.frexp().exponent - (self.value != 0).int()).to(torch.int16)

    @property
    def probability(self) -> torch.Tensor:
        """p, in [0, 1) and exact, in the value's dtype; 0 for zero."""
        return (2 * self.value.abs().frexp().mantissa - 1).clamp_min(0)

    @property
    def octave(self) -> torch.Tensor:
        """The power of two below, with the sign: s 2^e, exact, in the value's dtype; 0 for zero."""
        return self.value / (1 + self.probability)


class PSB(CountedSystem):
    """Progressive stochastic binarization, from one sample to float.

    A weight is w = s 2^e (1 + p) with its sign s, e = floor(log2 |w|) and p in [0, 1). The mean of n samples is drawn
    as

        w_n = s 2^e (1 + B / n),  B ~ Binomial(n, p)

    so that each sample is a shift by e or by e + 1. It is unbiased, E[w_n] = w, and
    Var[w_n] = 4^e p (1 - p) / n = (3 2^e |w| - 2^(2e + 1) - w^2) / n <= w^2 / (8 n). Zero is drawn as zero.

    A draw is rounded to the nearest float; 2^128, the upper shift of weights from 2^127 on, becomes the largest
    float32, and 2^1024 the largest float64.

    Args:
        probability_bits: Round p to the nearest multiple of 2^-k, at half the even one; where that is 1, p is 0 in the
            next octave. None keeps it as it is.
        exponent_bits: Keep only the 2^k - 1 octaves from the largest weight of the tensor down, as one code is zero's;
            smaller weights become 0 or the least weight kept, whichever is nearer. None keeps all.

    Example:
        >>> system = PSB()
        >>> encoded = system.encode(torch.tensor([3.0, -0.25, 0.0]))
        >>> encoded.exponent, encoded.probability
        (tensor([ 1, -2,  0], dtype=torch.int16), tensor([0.5000, 0.0000, 0.0000]))
        >>> system.from_counts(encoded, torch.tensor([3, 0, 0]), 4)
        tensor([ 3.5000, -0.2500,  0.0000])

    References:
        Hartmann 2025, equations 4.4 to 4.10, section 4.2.4. Hartmann and Wand 2019, Progressive Stochastic Binarization
        of Deep Networks, EMC2-NIPS.
    """

    operations: Mapping[str, float] = {"add": 1, "shift": 1, "random_bit": 1}

    def __init__(self, probability_bits: int | None = None, exponent_bits: int | None = None) -> None:
        if probability_bits is not None:
            probability_bits = whole_number("probability_bits", probability_bits, 0, 52, error=RecipeError)
        if exponent_bits is not None:
            exponent_bits = whole_number("exponent_bits", exponent_bits, 1, 11, error=RecipeError)
        self.probability_bits = probability_bits
        self.exponent_bits = exponent_bits

    @property
    def bits(self) -> int:
        """Bits that one float32 weight takes: sign, exponent and probability."""
        return self.bits_of(torch.float32)

    def bits_of(self, dtype: torch.dtype) -> int:
        """Return the bits that one weight takes: sign, exponent and probability.

        Args:
            dtype: Of the weight, whose own exponent and mantissa they are where they are not chosen.

        Returns:
            Such as 64 in double precision.
        """
        kind = torch.finfo(dtype)
        mantissa = round(-math.log2(kind.eps))
        exponent = kind.bits - 1 - mantissa if self.exponent_bits is None else self.exponent_bits
        return 1 + exponent + (mantissa if self.probability_bits is None else self.probability_bits)

    def encode(self, weight: torch.Tensor) -> Binarized:
        """Split weights into sign, exponent and probability.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code; the weight itself where nothing is to be rounded.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        return self._encoded(finite_weight(weight), None)

    def encode_over(self, weight: torch.Tensor) -> Binarized:
        """Encode as `encode` does, in the memory of the weight, which is lost.

        Args:
            weight: As for `encode`.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        return self._encoded(value, value if value.is_contiguous() else None)

    def _encoded(self, value: torch.Tensor, out: torch.Tensor | None) -> Binarized:
        if self.probability_bits is not None:
            bits = self.probability_bits
            value = out = by_parts(value, lambda part: _rounded(part, bits), out)
        if self.exponent_bits is not None:
            exponent = int(largest(value).frexp().exponent) - 2**self.exponent_bits + 1
            least = 2.0 ** max(exponent, -1074)
            value = by_parts(value, lambda part: _raised(part, least), out)
        return Binarized(value)

    def variance(self, encoded: Binarized, samples: int) -> torch.Tensor:
        """Return the variance of the mean of some samples, (|w| - 2^e) (2^(e + 1) - |w|) / n.

        Args:
            encoded: What `encode` returned.
            samples: n, at least 1.

        Returns:
            float32 or float64; under- or overflows where the square of the weight does.
        """
        return by_parts(encoded.value, lambda part: _variance(Binarized(part), samples))

    def _formula(self, encoded: Binarized, counts: torch.Tensor, samples: int) -> torch.Tensor:
        limit = torch.finfo(encoded.value.dtype).max
        drawn = encoded.octave.double() * ((counts.double() + samples) / samples)
        return drawn.clamp(-limit, limit).to(encoded.value.dtype)

    def _codes(self, encoded: Binarized) -> Callable[[Array, Array], None]:
        return _codes

    def _weights(self, encoded: Binarized, samples: int) -> Callable[[Array, Array, Array], None]:
        limit = torch.finfo(encoded.value.dtype).max
        return lambda values, counts, out: _weights(values, counts, float(samples), limit, out)


def _variance(encoded: Binarized, samples: int) -> torch.Tensor:
    octave = encoded.octave.abs()
    above = encoded.value.abs() - octave
    return above * (octave - above) / samples


@compiled
def _codes(values: Array, out: Array) -> None:
    """Take the mantissas, 64 digits after the point: all float32 are normal in float64, and others are lifted."""
    wide = out.view(np.float64)
    for place in range(len(values)):
        value = np.float64(values[place])
        wide[place] = value * LIFT if abs(value) < 2.0**-1022 else value
    for place in range(len(values)):
        out[place] <<= np.uint64(12)


@compiled
def _weights(values: Array, counts: Array, samples: float, limit: float, out: Array) -> None:
    """Write s 2^e (1 + counts / samples); the factor apart, as compiled products may be taken in another order."""
    octaves, factors = np.empty(len(values), np.float64), np.empty(len(values), np.float64)
    for place in range(len(values)):
        factors[place] = (np.float64(counts[place]) + samples) / samples
    bits = octaves.view(np.uint64)
    for place in range(len(values)):
        value = np.float64(values[place])
        octaves[place] = value * LIFT if abs(value) < 2.0**-1022 else value
    for place in range(len(values)):
        bits[place] &= np.uint64(0xFFF0000000000000)
    for place in range(len(values)):
        octave = octaves[place] / LIFT if abs(values[place]) < 2.0**-1022 else octaves[place]
        drawn = octave * factors[place]
        out[place] = min(max(drawn, -limit), limit)


def _rounded(value: torch.Tensor, bits: int) -> torch.Tensor:
    # to the nearest number with so many bits of mantissa after the leading one, at half to the even one
    dtype, mantissa = (torch.int32, 23) if value.dtype == torch.float32 else (torch.int64, 52)
    spare = mantissa - bits
    if spare <= 0:
        return value
    small = value.abs() < torch.finfo(value.dtype).tiny
    code = torch.where(small, value * LIFT, value).view(dtype)
    code = code + ((1 << (spare - 1)) - 1) + ((code >> spare) & 1)
    rounded = (code & -(1 << spare)).view(value.dtype)
    rounded = torch.where(small, rounded / LIFT, rounded)
    most = (2 - 2.0**-bits) * (2.0**127 if mantissa == 23 else 2.0**1023)
    return torch.where(rounded.isinf(), value.sign() * most, rounded)


def _raised(value: torch.Tensor, least: float) -> torch.Tensor:
    # smaller weights become 0 or the least one, whichever is nearer; at half 0
    magnitude = value.abs()
    nearest = torch.where(magnitude > least / 2, least, 0.0).to(value.dtype)
    return torch.where(magnitude < least, value.sign() * nearest, value)
