"""The verifier refutes each claim on patterns and their counts once a constant, an index or a relation is off."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

from hypothesis import given

from reluscope_catalog.claims import exact_patterns
from reluscope_catalog.claims import hartmann_patterns as claims
from reluscope_plugins.patterns.entropy import relative_pattern_entropy


def of_one_unit_less(units: int) -> int:
    return int(2 ** (units - 1))


def linear_in_the_units(units: int) -> int:
    return 2 * units


def full_rank(rows: Any) -> tuple[Any, list[int]]:
    """Return pivots as though the rows were as independent as so many of this size can be."""
    return rows, list(range(min(len(rows), len(rows[0]))))


def all_rows(rows: Any) -> tuple[Any, list[int]]:
    return rows, list(range(len(rows)))


def beyond_the_points(first: Any, second: Any, t: Fraction) -> Any:
    return between(first, second, 1 + t)


def from_the_origin(first: Any, second: Any, t: Fraction) -> Any:
    return [x + t * y for x, y in zip(first, second, strict=True)]


def along_one_axis(first: Any, second: Any, t: Fraction) -> Any:
    return [second[0], *first[1:]]


def without_the_bias(*sizes: int) -> Any:
    first, (weight, _), *rest = network(*sizes)
    return [first, (weight, [0]), *rest]


def of_the_difference(*sizes: int) -> Any:
    first, (_, bias), *rest = network(*sizes)
    return [first, ([[-1, 1]], bias), *rest]


def one_lower(x: Fraction, y: Fraction) -> bool:
    return segment(x, y - 1)


def negative_factor(layers: Any, c: Fraction) -> Any:
    return scaled(layers, -c)


def shifted_biases(layers: Any, c: Fraction) -> Any:
    return [(weight, [b + 1 for b in bias]) for weight, bias in layers]


def one_greater(layer: Any, bias: int) -> Any:
    return constant(layer, bias + 1)


def without_the_first(layer: Any, bias: int) -> Any:
    weight, biases = constant(layer, bias)
    return weight, [min(bias, 0), *biases[1:]]


def of_one_bit_less(units: int, number: int) -> int:
    return max(most(units - 1, number), 2)


def of_one_sample_less(units: int, number: int) -> int:
    return max(most(units, number - 1), 2)


def of_the_first(one: list[int], other: list[int]) -> Fraction:
    return Fraction(sum(map(min, one, other)), sum(one) or 1)


def of_seen_patterns(one: list[int], other: list[int]) -> Fraction:
    return jaccard([int(x > 0) for x in one], [int(x > 0) for x in other])


def distance_as_similarity(one: list[int], other: list[int]) -> Fraction:
    return 1 - jaccard(one, other)


def over_the_sums(one: list[int], other: list[int]) -> Fraction:
    """Return the similarity of Bray and Curtis, one minus which is no metric."""
    return Fraction(2 * sum(map(min, one, other)), sum(one) + sum(other))


def a_half(found: Any, other: Any) -> dict[str, float]:
    return {"layer": 0.5}


class OffEntropy:
    """The library's entropy less a hundredth."""

    @staticmethod
    def implementation() -> Any:
        computed = relative_pattern_entropy.implementation()
        return lambda found: {site: 0.99 * value for site, value in computed(found).items()}


between = claims._between
network = claims._printed_network
segment = claims._on_the_segment
scaled = claims._scaled
constant = claims._with_constant
jaccard = claims._jaccard
most = claims._most

CODE = "reluscope_catalog.claims.hartmann_patterns:"
MUTANTS: dict[str, list[Any]] = {
    "pattern_upper_bound": [{f"{CODE}pattern_count": of_one_unit_less}, {f"{CODE}pattern_count": linear_in_the_units}],
    "pattern_dimension_of_units": [{f"{CODE}reduced": full_rank}, {f"{CODE}reduced": all_rows}],
    "first_layer_convex": [
        {f"{CODE}_between": beyond_the_points},
        {f"{CODE}_between": from_the_origin},
        {f"{CODE}_between": along_one_axis},
    ],
    "deeper_layers_nonconvex": [
        {f"{CODE}_printed_network": without_the_bias},
        {f"{CODE}_printed_network": of_the_difference},
    ],
    "nonconvex_segment_falling": [{f"{CODE}_on_the_segment": one_lower}],
    "bias_positive_scaling_invariance": [{f"{CODE}_scaled": negative_factor}, {f"{CODE}_scaled": shifted_biases}],
    "constant_bias_count": [{f"{CODE}_with_constant": one_greater}, {f"{CODE}_with_constant": without_the_first}],
    "entropy_of_shares": [
        {f"{CODE}_most": of_one_bit_less},
        {f"{CODE}_most": of_one_sample_less},
        {f"{CODE}relative_pattern_entropy": OffEntropy},
    ],
    "jaccard_similarity": [
        {f"{CODE}_jaccard": of_the_first},
        {f"{CODE}_jaccard": of_seen_patterns},
        {f"{CODE}_jaccard": over_the_sums},
        {f"{CODE}jaccard": a_half},
    ],
    "jaccard_metric": [{f"{CODE}_jaccard": distance_as_similarity}, {f"{CODE}_jaccard": over_the_sums}],
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
