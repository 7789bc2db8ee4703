"""Strategies and predicates of the claims of Johansson 2022 on slopes at two points of an interval.

One input, one output, one hidden layer, its weights drawn from finite laws: means are sums over all outcomes. With v_1
and v_2 the variances of the weights of both layers, C^2 is n_1 v_1 v_2.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_laws import signed, variance

Cases = SearchStrategy[dict[str, Any]]


def slopes() -> Cases:
    """Return slopes of the regions along an interval."""
    found = st.lists(st.integers(0, 20), min_size=2, max_size=8)
    return st.fixed_dictionaries({"slopes": st.one_of(found, found.map(sorted))})


def laws() -> Cases:
    """Return magnitudes of the weights of both layers, a bias for each of up to three units, and a point."""
    return st.integers(1, 3).flatmap(_laws)


def laws_apart() -> Cases:
    """Return the same where the points x and x + 1 are in different regions with a probability that is not 0."""
    return laws().filter(lambda case: any(_crossing(case["inward"], bias, case["x"]) for bias in case["biases"]))


def unit_interval_increments(slopes: list[int]) -> bool:
    """Return whether the squared difference of the ends is at most twice the sum of the squared increments."""
    return (slopes[0] - slopes[-1]) ** 2 <= 2 * _increments(slopes)


def unit_interval_increments_counted(slopes: list[int]) -> bool:
    """Return whether it is at most N - 1 times that sum."""
    return (slopes[0] - slopes[-1]) ** 2 <= (len(slopes) - 1) * _increments(slopes)


def unit_interval_bound(inward: list[int], outward: list[int], biases: list[int], x: str) -> bool:
    """Return whether the mean of (s - s')^2 at x and x + 1 is at most 2 C^2 - 2 C^2 / n_1."""
    found = _mean((abs(here) - abs(there)) ** 2 for here, there, _ in _outcomes(inward, outward, biases, x))
    return found <= _printed(inward, outward, len(biases))


def unit_interval_bound_any_width(inward: list[int], outward: list[int], biases: list[int], x: str) -> bool:
    """Return whether it is at most C / n_1 sum_k E[w_k^2; crossed] <= C^2, and more than printed for one unit alone."""
    outcomes = list(_outcomes(inward, outward, biases, x))
    found = _mean((abs(here) - abs(there)) ** 2 for here, there, _ in outcomes)
    changes = _changes(inward, outward, biases, x)
    square = len(biases) * variance(inward) * variance(outward)
    everywhere = all(w in _crossing(inward, bias, x) for bias in biases for w in signed(inward) if w)
    return (
        found <= changes == _mean((here - there) ** 2 for here, there, _ in outcomes)
        and changes <= square
        and (changes == square) == everywhere
        and (len(biases) > 1 or found == changes)
        and (found <= _printed(inward, outward, len(biases))) == (len(biases) > 1 or not changes)
    )


def unit_interval_bound_apart(inward: list[int], outward: list[int], biases: list[int], x: str) -> bool:
    """Return whether it is at most 2 C^2 - 2 C^2 / n_1 given that x and x + 1 are in different regions."""
    outcomes = _outcomes(inward, outward, biases, x)
    found = _mean((abs(here) - abs(there)) ** 2 for here, there, apart in outcomes if apart)
    return found <= _printed(inward, outward, len(biases))


def unit_interval_bound_apart_share(inward: list[int], outward: list[int], biases: list[int], x: str) -> bool:
    """Return whether it is at most C / n_1 sum_k E[w_k^2; crossed] over the probability that they are."""
    outcomes = [outcome for outcome in _outcomes(inward, outward, biases, x) if outcome[2]]
    found = _mean((abs(here) - abs(there)) ** 2 for here, there, _ in outcomes)
    bound = _changes(inward, outward, biases, x) / _share_apart(inward, biases, x)
    return found <= bound == _mean((here - there) ** 2 for here, there, _ in outcomes)


def _laws(hidden: int) -> Cases:
    # no threshold -b / w is at x or x + 1
    magnitudes = st.lists(st.sampled_from([1, 0, 3]), min_size=1, max_size=3 if hidden < 3 else 2).filter(any)
    return st.fixed_dictionaries(
        {
            "inward": magnitudes,
            "outward": st.lists(st.integers(1, 3), min_size=1, max_size=2 if hidden < 3 else 1),
            "biases": st.lists(st.integers(-3, 3), min_size=hidden, max_size=hidden),
            "x": st.sampled_from(["-1/2", "1/2", "-3/2"]),
        }
    )


# for all weights, equally likely: W at x, W at x + 1, and whether the patterns differ
def _outcomes(inward: list[int], outward: list[int], biases: list[int], x: str) -> Iterator[tuple[int, int, bool]]:
    points = Fraction(x), Fraction(x) + 1
    pairs = list(itertools.product(signed(inward), signed(outward)))
    for units in itertools.product(pairs, repeat=len(biases)):
        patterns = [[w * point + b > 0 for (w, _), b in zip(units, biases, strict=True)] for point in points]
        here, there = (sum(w * v for (w, v), z in zip(units, pattern, strict=True) if z) for pattern in patterns)
        yield here, there, patterns[0] != patterns[1]


# C / n_1 sum_k E[w_k^2; the threshold of unit k lies between x and x + 1]
def _changes(inward: list[int], outward: list[int], biases: list[int], x: str) -> Fraction:
    crossing = sum(w**2 for bias in biases for w in _crossing(inward, bias, x))
    return variance(outward) * Fraction(crossing, 2 * len(inward))


# probability that x and x + 1 are in different regions
def _share_apart(inward: list[int], biases: list[int], x: str) -> Fraction:
    together = Fraction(1)
    for bias in biases:
        together *= 1 - Fraction(len(_crossing(inward, bias, x)), 2 * len(inward))
    return 1 - together


# weights whose threshold -b / w lies between
def _crossing(inward: list[int], bias: int, x: str) -> list[int]:
    return [w for w in signed(inward) if w and 0 < Fraction(-bias, w) - Fraction(x) < 1]


def _printed(inward: list[int], outward: list[int], hidden: int) -> Fraction:
    square = hidden * variance(inward) * variance(outward)
    return 2 * square - 2 * square / hidden


def _mean(values: Iterable[int]) -> Fraction:
    found = list(values)
    return Fraction(sum(found), len(found))


def _increments(slopes: list[int]) -> int:
    return sum((a - b) ** 2 for a, b in itertools.pairwise(slopes))
