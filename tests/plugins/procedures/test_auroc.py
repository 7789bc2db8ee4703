"""The area under the receiver operating characteristic, against all pairs, and its interval, against its definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from reluscope_plugins.procedures.auroc import auroc

FEW = st.lists(st.integers(-4, 4), min_size=1, max_size=12)
ERROR = 1e-6


def won(x: float, y: float) -> float:
    return 1.0 if x > y else 0.5 if x == y else 0.0


@given(FEW, FEW)
def test_area_and_interval_are_those_of_all_pairs(positive: list[int], negative: list[int]) -> None:
    found = auroc(np.array(positive, float), np.array(negative, float))
    pairs = [won(x, y) for x, y in itertools.product(positive, negative)]
    area = sum(pairs) / len(pairs)
    assert math.isclose(found.area, area, abs_tol=1e-12)
    if min(len(positive), len(negative)) < 2 or not 1e-9 < area < 1 - 1e-9:
        assert math.isnan(found.lower)
        assert math.isnan(found.upper)
        return
    rows = [sum(won(x, y) for y in negative) / len(negative) for x in positive]
    columns = [sum(won(x, y) for x in positive) / len(positive) for y in negative]
    variance = sum(
        sum((share - area) ** 2 for share in shares) / (len(shares) - 1) / len(shares) for shares in (rows, columns)
    )
    width = 1.959963984540054 * math.sqrt(variance) / (area * (1 - area))
    logits = [math.log(end / (1 - end)) for end in (found.lower, found.upper)]
    middle = math.log(area / (1 - area))
    np.testing.assert_allclose(logits, [middle - width, middle + width], atol=1e-6)


@given(FEW, FEW)
def test_sides_may_be_exchanged_and_values_stretched(positive: list[int], negative: list[int]) -> None:
    x, y = np.array(positive, float), np.array(negative, float)
    found, back = auroc(x, y), auroc(y, x)
    np.testing.assert_allclose([found.area, found.lower, found.upper], [1 - back.area, 1 - back.upper, 1 - back.lower])
    np.testing.assert_allclose(auroc(np.exp(x), np.exp(y)), found)


def test_what_is_missing_is_left_out() -> None:
    full = auroc(np.array([1.0, 3.0, 2.0]), np.array([0.0, 2.5]))
    assert auroc(np.array([1.0, np.nan, 3.0, 2.0]), np.array([np.nan, 0.0, 2.5])) == full
    assert math.isnan(auroc(np.array([np.nan]), np.array([1.0])).area)


def test_the_interval_holds_the_area() -> None:
    """Null: the 95 % intervals of 100 and 500 values hold the true area with a probability from 0.93 to 0.97.

    They are asymptotic: two in a hundred are left to the number of values. 2000 draws; error probability 1e-6.
    """
    generator = np.random.default_rng(0)
    true = scipy.stats.norm.cdf(1 / math.sqrt(2))
    held = 0
    for _ in range(2000):
        found = auroc(generator.normal(1, 1, 100), generator.normal(0, 1, 500))
        held += found.lower <= true <= found.upper
    assert held >= scipy.stats.binom.ppf(ERROR / 2, 2000, 0.93)
    assert held <= scipy.stats.binom.ppf(1 - ERROR / 2, 2000, 0.97)
