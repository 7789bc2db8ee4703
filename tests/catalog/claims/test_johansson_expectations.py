"""Claims of Johansson 2022 on means over initialisations: their mutants, and where exactly the printed ones fail."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from reluscope_catalog.claims import johansson_expectations as means
from reluscope_catalog.claims import johansson_intervals as intervals
from reluscope_catalog.claims.exact_laws import signed, variance

MEANS = "reluscope_catalog.claims.johansson_expectations:"
INTERVALS = "reluscope_catalog.claims.johansson_intervals:"


def increments_one_less(slopes: list[int]) -> Fraction:
    """Return what makes of N - 1 times the sum N - 2 times."""
    return Fraction(len(slopes) - 2, len(slopes) - 1) * increments(slopes)


def increments_not_squared(slopes: list[int]) -> int:
    return sum(abs(a - b) for a, b in itertools.pairwise(slopes))


def norm_of_the_next_unit(first: Any, second: Any, unit: Any) -> Fraction:
    return mean_square(np.roll(first, -1, axis=1), second, unit)


def square_of_the_mean(magnitudes: list[int]) -> Fraction:
    return Fraction(sum(magnitudes), len(magnitudes)) ** 2


def row_of_the_first_unit(inputs: int, inward: list[int], biases: list[int]) -> Fraction:
    return inputs * variance(inward)


def row_of_the_farthest(inputs: int, inward: list[int], biases: list[int]) -> Fraction:
    lengths = [sum(w**2 for w in row) for row in itertools.product(signed(inward), repeat=inputs)]
    chosen = [
        max(zip(biases, found, strict=True), key=lambda wall: Fraction(wall[0] ** 2, wall[1]))[1]
        for found in itertools.product(lengths, repeat=len(biases))
    ]
    return Fraction(sum(chosen), len(chosen))


def limit_of_many(hidden: int) -> float:
    return 1 / 6 / hidden


def power_one_less(hidden: int) -> float:
    return 1 / 3 / hidden * (1 / 2 - 0.5 ** (hidden - 1) / (hidden + 2))


def inputs_one_more(hidden: int) -> float:
    return 1 / 3 / hidden * (1 / 2 - 0.5**hidden / (hidden + 1))


def first_unit_drawn(generator: np.random.Generator, size: int, hidden: int) -> Any:
    inward, outward, nearest = drawn(generator, size, hidden)
    return inward, outward, np.zeros_like(nearest)


def doubled(*case: Any) -> Fraction:
    return 2 * changes(*case)


def without_squares(inward: list[int], outward: list[int], biases: list[int], x: str) -> Fraction:
    crossing = sum(abs(w) for bias in biases for w in intervals._crossing(inward, bias, x))
    return variance(outward) * Fraction(crossing, 2 * len(inward))


def half_of_printed(inward: list[int], outward: list[int], hidden: int) -> Fraction:
    return printed(inward, outward, hidden) / 4


def of_one_output(inputs: int, outputs: int, inward: list[int], outward: list[int]) -> Fraction:
    return expected(inputs, 1, inward, outward)


def without_the_probability(inward: list[int], biases: list[int], x: str) -> Fraction:
    return Fraction(1)


drawn = means._drawn
mean_square = means._mean_square
expected = means.printed
increments = intervals._increments
changes = intervals._changes
printed = intervals._printed

MUTANTS: dict[str, list[Any]] = {
    "expected_perturbation": [
        {f"{MEANS}variance": square_of_the_mean},
        {f"{MEANS}printed": of_one_output},
    ],
    "expected_perturbation_nearest_row": [
        {f"{MEANS}_mean_square": norm_of_the_next_unit},
        {f"{MEANS}_mean_square_of_nearest": row_of_the_first_unit},
        {f"{MEANS}_mean_square_of_nearest": row_of_the_farthest},
    ],
    "expected_perturbation_nearest_uniform": [
        {"value": limit_of_many},
        {"value": power_one_less},
        {"value": inputs_one_more},
        {f"{MEANS}_drawn": first_unit_drawn},
    ],
    "unit_interval_increments_counted": [
        {f"{INTERVALS}_increments": increments_one_less},
        {f"{INTERVALS}_increments": increments_not_squared},
    ],
    "unit_interval_bound_any_width": [
        {f"{INTERVALS}_changes": doubled},
        {f"{INTERVALS}_changes": without_squares},
        {f"{INTERVALS}_printed": half_of_printed},
    ],
    "unit_interval_bound_apart_share": [
        {f"{INTERVALS}_changes": without_squares},
        {f"{INTERVALS}_share_apart": without_the_probability},
    ],
}


@pytest.mark.parametrize("hidden", [1, 2, 3])
def test_slopes_in_different_regions_exceed_the_bound_for_every_width(hidden: int) -> None:
    """Weights that are 0 in 3 of 4 draws: if a threshold lies between, most likely a single one does."""
    case: dict[str, Any] = {"inward": [0, 0, 0, 1], "outward": [1], "biases": [0] * hidden, "x": "-1/2"}
    assert not intervals.unit_interval_bound_apart(**case)
    assert intervals.unit_interval_bound(**case) == (hidden > 1)


def test_slopes_of_a_single_unit() -> None:
    """w_2 relu(w_1 x) with signs alone: slope 1 on one side of 0, slope 0 on the other."""
    found = list(intervals._outcomes([1], [1], [0], "-1/2"))
    assert sorted(abs(here) + abs(there) for here, there, _ in found) == [1, 1, 1, 1]
    assert intervals._changes([1], [1], [0], "-1/2") == 1
    assert intervals._printed([1], [1], 1) == 0


def test_singular_values_by_decomposition() -> None:
    """Two by two: the sum over s s' from the invariants is that from numpy's decomposition."""
    first, second = means._outcomes(2, 2, [1], [2], 2)
    active = np.tile([True, False], (len(first), 1))
    mean, rounding = means._mean_difference(first, second, active, np.ones(len(first), dtype=np.int64))
    near, far = second @ (active[:, :, None] * first), second @ first
    values = np.linalg.svd(near, compute_uv=False) - np.linalg.svd(far, compute_uv=False)
    assert float(mean) == pytest.approx(np.mean(np.sum(values**2, axis=1)), rel=1e-12)
    assert 0 < rounding < 1e-12


def test_the_printed_mean_is_exceeded_by_half_in_the_limit() -> None:
    printed = [1 / 9 / hidden for hidden in (1, 40)]  # C^2 n_c / n_1
    one, many = (means.expected_perturbation_nearest_uniform_value(hidden) for hidden in (1, 40))
    assert one == pytest.approx(printed[0])
    assert many / printed[1] == pytest.approx(1.5, rel=1e-12)
