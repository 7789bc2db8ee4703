"""Claims of Gamba et al. 2020: their mutants, what their predicates compute, and what their cases test."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import hypothesis
import numpy as np
import pytest

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import gamba as claims

CODE = "reluscope_catalog.claims.gamba"


def of_turned_filters(weight: Any, *size: int) -> list[int]:
    return sums([[row[::-1] for row in channel[::-1]] for channel in weight], *size)


def of_the_whole_filter(weight: Any, *size: int) -> list[int]:
    return [claims._total(weight)] * len(sums(weight, *size))


def told_on_the_wall(bias: int, factor: int, total: int) -> bool:
    """Return f |W_m 1| >= |b| in place of >."""
    return told(bias, factor, total) or factor * abs(total) == abs(bias)


def told_from_half_as_far(bias: int, factor: int, total: int) -> bool:
    return told(bias, 2 * factor, total)


def of_five_weights_more(number: int, inputs: int, order: int) -> Fraction:
    return moment(number + 5, inputs, order)


def of_the_filter(number: int, inputs: int, order: int) -> Fraction:
    """Return the moment of the cosine in R^n in place of R^(C H W)."""
    return moment(number, number, order)


def law_with_zeros_below(weights: list[int]) -> Any:
    below, zero, above = law(weights)
    return below + zero, Fraction(0), above


def all_positive(filters: list[list[int]]) -> tuple[Fraction, Fraction]:
    """Return the probability that all cosines are positive twice, where one is that they agree."""
    positive = aligned(filters)[1]
    return positive, positive


def of_one_filter_more(filters: list[list[int]]) -> list[Fraction]:
    return negatives([*filters, filters[0]])


def within_a_smaller_share(number: int, order: int) -> tuple[Fraction, Fraction]:
    least, _ = shortfall(number, order)
    return Fraction(0), least


def beyond_the_greater_share(number: int, order: int) -> tuple[Fraction, Fraction]:
    _, most = shortfall(number, order)
    return most, Fraction(1)


moment = claims.cosine_moment
law = claims._law
sums = claims._sums_on_the_input
told = claims._told
aligned = claims._aligned
negatives = claims._negatives
shortfall = claims._shortfall

MUTANTS: dict[str, list[Any]] = {
    "projection_cosine_within": [
        {f"{CODE}:_sums_on_the_input": of_turned_filters},
        {f"{CODE}:_sums_on_the_input": of_the_whole_filter},
    ],
    "cosine_sign_only_within": [{f"{CODE}:_told": told_on_the_wall}, {f"{CODE}:_told": told_from_half_as_far}],
    "cosines_at_init_sphere": [
        {f"{CODE}:cosine_moment": of_five_weights_more},
        {f"{CODE}:cosine_moment": of_the_filter},
    ],
    "cosines_at_init_limit": [
        {f"{CODE}:_shortfall": within_a_smaller_share},
        {f"{CODE}:_shortfall": beyond_the_greater_share},
        {f"{CODE}:cosine_moment": of_five_weights_more},
    ],
    "alignment_probability_two": [
        {f"{CODE}:_aligned": all_positive},
        {f"{CODE}:_law": law_with_zeros_below},
        {f"{CODE}:_negatives": of_one_filter_more},
    ],
}


def test_the_cosine_is_refuted_at_the_padding_alone() -> None:
    case: dict[str, Any] = {"weight": [[[1, 2], [3, 4]]], "height": 2, "width": 2, "stride": 1}
    assert claims.projection_cosine(**case, padding=0)
    assert not claims.projection_cosine(**case, padding=1)


def test_the_probability_is_refuted_from_three_filters(lab: Lab) -> None:
    counterexample = judge(lab.claims["alignment_probability"]).counterexample
    assert counterexample is not None
    assert len(counterexample["filters"]) == 3
    assert all(not claims.alignment_probability([[1]] * number) for number in range(3, 11))


@pytest.mark.parametrize("order", [1, 2, 3, 4, 6])
def test_moments_are_those_of_angles_in_the_plane(order: int) -> None:
    """Of two weights, the cosine is that of a uniform angle: its moments by the mean over equal angles, exact."""
    angles = 2 * np.pi * np.arange(64) / 64
    expected = np.mean(np.cos(angles) ** order)
    assert float(moment(2, 2, order)) == pytest.approx(expected, abs=1e-14)


def test_moments_of_a_single_weight() -> None:
    assert [moment(1, 1, order) for order in range(1, 7)] == [0, 1, 0, 1, 0, 1]


def test_law_of_a_filter() -> None:
    assert claims._law([1, 2]) == (Fraction(1, 2), Fraction(0), Fraction(1, 2))
    assert claims._law([1, 1]) == (Fraction(1, 4), Fraction(1, 2), Fraction(1, 4))


@pytest.mark.parametrize("strategy", [claims.convolutions_with_bias, claims.convolutions, claims.shapes])
def test_few_cases_say_nothing(strategy: Any) -> None:
    """Of 300 cases, at least 240 have what the claims are about."""
    cases: list[dict[str, Any]] = []

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=300, database=None, deadline=None)
    @hypothesis.given(strategy())
    def collect(case: dict[str, Any]) -> None:
        cases.append(case)

    collect()
    assert sum(map(telling, cases)) >= 0.8 * len(cases)


def telling(case: dict[str, Any]) -> bool:
    """Say whether a filter is not 0, and a receptive field whole where there is a bias; whether a moment is even."""
    if "order" in case:
        return bool(case["order"] % 2 == 0)
    if "bias" in case:
        size, kernel = {key: case[key] for key in ("stride", "padding")}, len(case["weight"][0])
        starts = [
            range(-size["padding"], case[side] + size["padding"] - kernel + 1, size["stride"])
            for side in ("height", "width")
        ]
        sides = (case["height"], case["width"])
        return all(
            any(start >= 0 and start + kernel <= side for start in found)
            for found, side in zip(starts, sides, strict=True)
        )
    return bool(np.any(case["weight"]))
