"""The verifier refutes each claim on projection statistics once a sign, a constant or an index is off."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import pytest
import torch

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import gamba as claims
from reluscope_catalog.claims.gamba_claims import CLAIMS


def sums_of_turned_filters(weight: Any, height: int, width: int, stride: int, padding: int) -> bool:
    turned = [[row[::-1] for row in channel[::-1]] for channel in weight]
    return own_sums(turned, height, width, stride, padding) == sums(weight, height, width, stride, padding)


def sums_of_a_smaller_input(weight: Any, height: int, width: int, stride: int, padding: int) -> bool:
    found = own_sums(weight, height, width, stride, padding, last=1)
    return found == sums(weight, height, width, stride, padding)


def sums(weight: Any, height: int, width: int, stride: int, padding: int) -> list[float]:
    ones = torch.ones(1, len(weight), height, width).double()
    return torch.conv2d(ones, torch.tensor([weight]).double(), stride=stride, padding=padding).flatten().tolist()


def own_sums(weight: Any, height: int, width: int, stride: int, padding: int, last: int = 0) -> list[float]:
    """Sum the weights that lie on the input, or on all of it but its last row."""
    kernel = len(weight[0])
    return [
        sum(
            channel[p][q]
            for channel in weight
            for p in range(kernel)
            for q in range(kernel)
            if 0 <= top + p < height - last and 0 <= left + q < width
        )
        for top in range(-padding, height + padding - kernel + 1, stride)
        for left in range(-padding, width + padding - kernel + 1, stride)
    ]


def sign_from_the_apex(padding: int, **case: Any) -> bool:
    return padding > 0 or claims.cosine_sign_only(padding=padding, **case)  # f > 0 with a bias, too


def sign_other(padding: int, **case: Any) -> bool:
    weight = [[[-value for value in row] for row in channel] for channel in case["weight"]]
    signs = [(value > 0) - (value < 0) for value in sums(weight, case["height"], case["width"], case["stride"], 0)]
    total = sum(value for channel in case["weight"] for row in channel for value in row)
    return padding > 0 or all(sign == (total > 0) - (total < 0) for sign in signs)


def agreeing(filters: list[list[int]]) -> Fraction:
    """Return the probability by counting words of signs."""
    words = range(2 ** len(filters))
    return Fraction(sum(word in (0, words[-1]) for word in words), len(words))


def one_of_words(filters: list[list[int]]) -> bool:
    return agreeing(filters) == Fraction(1, 2 ** len(filters))


def two_of_more_words(filters: list[list[int]]) -> bool:
    return agreeing(filters) == Fraction(2, 2 ** (len(filters) + 1))


def fourth_moment_one_less(channels: int, kernel: int) -> float:
    return 3 * channels * kernel**2 / (channels * kernel**2 + 1)


def fourth_moment_of_a_line(channels: int, kernel: int) -> float:
    return 3 * channels * kernel / (channels * kernel + 2)


MUTANTS = {
    "projection_cosine_within": [
        {"predicate": sums_of_turned_filters},
        {"predicate": sums_of_a_smaller_input},
    ],
    "cosine_sign_only_within": [{"predicate": sign_from_the_apex}, {"predicate": sign_other}],
    "cosines_at_init_sphere": [{"value": fourth_moment_one_less}, {"value": fourth_moment_of_a_line}],
    "cosines_at_init_mean": [{"value": 0.02}],
    "alignment_probability_two": [{"predicate": one_of_words}, {"predicate": two_of_more_words}],
}


@pytest.mark.parametrize(("name", "changed"), [(name, change) for name in MUTANTS for change in MUTANTS[name]])
@pytest.mark.slow
def test_a_mutant_is_refuted(name: str, changed: dict[str, Any], lab: Lab) -> None:
    verdict = judge(dataclasses.replace(lab.claims[name], **changed), examples=100)
    assert not verdict.problem
    assert verdict.verdict == "refuted"


def test_each_claim_that_holds_has_a_mutant() -> None:
    assert {claim.name for claim in CLAIMS if claim.verdict == "holds"} == set(MUTANTS)


def test_the_cosine_is_refuted_at_the_padding_alone(lab: Lab) -> None:
    case = {"weight": [[[1, 2], [3, 4]]], "height": 2, "width": 2, "stride": 1}
    assert claims.projection_cosine(**case, padding=0)
    assert not claims.projection_cosine(**case, padding=1)


def test_the_probability_is_refuted_from_three_filters(lab: Lab) -> None:
    counterexample = judge(lab.claims["alignment_probability"]).counterexample
    assert counterexample is not None
    assert len(counterexample["filters"]) == 3
