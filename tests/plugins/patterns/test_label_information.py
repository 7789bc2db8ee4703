"""Entropy given the label and mutual information against the joint table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import ndtri

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.estimators import corrected_entropy, plug_in_entropy
from reluscope_plugins.patterns.label_information import (
    LabelInformation,
    entropy_given_label,
    label_entropy,
    label_information,
    saturated_given_label,
)
from reluscope_plugins.patterns.multiplicities import Multiplicities, multiplicities

ERROR_PROBABILITY = 1e-6


def of_table(table: np.ndarray) -> tuple[Multiplicities, list[Multiplicities]]:
    """Multiplicities of a table of counts `(class, pattern)`."""
    together = table.sum(0)
    return multiplicities(together[together > 0]), [multiplicities(row[row > 0]) for row in table]


def information_of(table: np.ndarray, **limit: float) -> LabelInformation:
    return label_information(*of_table(table), **limit)


def dense_information(table: np.ndarray) -> float:
    joint = table / table.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0)
    return float(sum(p * math.log2(p / q) for p, q in zip(joint.flat, product.flat, strict=True) if p))


@pytest.fixture
def table() -> np.ndarray:
    return np.random.default_rng(0).poisson(np.geomspace(0.05, 30, 200), (4, 200))


def test_plug_in_as_the_joint_table_has_it(table: np.ndarray) -> None:
    together, classes = of_table(table)
    assert information_of(table).plug_in == pytest.approx(dense_information(table), rel=1e-12)
    rows = table / table.sum(1, keepdims=True)
    given = sum(
        -sum(p * math.log2(p) for p in row if p) * share
        for row, share in zip(rows, table.sum(1) / table.sum(), strict=True)
    )
    assert entropy_given_label(classes) == pytest.approx(given, rel=1e-12)
    assert plug_in_entropy(together) - given == pytest.approx(dense_information(table), rel=1e-11)


def test_corrected_class_by_class(table: np.ndarray) -> None:
    together, classes = of_table(table)
    shares = table.sum(1) / table.sum()
    given = sum(share * corrected_entropy(found) for share, found in zip(shares, classes, strict=True))
    assert entropy_given_label(classes, corrected=True) == pytest.approx(given, rel=1e-14)
    assert information_of(table).corrected == pytest.approx(corrected_entropy(together) - given, abs=1e-14)


def test_label_entropy_by_hand() -> None:
    classes = [multiplicities(counts) for counts in ([2], [1, 1], [4], [])]
    assert label_entropy(classes) == 1.5


def test_pattern_tells_the_label() -> None:
    found = information_of(np.kron(np.eye(4, dtype=int), np.full((1, 8), 500)))
    assert found.plug_in == pytest.approx(2, abs=1e-14)
    assert found.corrected == pytest.approx(2, abs=1e-3)
    assert not found.saturated


def test_class_without_samples_changes_nothing(table: np.ndarray) -> None:
    assert information_of(np.vstack([table, np.zeros_like(table[:1])])) == information_of(table)


def test_saturated_by_class_before_all_together() -> None:
    table = np.ones((10, 500), int)
    found = information_of(table)
    assert found.saturated
    assert found.plug_in == pytest.approx(0, abs=1e-12)
    distinct = np.kron(np.eye(4, dtype=int), np.ones((1, 100), int))
    assert information_of(distinct) == LabelInformation(plug_in=2.0, corrected=2.0, saturated=True)


def test_saturated_from_nine_tenths_on() -> None:
    assert saturated_given_label([multiplicities([1] * 9), multiplicities([1] * 9 + [2])])
    assert not saturated_given_label([multiplicities([1] * 8), multiplicities([1] * 9 + [2])])


def test_limit_on_every_entropy() -> None:
    distinct = np.kron(np.eye(2, dtype=int), np.ones((1, 100), int))
    assert information_of(distinct, limit=8).corrected == 0.0  # both 8 bits
    assert entropy_given_label(of_table(distinct)[1], corrected=True, limit=8) == 8


def test_classes_must_add_up() -> None:
    with pytest.raises(ObservationError, match="got 5 samples together and 4 in the classes"):
        label_information(multiplicities([5]), [multiplicities([2]), multiplicities([2])])


@pytest.mark.parametrize("estimate", [entropy_given_label, label_entropy, saturated_given_label])
def test_no_samples(estimate: object) -> None:
    assert callable(estimate)
    for classes in ([], [multiplicities([])]):
        with pytest.raises(ObservationError, match=f"got {len(classes)} classes without samples"):
            estimate(classes)


def test_independent_labels_show_little() -> None:
    """Null: its expectation is at most 0.02 bits. 60 draws; a true null fails once in 10^6 (normal mean).

    1024 patterns, 10 classes, 10,000 samples: the plug-in value is above 0.7 bits.
    """
    generator = np.random.default_rng(0)
    found = [information_of(generator.multinomial(1000, np.full(1024, 1 / 1024), size=10)) for _ in range(60)]
    corrected = np.array([one.corrected for one in found])
    assert min(one.plug_in for one in found) > 0.7
    assert corrected.mean() <= 0.02 + ndtri(1 - ERROR_PROBABILITY) * corrected.std(ddof=1) / math.sqrt(60)
