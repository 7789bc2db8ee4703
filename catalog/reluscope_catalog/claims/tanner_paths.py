"""Strategies, predicates and samples of the claims of Tanner's lecture on random paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Cases = SearchStrategy[dict[str, Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]
Vector = tuple[Fraction, ...]

_SMALL = st.integers(-3, 3)
_ROUNDING = 32 * 2.0**-53
"""Of lengths and M: sums of numbers of one sign, each of which takes fewer than 32 roundings in all."""


def random_layers() -> Cases:
    """Return distributions of weights and biases, each uniform on a few numbers, and polylines."""
    return _distributions(lambda most: st.lists(_SMALL, min_size=1, max_size=most))


def symmetric_layers() -> Cases:
    """Return distributions of weights and biases that are symmetric about zero, and polylines."""
    return _distributions(
        lambda most: st.lists(st.integers(0, 3), min_size=1, max_size=most // 2).map(
            lambda found: [sign * value for value in found for sign in ((1, -1) if value else (1,))]
        )
    )


def directions() -> Cases:
    """Return directions, each with a standard deviation and a share of weights that are not zero."""
    return st.fixed_dictionaries(
        {
            "direction": st.lists(_SMALL, min_size=1, max_size=3).filter(any),
            "weight_std": st.sampled_from([1.0, 2.0, 0.5]),
            "share": st.sampled_from([1.0, 0.75, 0.5]),
        }
    )


def dense_directions() -> Cases:
    """Return directions, each with a standard deviation."""
    return st.fixed_dictionaries(
        {
            "direction": st.lists(_SMALL, min_size=1, max_size=4).filter(any),
            "weight_std": st.sampled_from([1.0, 2.0, 0.5]),
        }
    )


def scaled_networks() -> Cases:
    """Return standard deviations of Gaussian networks, their depth, and segments in as many dimensions as units."""

    def of(width: int) -> Cases:
        return st.fixed_dictionaries(
            {
                "depth": st.integers(1, min(width, 2)),
                "weight_std": st.sampled_from([1.0, 2.0, 0.5]),
                "bias_std": st.sampled_from([0.0, 1.0]),
                "ends": st.lists(_row(width), min_size=2, max_size=2, unique_by=tuple),
            }
        )

    return st.integers(1, 4).flatmap(of)


def trajectory_growth(weights: list[int], biases: list[int], depth: int, points: list[list[int]]) -> bool:
    """Return whether E[l(z^(L))] >= (M / 2)^L l(x), over all networks that can be drawn, for the greatest M."""
    expected, least, length = growth_terms(weights, biases, depth, points)
    return expected * (1 + _ROUNDING) >= (least / 2) ** depth * length


def gaussian_projections(
    generator: np.random.Generator, size: int, direction: list[int], weight_std: float, share: float
) -> Floats:
    """Return draws of |u^T w|, the rows of N(0, sigma_w^2), of which a share is kept."""
    rows = generator.normal(0.0, weight_std, (size, len(direction)))
    kept = generator.random((size, len(direction))) < share
    found: Floats = np.abs((rows * kept) @ np.array(direction, dtype=np.float64))
    return found


def scaled_projections(generator: np.random.Generator, size: int, direction: list[int], weight_std: float) -> Floats:
    """Return draws of |u^T w|, the rows of n weights of N(0, sigma_w^2 / n)."""
    rows = generator.normal(0.0, weight_std / math.sqrt(len(direction)), (size, len(direction)))
    found: Floats = np.abs(rows @ np.array(direction, dtype=np.float64))
    return found


def stretches(
    generator: np.random.Generator, size: int, depth: int, weight_std: float, bias_std: float, ends: list[list[int]]
) -> Floats:
    """Return draws of ||d z^(L) / dt|| at random places of a segment, the mean of which is the expected length."""
    start, end = np.array(ends, dtype=np.float64)
    width = len(start)
    values = start + generator.random((size, 1)) * (end - start)
    slopes = np.broadcast_to(end - start, values.shape)
    for _ in range(depth):
        weights = generator.normal(0.0, weight_std / math.sqrt(width), (size, width, width))
        values = np.einsum("soi,si->so", weights, values) + generator.normal(0.0, bias_std, (size, width))
        slopes = np.einsum("soi,si->so", weights, slopes) * (values > 0)
        values = np.maximum(values, 0.0)
    found: Floats = np.linalg.norm(slopes, axis=1)
    return found


def gaussian_growth(depth: int, weight_std: float, bias_std: float, ends: list[list[int]]) -> float:
    """Return (M / 2)^L times the length of the segment for M = sigma_w sqrt(2 / pi)."""
    return math.pow(weight_std / math.sqrt(2 * math.pi), depth) * math.dist(*ends)


def gaussian_m(direction: list[int], weight_std: float, share: float = 1.0) -> float:
    """Return M ||u|| for M = sigma_w sqrt(2 / pi), whatever the share."""
    return weight_std * math.sqrt(2 / math.pi) * math.hypot(*direction)


def sparse_m(direction: list[int], weight_std: float, share: float) -> float:
    """Return M ||u|| for M = alpha sigma_w sqrt(2 / pi)."""
    return share * gaussian_m(direction, weight_std)


def scaled_m(direction: list[int], weight_std: float) -> float:
    """Return M ||u|| for M = sigma_w sqrt(2 / (pi n))."""
    return gaussian_m(direction, weight_std) / math.sqrt(len(direction))


def growth_terms(
    weights: list[int], biases: list[int], depth: int, points: list[list[int]]
) -> tuple[float, float, float]:
    """Return the expected length behind the last layer, the greatest M, and the length of the polyline."""
    width = len(points[0])
    curves = [[tuple(map(Fraction, point)) for point in points]]
    length = math.fsum(_lengths(curves[0]))
    for _ in range(depth):
        curves = [image for curve in curves for image in _images(curve, weights, biases, width)]
    total = math.fsum(part for curve in curves for part in _lengths(curve))
    return total / len(curves), _greatest_m(weights, width), length


def _row(size: int) -> SearchStrategy[list[int]]:
    return st.lists(_SMALL, min_size=size, max_size=size)


# Networks of one layer of two units, or of one or two layers of one unit: all that can be drawn are tried.
def _distributions(numbers: Any) -> Cases:
    def of(width: int) -> Cases:
        most = 4 if width == 1 else 2
        return st.fixed_dictionaries(
            {
                "weights": numbers(most),
                "biases": numbers(most),
                "depth": st.integers(1, 3 - width),
                "points": _row(width).flatmap(
                    lambda first: st.lists(_row(width), min_size=1, max_size=2).map(lambda rest: [first, *rest])
                ),
            }
        )

    return st.integers(1, 2).flatmap(of)


def _lengths(curve: Sequence[Vector]) -> Iterator[float]:
    for one, other in itertools.pairwise(curve):
        yield math.sqrt(sum(((b - a) ** 2 for a, b in zip(one, other, strict=True)), Fraction(0)))


def _images(curve: Sequence[Vector], weights: list[int], biases: list[int], width: int) -> Iterator[list[Vector]]:
    rows = list(itertools.product(itertools.product(weights, repeat=width), biases))
    for units in itertools.product(rows, repeat=width):
        before = [
            tuple(sum((w * v for w, v in zip(row, point, strict=True)), Fraction(bias)) for row, bias in units)
            for point in curve
        ]
        knots = before[:1]
        for one, other in itertools.pairwise(before):
            shares = sorted({a / (a - b) for a, b in zip(one, other, strict=True) if a * b < 0})
            knots += [tuple(a + share * (b - a) for a, b in zip(one, other, strict=True)) for share in shares]
            knots.append(other)
        yield [tuple(max(value, Fraction(0)) for value in knot) for knot in knots]


# Of E|u^T w| on the unit circle: between the directions at right angles to a row it is a cosine, so that it is least at
# one of them.
def _greatest_m(weights: list[int], width: int) -> float:
    if width == 1:
        return sum(map(abs, weights)) / len(weights)
    rows = list(itertools.product(weights, repeat=2))
    kinks = [(-b, a) for a, b in rows if a or b]
    means = [(sum(abs(x * a + y * b) for a, b in rows) / len(rows), math.hypot(x, y)) for x, y in kinks]
    return min((mean / norm for mean, norm in means), default=0.0)
