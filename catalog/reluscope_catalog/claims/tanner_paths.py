"""Strategies and predicates of the claims of Tanner's lecture on random paths."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_roots import Term, sign

Cases = SearchStrategy[dict[str, Any]]
Vector = tuple[Fraction, ...]

_SMALL = st.integers(-3, 3)
_DIRECTIONS = st.lists(_SMALL, min_size=1, max_size=6).filter(any)
_SHARES = st.one_of(st.just("1"), st.fractions(Fraction(1, 12), 1, max_denominator=12).map(str))
_ROUNDING = 32 * 2.0**-53
"""Of lengths and M: sums of numbers of one sign, each of which takes fewer than 32 roundings in all."""


def random_layers() -> Cases:
    """Return distributions of weights and biases, each uniform on a few numbers, and polylines of some length."""
    return _distributions(lambda most: st.lists(_SMALL, min_size=1, max_size=most))


def symmetric_layers() -> Cases:
    """Return distributions of weights and biases that are symmetric about zero, and polylines of some length."""
    return _distributions(
        lambda most: st.lists(st.integers(0, 3), min_size=1, max_size=most // 2).map(
            lambda found: [sign * value for value in found for sign in ((1, -1) if value else (1,))]
        )
    )


def directions() -> Cases:
    """Return directions, each with a share of weights that are not zero."""
    return st.fixed_dictionaries({"direction": _DIRECTIONS, "share": _SHARES})


def dense_directions() -> Cases:
    """Return directions."""
    return st.fixed_dictionaries({"direction": _DIRECTIONS})


def trajectory_growth(weights: list[int], biases: list[int], depth: int, points: list[list[int]]) -> bool:
    """Return whether E[l(z^(L))] >= (M / 2)^L l(x), over all networks that can be drawn, for the greatest M."""
    expected, least, length = growth_terms(weights, biases, depth, points)
    return expected * (1 + _ROUNDING) >= (least / 2) ** depth * length


def trajectory_gaussian_m(direction: list[int]) -> bool:
    """Return whether E|u^T w| = M ||u|| for M = sigma_w sqrt(2 / pi)."""
    claimed = greatest_gaussian_m() * math.hypot(*direction)
    # what is summed is at most 2 ||u||, that is 3 M ||u||, with fewer than 64 roundings each
    return abs(mean_modulus(direction) - claimed) <= 192 * 2.0**-53 * claimed


def trajectory_gaussian_m_any_share(direction: list[int], share: str) -> bool:
    """Return whether E|u^T w| >= M ||u|| for M = sigma_w sqrt(2 / pi), whatever the share."""
    return sign([*mean_projection(direction, Fraction(share)), (-1, _square(direction))]) >= 0


def trajectory_gaussian_m_sparse(direction: list[int], share: str) -> bool:
    """Return whether E|u^T w| >= M ||u|| for M = alpha sigma_w sqrt(2 / pi), and equal if u has but one entry."""
    found = sign([*mean_projection(direction, Fraction(share)), (-_sparse_m(Fraction(share)), _square(direction))])
    return found == int(share != "1" and sum(map(bool, direction)) > 1)


def trajectory_gaussian_m_scaled(direction: list[int]) -> bool:
    """Return whether E|u^T w| >= M ||u|| for M = sigma_w sqrt(2 / pi) and the variance sigma_w^2 / n."""
    return sign([*_scaled(direction), (-1, _square(direction))]) >= 0


def trajectory_gaussian_m_per_width(direction: list[int]) -> bool:
    """Return whether E|u^T w| = M ||u|| for M = sigma_w sqrt(2 / (pi n)) and the variance sigma_w^2 / n."""
    return sign([*_scaled(direction), (-1, _mean_square(direction))]) == 0


def greatest_gaussian_m() -> float:
    """Return sqrt(2 / pi), M for sigma_w = 1."""
    return math.sqrt(2 / math.pi)


def mean_modulus(direction: list[int]) -> float:
    """Compute E|y| of y = u^T w from its characteristic function f, the product of those of the u_i w_i.

    pi |y| = h y^2 / 2 + (2 / h) sum over k >= 1 of (1 - cos(k h y)) / k^2 for |h y| <= 2 pi, a Fourier series. So
    E|y| = h E[y^2] / (2 pi) + (2 / (pi h)) (pi^2 / 6 - sum of f(k h) / k^2), but for the event |y| > 2 pi / h. Here h
    is 2 pi / (12 ||u||); this event, at 12 standard deviations, and the terms of k > 40 are far below rounding.

    Args:
        direction: u.

    Returns:
        The mean, for standard normal weights.

    Example:
        >>> round(mean_modulus([3, 4]), 12) == round(5 * math.sqrt(2 / math.pi), 12)
        True
    """
    step = 2 * math.pi / (12 * math.hypot(*direction))
    terms = [math.prod(math.exp(-((u * k * step) ** 2) / 2) for u in direction) / k**2 for k in range(1, 41)]
    return step * _square(direction) / (2 * math.pi) + 2 / (math.pi * step) * (math.pi**2 / 6 - math.fsum(terms))


def mean_projection(direction: list[int], share: Fraction, variance: Fraction | int = 1) -> list[Term]:
    """Return E|u^T w| over sqrt(2 / pi), the weights N(0, variance) with probability alpha, else zero.

    Given which weights are kept, u^T w is normal; the mean of its magnitude is sqrt(2 / pi) of its deviation.
    """
    terms: list[Term] = []
    for kept in itertools.product((0, 1), repeat=len(direction)):
        probability = share ** sum(kept) * (1 - share) ** (len(kept) - sum(kept))
        terms.append((probability, sum(u * u * k * Fraction(variance) for u, k in zip(direction, kept, strict=True))))
    return terms


def _scaled(direction: list[int]) -> list[Term]:
    return mean_projection(direction, Fraction(1), Fraction(1, len(direction)))


# M over sigma_w sqrt(2 / pi)
def _sparse_m(share: Fraction) -> Fraction:
    return share


# ||u||^2 / n
def _mean_square(direction: list[int]) -> Fraction:
    return Fraction(_square(direction), len(direction))


def _square(direction: list[int]) -> int:
    return sum(u * u for u in direction)


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
                "weights": numbers(most).filter(any),
                "biases": numbers(most),
                "depth": st.integers(1, 3 - width),
                "points": _row(width).flatmap(
                    lambda first: st.lists(
                        _row(width).filter(lambda point: point != first), min_size=1, max_size=2
                    ).map(lambda rest: [first, *rest])
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
