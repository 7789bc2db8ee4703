"""Tails of the tests of a mean: those of the binomial law, and the inequality as printed; kept by skewed laws."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from reluscope import sequential_testing
from reluscope.sequential_testing import FIRST, LAST, LOOKS, SHARE


def test_the_shares_of_the_error_probability_add_up() -> None:
    assert FIRST * 2 ** (LOOKS - 1) == LAST
    assert math.isclose(SHARE * LOOKS * sequential_testing.MOST_CASES, 1e-6)


@pytest.mark.parametrize("successes", [0, 1, 40, 99, 100])
@pytest.mark.parametrize("bound", [-0.1, 0.0, 0.3, 0.5, 1.0, 1.2])
def test_binomial_tails(successes: int, bound: float) -> None:
    """Against sums of the binomial law; a bound outside [0, 1] is passed by every mean, or by none."""
    sums = sequential_testing._Sums()
    sums.add(np.arange(100) < successes)
    law = stats.binom(100, min(max(bound, 0.0), 1.0)).pmf(np.arange(101))
    above = 0.0 if bound < 0 else law[successes:].sum()
    below = 0.0 if bound > 1 else law[: successes + 1].sum()
    assert sequential_testing._above(sums, bound) == pytest.approx(above, rel=1e-9, abs=1e-300)
    assert sequential_testing._below(sums, bound) == pytest.approx(below, rel=1e-9, abs=1e-300)


def test_sums_in_parts() -> None:
    values = np.random.default_rng(0).exponential(3.0, 5000)
    sums = sequential_testing._Sums()
    for part in np.split(values, [1, 7, 2000]):
        sums.add(part)
    assert sums.mean == pytest.approx(values.mean(), rel=1e-12)
    assert sums.variance == pytest.approx(values.var(ddof=1), rel=1e-12)


def radius(values: Any, low: float, high: float, error: float) -> float:
    """Theorem 4 of Maurer and Pontil 2009, for observations that were moved to [0, 1]."""
    moved = [(value - low) / (high - low) for value in values]
    n = len(moved)
    variance = sum((one - other) ** 2 for one in moved for other in moved) / 2 / (n * (n - 1))
    width = math.sqrt(2 * variance * math.log(2 / error) / n) + 7 * math.log(2 / error) / (3 * (n - 1))
    return (high - low) * width


@pytest.mark.parametrize("error", [0.5, 1e-3, SHARE / 2])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.0, 7.0)])
def test_bernstein_tails(low: float, high: float, error: float) -> None:
    """At the end of the interval of Theorem 4, the tail is the error probability; within it, more."""
    values = np.random.default_rng(1).beta(0.3, 2.0, 300)
    sums = sequential_testing._Sums((low, high))
    sums.add(values)
    end = radius(values.tolist(), low, high, error)
    for tail, sign in ((sequential_testing._above, -1), (sequential_testing._below, 1)):
        bound = sums.mean + sign * end
        expected = error if low <= bound <= high else 0.0
        assert tail(sums, bound) == pytest.approx(expected, rel=1e-9)
        assert tail(sums, sums.mean + sign * 1e-3 * end) > error
        assert tail(sums, sums.mean - sign * 1e-3) == 1.0


@pytest.mark.parametrize("p", [1e-4, 1e-3, 0.01, 0.1, 0.5, 0.97, 0.999])
@pytest.mark.parametrize("n", [2, 30, 1024])
@pytest.mark.parametrize("error", [0.3, 1e-2, 1e-6])
def test_the_error_probability_is_kept_by_skewed_laws(p: float, n: int, error: float) -> None:
    """Null: numbers that are 1 with probability p, else 0, have mean p; the probability to reject it is exact."""
    law = stats.binom(n, p).pmf(np.arange(n + 1))
    rejected = {"above": 0.0, "below": 0.0}
    for ones in range(n + 1):
        sums = sequential_testing._Sums((0.0, 1.0))
        sums.add((np.arange(n) < ones).astype(float))
        rejected["above"] += law[ones] * (sequential_testing._above(sums, p) < error)
        rejected["below"] += law[ones] * (sequential_testing._below(sums, p) < error)
    assert max(rejected.values()) <= error
