"""Spearman's rank correlation: the value against ranks by hand, the interval by its formula and by its coverage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import ObservationError
from reluscope_plugins.arrangements.rank_correlation import rank_correlation


def ranks(values: list[int]) -> list[float]:
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=12))
def test_it_is_the_correlation_of_the_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = map(list, zip(*pairs, strict=True))
    found = rank_correlation(np.array(x, dtype=float), np.array(y, dtype=float))
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert all(map(math.isnan, found))
        return
    a, b = (np.array(ranks(column)) - (len(pairs) + 1) / 2 for column in (x, y))
    expected = (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())
    assert found.value == pytest.approx(expected, abs=1e-12)
    if abs(expected) > 1 - 1e-9:
        assert math.isnan(found.lower)
        assert math.isnan(found.upper)
        return
    error = math.sqrt((1 + expected**2 / 2) / (len(pairs) - 3))
    z = 0.5 * math.log((1 + expected) / (1 - expected))
    for end, sign in ((found.lower, -1), (found.upper, 1)):
        far = math.exp(2 * (z + sign * 1.959963984540054 * error))
        assert end == pytest.approx((far - 1) / (far + 1), abs=1e-9)


@given(st.permutations(range(7)))
def test_monotone_maps_change_nothing(order: list[int]) -> None:
    x, y = np.arange(7.0), np.array(order, dtype=float)
    found, mapped = rank_correlation(x, y), rank_correlation(np.exp(x), y**3)
    assert found.value == mapped.value
    turned = rank_correlation(x, -y)
    assert turned.value == pytest.approx(-found.value, abs=1e-12)
    np.testing.assert_allclose([turned.lower, turned.upper], [-found.upper, -found.lower], atol=1e-12)


def test_missing_pairs_are_left_out() -> None:
    x = np.array([1.0, np.nan, 2.0, 3.0, 5.0, 4.0])
    y = np.array([2.0, 0.0, 1.0, np.nan, 4.0, 5.0])
    assert rank_correlation(x, y) == rank_correlation(x[[0, 2, 4, 5]], y[[0, 2, 4, 5]])
    assert not math.isnan(rank_correlation(x, y).value)


def test_plain_lists_will_do() -> None:
    x, y = [1, 2, 3, 4, 5], [2, 1, 4, 3, 5]
    assert rank_correlation(x, y) == rank_correlation(np.array(x), np.array(y))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rank_correlation(np.arange(5.0), np.arange(4.0)), r"got the shapes \(5,\) and \(4,\), expected"),
        (lambda: rank_correlation(np.ones((2, 2)), np.ones((2, 2))), r"got the shapes \(2, 2\) and \(2, 2\)"),
        (lambda: rank_correlation(["a"], [1.0]), "x, y: could not convert"),
        (lambda: rank_correlation([[1.0], [1.0, 2.0]], [1.0, 2.0]), "expected numbers"),  # type: ignore[list-item]
        *(
            (lambda one=one: rank_correlation(np.arange(5.0), np.arange(5.0), confidence=one), "confidence: got")
            for one in (0.0, 1.0, 95, -0.5, math.nan, "a")
        ),
    ],
)
def test_what_is_refused(call: Any, words: str) -> None:
    with pytest.raises(ObservationError, match=words):
        call()


def test_three_pairs_are_too_few() -> None:
    assert all(map(math.isnan, rank_correlation(np.arange(3.0), np.array([1.0, 0.0, 2.0]))))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_perfect_correlation_has_no_interval(sign: float) -> None:
    found = rank_correlation(np.arange(9.0), sign * np.arange(9.0))
    assert found.value == sign
    assert math.isnan(found.lower)
    assert math.isnan(found.upper)


def test_the_interval_holds_the_correlation_as_often_as_it_says() -> None:
    """Null: coverage of at least 0.93, of n = 2,000 draws of 40 pairs of a normal law with rank correlation 0.5.

    Bonett and Wright find coverages from 0.94 to 0.96. Error probability 1e-6 (binomial).
    """
    generator = np.random.default_rng(0)
    pearson = 2 * math.sin(math.pi * 0.5 / 6)
    held = 0
    for _ in range(2000):
        x = generator.standard_normal(40)
        y = pearson * x + math.sqrt(1 - pearson**2) * generator.standard_normal(40)
        found = rank_correlation(x, y)
        held += found.lower <= 0.5 <= found.upper
    assert held > scipy.stats.binom.ppf(1e-6, 2000, 0.93)
    assert held < scipy.stats.binom.ppf(1 - 1e-6, 2000, 0.97)
