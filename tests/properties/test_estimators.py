"""Laws that entropy and mutual information obey, whatever the counts."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from reluscope_plugins.patterns.estimators import corrected_entropy, interval, plug_in_entropy
from reluscope_plugins.patterns.label_information import (
    LabelInformation,
    entropy_given_label,
    label_entropy,
    label_information,
)
from reluscope_plugins.patterns.multiplicities import Multiplicities, coverage, multiplicities, singleton_share

ROUNDING = 1e-12

counts = st.lists(st.integers(1, 5) | st.integers(1, 10**6), min_size=1, max_size=60)
tables = arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 12)), elements=st.integers(0, 9)).filter(
    lambda table: bool(table.any())
)


def of_table(table: np.ndarray) -> tuple[Multiplicities, list[Multiplicities]]:
    together = table.sum(0)
    return multiplicities(together[together > 0]), [multiplicities(row[row > 0]) for row in table]


def information_of(table: np.ndarray) -> LabelInformation:
    return label_information(*of_table(table))


def entropy(counts: list[int]) -> float:
    return plug_in_entropy(multiplicities(counts))


@given(counts)
def test_bounds(counts: list[int]) -> None:
    found = multiplicities(counts)
    assert 0 <= plug_in_entropy(found) <= math.log2(found.samples)
    assert plug_in_entropy(found) <= math.log2(found.distinct) + ROUNDING
    assert 0 <= coverage(found) <= 1
    assert 0 <= singleton_share(found) <= 1


@given(counts, st.floats(0, 30))
def test_correction_adds_up_to_the_limit(counts: list[int], limit: float) -> None:
    found = multiplicities(counts)
    assert corrected_entropy(found) >= plug_in_entropy(found) - ROUNDING
    assert corrected_entropy(found, limit=limit) == min(limit, corrected_entropy(found))


@given(counts, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0, 30))
def test_intervals_nest_around_the_corrected_value(counts: list[int], a: float, b: float, limit: float) -> None:
    found = multiplicities(counts)
    outer, inner = interval(found, max(a, b)), interval(found, min(a, b))
    assert 0 <= outer[0] <= inner[0] <= corrected_entropy(found) <= inner[1] <= outer[1]
    lower, upper = interval(found, a, limit=limit)
    assert lower <= corrected_entropy(found, limit=limit) <= upper <= limit


@given(st.data(), counts)
def test_order_does_not_matter(data: st.DataObject, counts: list[int]) -> None:
    other = data.draw(st.permutations(counts))
    assert entropy(other) == entropy(counts)
    assert interval(multiplicities(other)) == interval(multiplicities(counts))


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_uniform(count: int, patterns: int) -> None:
    found = Multiplicities(np.array([count]), np.array([patterns]))
    assert abs(plug_in_entropy(found) - math.log2(patterns)) < ROUNDING


@given(counts, st.integers(2, 50))
def test_repeating_all_samples_changes_nothing(counts: list[int], times: int) -> None:
    assert abs(entropy([times * count for count in counts]) - entropy(counts)) < ROUNDING


@given(counts.filter(lambda counts: len(counts) > 1))
def test_merging_patterns_loses_what_told_them_apart(counts: list[int]) -> None:
    first, second, *rest = counts
    share = (first + second) / sum(counts)
    merged = entropy([first + second, *rest])
    assert merged <= entropy(counts) + ROUNDING
    assert abs(merged + share * entropy([first, second]) - entropy(counts)) < ROUNDING


@given(tables)
def test_information_is_bounded(table: np.ndarray) -> None:
    together, classes = of_table(table)
    found = label_information(together, classes)
    assert 0 <= found.plug_in <= min(plug_in_entropy(together), label_entropy(classes))
    assert 0 <= found.corrected <= min(corrected_entropy(together), label_entropy(classes))
    assert entropy_given_label(classes) <= plug_in_entropy(together) + ROUNDING


@given(tables)
def test_information_is_symmetric(table: np.ndarray) -> None:
    assert abs(information_of(table).plug_in - information_of(table.T).plug_in) < ROUNDING


@given(tables)
def test_a_constant_label_tells_nothing(table: np.ndarray) -> None:
    found = information_of(table.sum(0, keepdims=True))
    assert (found.plug_in, found.corrected) == (0, 0)


@given(arrays(np.int64, st.integers(1, 12), elements=st.integers(0, 9)), st.lists(st.integers(1, 5), min_size=1))
def test_an_independent_label_tells_nothing(patterns: np.ndarray, sizes: list[int]) -> None:
    assume(patterns.any())
    assert information_of(np.outer(sizes, patterns)).plug_in < ROUNDING


@given(st.data(), tables)
def test_processing_adds_no_information(data: st.DataObject, table: np.ndarray) -> None:
    patterns = table.shape[1]
    onto = data.draw(st.lists(st.integers(0, 3), min_size=patterns, max_size=patterns))
    processed = np.stack([np.bincount(onto, weights=row, minlength=4).astype(np.int64) for row in table])
    assert information_of(processed).plug_in <= information_of(table).plug_in + ROUNDING


@given(st.data(), tables)
def test_names_of_classes_do_not_matter(data: st.DataObject, table: np.ndarray) -> None:
    order = data.draw(st.permutations(range(len(table))))
    one, other = information_of(table[list(order)]), information_of(table)
    assert abs(one.plug_in - other.plug_in) < ROUNDING
    assert abs(one.corrected - other.corrected) < ROUNDING
    assert one.saturated == other.saturated
