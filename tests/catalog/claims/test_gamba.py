"""Claims of Gamba et al. 2020: their mutants, what their predicates compute, and what their cases test."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import hypothesis
import numpy as np
import pytest

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import gamba as claims

CODE = "reluscope_catalog.claims.gamba"


def sums_of_turned_filters(weight: Any, **size: Any) -> bool:
    return own_sums(weight, turned=True, **size) == own_sums(weight, **size)


def sums_of_a_smaller_input(weight: Any, **size: Any) -> bool:
    return own_sums(weight, short=1, **size) == own_sums(weight, **size)


def own_sums(
    weight: Any, height: int, width: int, stride: int, padding: int, *, turned: bool = False, short: int = 0
) -> list[float]:
    """Sum the weights that lie on the input, or on all of it but its last rows; or those of the filter turned."""
    kernel = len(weight[0])
    places = range(kernel - 1, -1, -1) if turned else range(kernel)
    return [
        sum(
            channel[places[p]][places[q]]
            for channel in weight
            for p in range(kernel)
            for q in range(kernel)
            if 0 <= top + p < height - short and 0 <= left + q < width
        )
        for top in range(-padding, height + padding - kernel + 1, stride)
        for left in range(-padding, width + padding - kernel + 1, stride)
    ]


def told(bias: int, factor: int, total: int, *, from_the_wall: bool = False, doubled: bool = False) -> bool:
    reach = factor * abs(total) * (2 if doubled else 1)
    return bias * total >= 0 or reach > abs(bias) or (from_the_wall and reach == abs(bias))


def sign_on_the_wall(weight: Any, bias: int, factor: int, **size: int) -> bool:
    """Return the claim with f >= |b| / |W_m 1| in place of >."""
    total = claims._total(weight)
    return told(bias, factor, total, from_the_wall=True) == (sign(factor * total + bias) == sign(total))


def sign_from_half_as_far(weight: Any, bias: int, factor: int, **size: int) -> bool:
    total = claims._total(weight)
    return told(bias, factor, total, doubled=True) == (sign(factor * total + bias) == sign(total))


def one_more(number: int) -> Any:
    moment = claims.cosine_moment
    return lambda weights, inputs, order: moment(weights + number, inputs, order)


def of_the_filter(number: int, inputs: int, order: int) -> Fraction:
    """Return the moment of the cosine in R^n in place of R^(C H W)."""
    return moment(number, number, order)


def law_with_zeros_below(weights: list[int]) -> Any:
    below, zero, above = law(weights)
    return below + zero, Fraction(0), above


def one_of_words(filters: list[list[int]]) -> bool:
    zeros = [law(weights)[1] for weights in filters]
    return bool(claims._aligned(filters)[0] == math.prod(1 - zero for zero in zeros) / 2 ** len(filters))


def binomial_with_zeros(filters: list[list[int]]) -> bool:
    number = len(filters)
    return claims._negatives(filters) == [Fraction(math.comb(number, k), 2**number) for k in range(number + 1)]


def normal_within_a_smaller_share(**case: int) -> bool:
    number, inputs = case["channels"] * case["kernel"] ** 2, case["channels"] * case["height"] * case["width"]
    half = case["order"] // 2
    normal = claims._normal_moment(case["order"]) / Fraction(inputs) ** half
    found = moment(number, inputs, case["order"])
    return normal == 0 or bool(1 - found / normal <= Fraction(half * (half - 1), number + half * (half - 1)))


sign = claims._sign
moment = claims.cosine_moment
law = claims._law

MUTANTS: dict[str, list[Any]] = {
    "projection_cosine_within": [sums_of_turned_filters, sums_of_a_smaller_input],
    "cosine_sign_only_within": [sign_on_the_wall, sign_from_half_as_far],
    "cosines_at_init_sphere": [{f"{CODE}:cosine_moment": one_more(1)}, {f"{CODE}:cosine_moment": of_the_filter}],
    "cosines_at_init_limit": [normal_within_a_smaller_share, {f"{CODE}:cosine_moment": one_more(5)}],
    "alignment_probability_two": [
        one_of_words,
        binomial_with_zeros,
        {f"{CODE}:_law": law_with_zeros_below},
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
