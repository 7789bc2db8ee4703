"""The verifier refutes each claim on patterns and their counts once a constant, an index or a relation is off."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import exact_patterns
from reluscope_catalog.claims import hartmann_patterns as claims


def global_bound(layers: Any, units: Any) -> bool:
    found = exact_patterns.patterns(layers)
    widths = [len(bias) for _, bias in layers]
    return all(
        len({pattern[place] for pattern in found}) <= units(widths[: place + 1]) for place in range(len(layers))
    ) and len(found) <= units(widths)


def one_unit_less(layers: Any) -> bool:
    return global_bound(layers, lambda widths: 2 ** (sum(widths) - 1))


def linear_in_the_units(layers: Any) -> bool:
    return global_bound(layers, lambda widths: 2 * sum(widths))


def more_inputs_than_units(layers: Any) -> bool:
    return len(exact_patterns.patterns(layers)) < 2 ** len(layers[0][1]) or len(layers[0][1]) < len(layers[0][0][0])


def half_the_patterns(layers: Any) -> bool:
    units = len(layers[0][1])
    return len(exact_patterns.patterns(layers)) < 2 ** (units - 1) or units <= len(layers[0][0][0])


def enough_inputs_suffice(layers: Any) -> bool:
    units = len(layers[0][1])
    return (len(exact_patterns.patterns(layers)) == 2**units) is (units <= len(layers[0][0][0]))


def beyond_the_points(way: str, **case: Any) -> bool:
    return claims.first_layer_convex(**case, way=str(1 + Fraction(way)))


def from_the_origin(weight: Any, bias: Any, first: Any, second: Any, way: str) -> bool:
    layers = [(weight, bias)]
    point = [x + Fraction(way) * y for x, y in zip(first, second, strict=True)]
    return exact_patterns.at(layers, first) == exact_patterns.at(layers, point)


def along_one_axis(weight: Any, bias: Any, first: Any, second: Any, way: str) -> bool:
    layers = [(weight, bias)]
    return exact_patterns.at(layers, first) == exact_patterns.at(layers, [second[0], *first[1:]])


def without_the_bias(layer: int, inputs: int, shift: int, scale: int) -> bool:
    network = [([[1, 0], [0, 1]], [1, 1]), ([[-1, -1]], [0])]
    ends = {exact_patterns.at(network, end)[1] for end in ((1, -3), (-3, 1))}
    return exact_patterns.at(network, (-1, -1))[1] not in ends


def in_the_first_layer(layer: int, inputs: int, shift: int, scale: int) -> bool:
    network = [([[1, 0], [0, 1]], [1, 1])]
    ends = {exact_patterns.at(network, end) for end in ((1, -3), (-3, 1))}
    return len(ends) == 1 and exact_patterns.at(network, (-1, -1)) not in ends


def one_lower(x: str) -> bool:
    return claims._on_the_segment(Fraction(x), -Fraction(x) - 3)


def negative_factor(layers: Any, factor: str) -> bool:
    return claims.bias_scaling_invariance(layers, str(-Fraction(factor)))


def shifted_biases(layers: Any, factor: str) -> bool:
    moved = [(weight, [b + 1 for b in bias]) for weight, bias in layers]
    return len(exact_patterns.patterns(layers)) == len(exact_patterns.patterns(moved))


def no_bias_at_all(layers: Any, one: int, other: int) -> bool:
    return claims.constant_bias_count(layers, one, 0)


def over_one_sample_less(units: int, counts: list[int]) -> bool:
    number = sum(counts)
    power = Fraction(number**number, math.prod(c**c for c in counts))
    return bool(power <= min(2**units, number - 1) ** number)


def over_one_bit_less(units: int, counts: list[int]) -> bool:
    number = sum(counts)
    power = Fraction(number**number, math.prod(c**c for c in counts))
    return bool(power <= min(2 ** (units - 1), number) ** number)


def below_one(first: list[int], second: list[int]) -> bool:
    return claims._jaccard(first, second) < 1


def one_for_the_same_patterns(first: list[int], second: list[int]) -> bool:
    same = [bool(x) for x in first] == [bool(y) for y in second]
    return (claims._jaccard(first, second) == 1) is same


def not_symmetric(first: list[int], second: list[int]) -> bool:
    one = Fraction(sum(map(min, first, second)), sum(first))
    return one == Fraction(sum(map(min, first, second)), sum(second))


def metric_of_similarity(first: list[int], second: list[int], third: list[int]) -> bool:
    return claims._jaccard(first, third) <= claims._jaccard(first, second) + claims._jaccard(second, third)


def metric_over_the_sums(first: list[int], second: list[int], third: list[int]) -> bool:
    def distance(one: list[int], other: list[int]) -> Fraction:  # of Bray and Curtis, which is none
        return 1 - Fraction(2 * sum(map(min, one, other)), sum(one) + sum(other))

    return distance(first, third) <= distance(first, second) + distance(second, third)


MUTANTS: dict[str, list[Any]] = {
    "pattern_upper_bound": [one_unit_less, linear_in_the_units],
    "pattern_dimension_of_units": [more_inputs_than_units, half_the_patterns, enough_inputs_suffice],
    "first_layer_convex": [beyond_the_points, from_the_origin, along_one_axis],
    "deeper_layers_nonconvex": [without_the_bias, in_the_first_layer],
    "nonconvex_segment_falling": [one_lower],
    "bias_positive_scaling_invariance": [negative_factor, shifted_biases],
    "constant_bias_count": [no_bias_at_all],
    "entropy_of_shares": [over_one_bit_less, over_one_sample_less],
    "jaccard_similarity": [below_one, one_for_the_same_patterns, not_symmetric],
    "jaccard_metric": [metric_of_similarity, metric_over_the_sums],
}


@given(claims.layers_with_points())
def test_both_points_have_one_pattern(case: dict[str, Any]) -> None:
    """Otherwise the claim would hold for want of a case."""
    layers = [(case["weight"], case["bias"])]
    assert case["first"] != case["second"]
    assert exact_patterns.at(layers, case["first"]) == exact_patterns.at(layers, case["second"])


@given(claims.networks())
def test_all_patterns_are_found_and_no_other(layers: Any) -> None:
    """Beside a grid: each pattern on it is found, and each found has a point, seen where the grid is fine enough."""
    size = len(layers[0][0][0])
    grid = itertools.product([Fraction(x, 2) for x in range(-12, 13)], repeat=size)
    on_the_grid = {exact_patterns.at(layers, x) for x in grid}
    assert on_the_grid <= exact_patterns.patterns(layers)


def test_patterns_of_lines_in_the_plane() -> None:
    """Three lines in general position have 7, through one point 6 and the point; two parallel ones 3."""
    for rows, bias, number in (
        ([[1, 0], [0, 1], [1, 1]], [0, 0, -1], 7),
        ([[1, 0], [0, 1], [-1, -1]], [0, 0, 0], 7),
        ([[1, 0], [0, 1], [1, 1]], [0, 0, 0], 6),
        ([[1, 0], [1, 0]], [0, 1], 3),
        ([[1, 0], [-1, 0]], [0, 0], 3),
        ([[0, 0]], [0], 1),
    ):
        assert len(exact_patterns.patterns([(rows, bias)])) == number


def test_a_similarity_that_is_off_is_noticed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims are on what the library computes, not on the formulas alone."""
    for name, off in (("jaccard_similarity", "jaccard"), ("entropy_of_shares", "relative_pattern_entropy")):
        right = getattr(claims, off)
        wrong: Any = (lambda found, other: {"layer": 0.5}) if off == "jaccard" else _OffEntropy(right)
        monkeypatch.setattr(claims, off, wrong)
        assert judge(lab.claims[name], examples=30).verdict == "refuted"


class _OffEntropy:
    def __init__(self, right: Any) -> None:
        self.right = right

    def implementation(self) -> Any:
        computed = self.right.implementation()
        return lambda found: {site: 0.99 * value for site, value in computed(found).items()}
