"""Lengths of the images of segments in Gaussian networks: what is drawn, and what its mean is to be."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Cases = SearchStrategy[dict[str, Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_PI = Fraction(333, 106), Fraction(355, 113)
"""Below and above pi."""


def scaled_networks() -> Cases:
    """Return standard deviations of Gaussian networks, their depth, and segments in as many dimensions as units."""

    def of(width: int) -> Cases:
        point = st.lists(st.integers(-3, 3), min_size=width, max_size=width)
        return st.fixed_dictionaries(
            {
                "depth": st.integers(1, min(width, 2)),
                "weight_std": st.sampled_from([1.0, 2.0, 0.5]),
                "bias_std": st.sampled_from([0.0, 1.0, 3.0]),
                "ends": st.lists(point, min_size=2, max_size=2, unique_by=tuple),
            }
        )

    return st.integers(1, 3).flatmap(of)


def widths() -> Cases:
    """Return numbers of units."""
    return st.fixed_dictionaries({"width": st.integers(1, 500)})


def stretches(
    generator: np.random.Generator, size: int, depth: int, weight_std: float, bias_std: float, ends: list[list[int]]
) -> Floats:
    """Return draws of ||d z^(L) / dt|| over the norms of the weights, at random places of a segment.

    The norm R of a layer's weights is independent of their direction. To draw it with its density times R / E[R], and
    to divide what is observed by R, divides the mean by E[R]; and what is left is bounded. For d standard normal
    numbers this density is that of d + 1 of them.
    """
    start, end = np.array(ends, dtype=np.float64)
    width = len(start)
    values = start + generator.random((size, 1)) * (end - start)
    slopes = np.broadcast_to(end - start, values.shape)
    for _ in range(depth):
        directions = generator.standard_normal((size, width, width))
        directions *= weight_std / math.sqrt(width) / np.linalg.norm(directions, axis=(1, 2), keepdims=True)
        norms = np.sqrt(generator.chisquare(width**2 + 1, (size, 1)))
        biases = generator.normal(0.0, bias_std, (size, width))
        values = norms * (directions @ values[:, :, None])[:, :, 0] + biases
        slopes = (directions @ slopes[:, :, None])[:, :, 0] * (values > 0)
        values = np.maximum(values, 0.0)
    found: Floats = np.linalg.norm(slopes, axis=1)
    return found


def stretch_bounds(depth: int, weight_std: float, bias_std: float, ends: list[list[int]]) -> tuple[float, float]:
    """Return 0 and (sigma_w / sqrt(n))^L times the length: a matrix of norm 1 lengthens no vector."""
    # with room for rounding
    return 0.0, 1.000001 * math.dist(*ends) * (weight_std / math.sqrt(len(ends[0]))) ** depth


def gaussian_growth(depth: int, weight_std: float, bias_std: float, ends: list[list[int]]) -> float:
    """Return (sigma_w c_n / sqrt(n))^L times the length of the segment, over the mean norms of the weights."""
    width = len(ends[0])
    factor = weight_std * mean_active_norm(width) / math.sqrt(width) / mean_norm(width**2)
    return math.dist(*ends) * float(factor**depth)


def mean_norm(size: int) -> float:
    """Return the mean norm of so many independent standard normal numbers."""
    return math.sqrt(2) * math.exp(math.lgamma((size + 1) / 2) - math.lgamma(size / 2)) if size else 0.0


def mean_active_norm(width: int) -> float:
    """Return c_n: the mean norm of standard normal numbers, each kept with probability 1/2."""
    return sum(math.comb(width, kept) * mean_norm(kept) for kept in range(width + 1)) / float(2**width)


def trajectory_gaussian_growth_bound(width: int) -> bool:
    """Return whether sqrt(n / (2 pi)) <= c_n < sqrt(n / 2), with equality for one unit alone."""
    even, odd = _even_and_odd(width)
    low, high = (2 * odd + pi * even for pi in _PI)
    least = low**2 > width if width > 1 else low == 1
    return bool(least and high**2 < _PI[0] * width)


# The mean norm of k numbers is a_k sqrt(2 / pi) for odd k and a_k sqrt(pi / 2) for even k, where a_1 = a_2 = 1 and
# a_k = a_(k - 2) (k - 1) / (k - 2). So sqrt(2 pi) c_n = 2 odd + pi even, between sqrt(n) and sqrt(pi n).
def _even_and_odd(width: int) -> tuple[Fraction, Fraction]:
    factors = [Fraction(0), Fraction(1), Fraction(1)]
    for kept in range(3, width + 1):
        factors.append(factors[kept - 2] * Fraction(kept - 1, kept - 2))
    even, odd = (
        sum((math.comb(width, k) * factors[k] for k in range(rest, width + 1, 2)), Fraction(0)) for rest in (0, 1)
    )
    return even / 2**width, odd / 2**width
