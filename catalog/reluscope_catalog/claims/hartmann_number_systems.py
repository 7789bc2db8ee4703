"""Strategies and predicates of the claims on progressive stochastic binarization, in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_plugins.number_systems.psb import PSB, Binarized

Cases = SearchStrategy[dict[str, Any]]

_MANTISSAS = st.integers(-4095, 4095).filter(bool)
"""Short enough that the square of a weight is exact in float64."""
_SCALES = st.integers(-8, 8)
_MIDWAY, _THIRD = Fraction(1, 2), Fraction(1, 3)


def weights() -> Cases:
    """Return weights, mantissa times 2^scale, each with a number of samples."""
    return st.fixed_dictionaries({"mantissa": _MANTISSAS, "scale": _SCALES, "samples": st.integers(1, 12)})


def single_weights() -> Cases:
    """Return weights, mantissa times 2^scale."""
    return st.fixed_dictionaries({"mantissa": _MANTISSAS, "scale": _SCALES})


def octaves() -> Cases:
    """Return exponents, each with a probability as text such as "1/3"."""
    probabilities = st.fractions(0, 1, max_denominator=60).map(str)
    return st.fixed_dictionaries({"exponent": _SCALES, "probability": probabilities})


def products() -> Cases:
    """Return inputs, each with a weight and the random bits of 1, 2, 4 or 8 samples."""
    bits = st.integers(0, 3).flatmap(lambda n: st.lists(st.integers(0, 1), min_size=2**n, max_size=2**n))
    return st.fixed_dictionaries(
        {"x": st.integers(-1000, 1000), "mantissa": _MANTISSAS, "scale": _SCALES, "bits": bits}
    )


def psb_unbiased(mantissa: int, scale: int, samples: int) -> bool:
    """Return whether E[w_n] = w, also in what the number system says of itself."""
    weight, encoded = _encoded(mantissa, scale)
    mean, _ = _moments(encoded, samples)
    return mean == weight == Fraction(PSB().mean(encoded).item())


def psb_variance(mantissa: int, scale: int) -> bool:
    """Return whether Var(w_1) = 3 2^e |w| - 2^(2e + 1) - w^2 <= w^2 / 8, also in what the number system says."""
    weight, encoded = _encoded(mantissa, scale)
    octave = Fraction(2) ** int(encoded.exponent)
    _, variance = _moments(encoded, 1)
    printed = _printed_variance(octave, weight)
    return variance == printed == Fraction(PSB().variance(encoded, 1).item()) and printed <= weight**2 * _share(1)


def psb_variance_bound(mantissa: int, scale: int, samples: int) -> bool:
    """Return whether Var(w_n) <= w^2 / (8 n)."""
    weight, encoded = _encoded(mantissa, scale)
    return _moments(encoded, samples)[1] <= weight**2 * _share(samples)


def psb_relative_bound(mantissa: int, scale: int, samples: int) -> bool:
    """Return whether sd(w_n) / |E[w_n]| <= 1 / sqrt(8 n), squared."""
    _, encoded = _encoded(mantissa, scale)
    mean, variance = _moments(encoded, samples)
    return variance / mean**2 <= _share(samples)


def psb_variance_maximum(exponent: int, probability: str) -> bool:
    """Return whether Var(w_1) at p <= Var(w_1) at 1/2."""
    _, here = _single(exponent, Fraction(probability))
    _, midway = _single(exponent, _MIDWAY)
    return here <= midway


def psb_relative_maximum(exponent: int, probability: str) -> bool:
    """Return whether Var(w_1) / w^2 at p <= Var(w_1) / w^2 at 1/2."""
    return relative_variance(exponent, Fraction(probability)) <= relative_variance(exponent, Fraction(1, 2))


def psb_relative_maximum_at_third(exponent: int, probability: str) -> bool:
    """Return whether Var(w_1) / w^2 at p <= 1/8, with equality at 1/3 alone."""
    p = Fraction(probability)
    here = relative_variance(exponent, p)
    return here == _share(1) if p == _THIRD else here < _share(1)


def psb_shift_add(x: int, mantissa: int, scale: int, bits: list[int]) -> bool:
    """Return whether the sum of shifted inputs is the product with what the number system draws for these bits."""
    _, encoded = _encoded(mantissa, scale)
    sign, exponent = int(encoded.sign), int(encoded.exponent)
    drawn = PSB().from_counts(encoded, torch.tensor([sum(bits)]), len(bits))
    return _shift_add(x, sign, exponent, bits) == x * Fraction(drawn.item())


def _encoded(mantissa: int, scale: int) -> tuple[Fraction, Binarized]:
    weight = mantissa * Fraction(2) ** scale
    return weight, PSB().encode(torch.tensor([float(weight)], dtype=torch.float64))


# 3 2^e |w| - 2^(2e + 1) - w^2
def _printed_variance(octave: Fraction, weight: Fraction) -> Fraction:
    return 3 * octave * abs(weight) - 2 * octave**2 - weight**2


# of a variance in the squared weight, at most
def _share(samples: int) -> Fraction:
    return Fraction(1, 8 * samples)


# s / n sum_i x 2^(e + b_i)
def _shift_add(x: int, sign: int, exponent: int, bits: list[int]) -> Fraction:
    return sign * sum((x * Fraction(2) ** (exponent + bit) for bit in bits), Fraction(0)) / len(bits)


# Mean and variance of s 2^e (B / n + 1), by summation over all values of B.
def _moments(encoded: Binarized, n: int) -> tuple[Fraction, Fraction]:
    sign, exponent = int(encoded.sign), int(encoded.exponent)
    p = Fraction(encoded.probability.item())
    law = [math.comb(n, count) * p**count * (1 - p) ** (n - count) for count in range(n + 1)]
    values = [sign * Fraction(2) ** exponent * (Fraction(count, n) + 1) for count in range(n + 1)]
    mean = sum((share * value for share, value in zip(law, values, strict=True)), Fraction(0))
    square = sum((share * value**2 for share, value in zip(law, values, strict=True)), Fraction(0))
    return mean, square - mean**2


# Mean and variance of one sample, 2^e with probability 1 - p and 2^(e + 1) with probability p.
def _single(exponent: int, p: Fraction) -> tuple[Fraction, Fraction]:
    low, high = Fraction(2) ** exponent, Fraction(2) ** (exponent + 1)
    mean = (1 - p) * low + p * high
    return mean, (1 - p) * (low - mean) ** 2 + p * (high - mean) ** 2


def relative_variance(exponent: int, p: Fraction) -> Fraction:
    """Return Var(w_1) / w^2."""
    mean, variance = _single(exponent, p)
    return variance / mean**2
