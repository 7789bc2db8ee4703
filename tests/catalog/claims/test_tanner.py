"""The verifier refutes each claim of Tanner's lecture that holds once an exponent, a constant or a term is off."""

from __future__ import annotations

import dataclasses
import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import tanner as claims
from reluscope_catalog.claims import tanner_claims as declarations
from reluscope_catalog.claims import tanner_paths as paths
from reluscope_catalog.claims.exact_regions import UNIT_SQUARE, arrangement_regions, cells, pieces


def binomials(units: int, terms: int) -> int:
    return sum(math.comb(units, j) for j in range(terms))


def term_less(weights: list[list[int]], biases: list[int]) -> bool:
    return arrangement_regions(weights, biases) == binomials(len(weights), len(weights[0]))


def all_patterns(weights: list[list[int]], biases: list[int]) -> bool:
    return bool(arrangement_regions(weights, biases) == 2 ** len(weights))


def central_of_one_unit_more(weights: list[list[int]], biases: list[int]) -> bool:
    return arrangement_regions(weights, biases) == 2 * binomials(len(weights), len(weights[0]))


def power_of_inputs(inputs: int, units: int) -> bool:
    return binomials(units, inputs + 1) >= Fraction(units, inputs) ** (inputs + 1)


def term_less_in_power(inputs: int, units: int) -> bool:
    twice = min(2 * inputs, units)
    return bool(binomials(units, inputs) ** 2 >= Fraction(2 * units, twice) ** twice)


def ceilings(inputs: int, widths: list[int]) -> bool:
    folds = math.prod(math.ceil(width / inputs) for width in widths[:-1]) ** inputs
    return claims.cube_regions(inputs, widths) >= int(folds) * binomials(widths[-1], inputs + 1)


def last_layer_folds_too(inputs: int, widths: list[int]) -> bool:
    folds = math.prod(width // inputs for width in widths)
    return claims.cube_regions(inputs, widths) >= int(folds) * binomials(widths[-1], inputs + 1)


def no_half(weights: list[int], biases: list[int], depth: int, points: list[list[int]]) -> bool:
    expected, least, length = paths.growth_terms(weights, biases, depth, points)
    return expected >= least**depth * length


def of_one_layer(weights: list[int], biases: list[int], depth: int, points: list[list[int]]) -> bool:
    expected, least, length = paths.growth_terms(weights, biases, depth, points)
    return expected * (1 + 2**-40) >= least / 2 * length


MUTANTS: dict[str, list[Any]] = {
    "one_layer_partitions_general": [term_less, all_patterns],
    "one_layer_partitions_central": [term_less, central_of_one_unit_more],
    "partition_power_bound_per_input": [power_of_inputs, term_less_in_power],
    "depth_lower_bound_attained": [ceilings, last_layer_folds_too],
    "trajectory_growth_symmetric": [no_half, of_one_layer],
}


def per_cent_more(direction: list[int], weight_std: float, share: float) -> float:
    return 1.01 * paths.sparse_m(direction, weight_std, share)


def root_of_share(direction: list[int], weight_std: float, share: float) -> float:
    return math.sqrt(share) * paths.gaussian_m(direction, weight_std)


def per_cent_more_per_width(direction: list[int], weight_std: float) -> float:
    return 1.01 * paths.scaled_m(direction, weight_std)


def whole_m(depth: int, weight_std: float, bias_std: float, ends: list[list[int]]) -> float:
    return float(2**depth) * paths.gaussian_growth(depth, weight_std, bias_std, ends)


def of_one_gaussian_layer(depth: int, weight_std: float, bias_std: float, ends: list[list[int]]) -> float:
    return paths.gaussian_growth(1, weight_std, bias_std, ends)


VALUES: dict[str, list[Any]] = {
    "trajectory_gaussian_m_sparse": [per_cent_more, root_of_share],
    "trajectory_gaussian_m_per_width": [per_cent_more_per_width],
    "trajectory_gaussian_growth": [whole_m, of_one_gaussian_layer],
}


@pytest.mark.parametrize(
    ("name", "field", "mutant"),
    [
        (name, field, mutant)
        for field, mutated in (("predicate", MUTANTS.items()), ("value", VALUES.items()))
        for name, mutants in mutated
        for mutant in mutants
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
@pytest.mark.slow
def test_a_mutant_is_refuted(name: str, field: str, mutant: Any, lab: Lab) -> None:
    change: Any = {field: mutant}
    verdict = judge(dataclasses.replace(lab.claims[name], **change), examples=100)
    assert not verdict.problem
    assert verdict.verdict == "refuted"


def test_each_claim_that_holds_has_a_mutant() -> None:
    assert {claim.name for claim in declarations.CLAIMS if claim.verdict == "holds"} == set(MUTANTS) | set(VALUES)


def rank(rows: Any) -> int:
    return int(np.linalg.matrix_rank(np.array(rows, dtype=np.float64)))


@given(claims.general_layers())
def test_layers_in_general_position(case: dict[str, Any]) -> None:
    inputs = len(case["weights"][0])
    rows = [[*row, bias] for row, bias in zip(case["weights"], case["biases"], strict=True)]
    for size in range(1, len(rows) + 1):
        for chosen in itertools.combinations(rows, size):
            assert rank([row[:-1] for row in chosen]) == min(size, inputs)
            assert rank(chosen) == min(size, inputs + 1)


@given(claims.deep_networks())
def test_pieces_have_the_patterns_of_points_inside(case: dict[str, Any]) -> None:
    """Against patterns at midpoints between all zeros of all units, found by evaluation alone."""
    layers = case["layers"]
    found = pieces(layers)
    assert found[0][0] is None
    assert found[-1][1] is None
    for (_, end, left), (begin, _, right) in itertools.pairwise(found):
        assert end is not None
        assert end == begin
        assert [a * end + b for a, b in left] == [a * end + b for a, b in right]
    ends = [Fraction(-(10**6)), *(end for _, end, _ in found[:-1] if end is not None), Fraction(10**6)]
    patterns: list[set[tuple[int, ...]]] = []
    for (low, high), (_, _, units) in zip(itertools.pairwise(ends), found, strict=True):
        patterns.append(set())
        for x in (low + (high - low) / 7, (low + high) / 2):
            values, signs = [x], []
            for weights, biases in layers:
                rows = zip(weights, biases, strict=True)
                before = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in rows]
                values = [max(value, Fraction(0)) for value in before]
                signs += [(value > 0) - (value < 0) for value in before]
            assert values == [a * x + b for a, b in units]
            patterns[-1].add(tuple(signs))
    assert all(len(pattern) == 1 for pattern in patterns)
    assert all(one != other for one, other in itertools.pairwise(patterns))


def test_cells_of_one_layer_are_those_of_the_arrangement() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        weights = generator.integers(-3, 4, (4, 2)).tolist()
        biases = generator.integers(-3, 4, 4).tolist()
        window = [(1000 * (2 * x - 1), 1000 * (2 * y - 1)) for x, y in UNIT_SQUARE]
        assert len(cells([(weights, biases)], window)) == arrangement_regions(weights, biases)


def test_the_growth_of_one_unit() -> None:
    # w and b are 1 or -1: of the four images of [0, 2] two are |[1, 3]| and |[0, 1]| long, the others [0, 1] and none
    assert paths.growth_terms([1, -1], [1, -1], 1, [[0], [2]]) == (1.0, 1.0, 2.0)
