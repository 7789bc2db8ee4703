"""Frequencies of frequencies against a counter."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.multiplicities import (
    Multiplicities,
    coverage,
    multiplicities,
    needed,
    saturated,
    singleton_share,
)


def pairs(found: Multiplicities) -> list[tuple[int, int]]:
    return list(zip(found.count.tolist(), found.patterns.tolist(), strict=True))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, np.uint64])
def test_as_a_counter(dtype: type[np.generic]) -> None:
    counts = np.random.default_rng(0).zipf(1.4, 5000).clip(max=60_000).astype(dtype)
    assert pairs(multiplicities(counts)) == sorted(Counter(counts.tolist()).items())


def test_great_counts_and_several_pieces() -> None:
    counts = np.random.default_rng(0).integers(1, 100, 9_000_000)
    counts[[0, 4_500_000, 8_999_999]] = 65_535, 65_536, 10**9
    values, numbers = np.unique(counts, return_counts=True)
    found = multiplicities(counts)
    assert pairs(found) == list(zip(values.tolist(), numbers.tolist(), strict=True))
    assert (found.samples, found.distinct) == (counts.sum(), counts.size)


def test_nothing_seen() -> None:
    found = multiplicities([])
    assert pairs(found) == []
    assert (found.samples, found.distinct, found.seen(1)) == (0, 0, 0)


@pytest.mark.parametrize("estimate", [coverage, singleton_share, saturated, needed])
def test_no_estimate_of_nothing(estimate: object) -> None:
    assert callable(estimate)
    with pytest.raises(ObservationError, match="got no samples, expected at least one"):
        estimate(multiplicities([]))


def test_by_hand() -> None:
    found = multiplicities([1, 2, 1, 1, 5])
    assert (found.seen(1), found.seen(2), found.seen(3), found.seen(5)) == (3, 1, 0, 1)
    assert singleton_share(found) == 3 / 5
    assert coverage(found) == 7 / 10


@pytest.mark.parametrize("tens", [1, 7, 1000, 10**8])
def test_saturated_from_nine_tenths_on(tens: int) -> None:
    def sample(once: int) -> Multiplicities:
        rest = 10 * tens - once
        return Multiplicities(np.array([1, rest]), np.array([once, 1])) if rest > 1 else multiplicities([1] * 10)

    assert saturated(sample(9 * tens))
    assert not saturated(sample(9 * tens - 1))


def test_copies_hide_saturation() -> None:
    assert saturated(multiplicities([1] * 100))
    assert not saturated(multiplicities([2] * 100))  # as documented


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ([3, 0, 1], "got a count of 0, expected at least 1"),
        ([3, -1], "got a count of -1"),
        ([0.5, 1.0], "got counts of float64"),
        ([[1, 2]], r"shape \(1, 2\)"),
        (3, r"shape \(\)"),
        ([True], "got counts of bool"),
    ],
)
def test_what_are_no_counts(counts: object, what: str) -> None:
    with pytest.raises(ObservationError, match=what):
        multiplicities(counts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("count", "patterns"),
    [
        ([2, 1], [1, 1]),
        ([1, 1], [1, 1]),
        ([0, 1], [1, 1]),
        ([1, 2], [1, 0]),
        ([1, 2], [1]),
        ([1.0], [1]),
        ([[1]], [[1]]),
    ],
)
def test_what_are_no_multiplicities(count: list[int], patterns: list[int]) -> None:
    with pytest.raises(ObservationError, match="expected positive integers, count rising"):
        Multiplicities(np.array(count), np.array(patterns))
