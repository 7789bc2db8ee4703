"""The verifier refutes each claim of Johansson 2022 once a sign, a constant or an index is off."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import strategies as st

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import (
    exact_networks,
    johansson,
    johansson_ranks,
    johansson_regions,
    johansson_slopes,
)
from reluscope_catalog.claims.johansson_claims import CLAIMS


def rank_without_patterns(sizes: list[int], seed: int, turned: bool) -> bool:
    return johansson_ranks.rank_of_product(sizes, seed, turned) and min(sizes) == min(sizes[0], sizes[-1])


def rank_without_last(sizes: list[int], seed: int, turned: bool) -> bool:
    return johansson_ranks.rank_of_product(sizes, seed, turned) and min(sizes) == min(sizes[:-1])


def increments_one_less(slopes: list[int]) -> bool:
    squares = sum((a - b) ** 2 for a, b in itertools.pairwise(slopes))
    return (slopes[0] - slopes[-1]) ** 2 <= (len(slopes) - 2) * squares


def norm_of_next_row(inward: Any, outward: Any, unit: int) -> bool:
    row = inward[(unit + 1) % len(inward)]
    squares = [sum(value**2 for value in values) for values in (row, inward[unit])]
    column = sum(values[unit] ** 2 for values in outward)
    return column * squares[0] == column * squares[1]


def norm_without_outputs(inward: Any, outward: Any, unit: int) -> bool:
    column = sum(values[unit] ** 2 for values in outward)
    square = sum(value**2 for value in inward[unit])
    return outward[0][unit] ** 2 * square == column * square


def mean_of_one_unit_more(inputs: int, hidden: int, outputs: int) -> float:
    return outputs / 9 / (hidden + 1)


def mean_of_a_narrow_row(hidden: int) -> float:
    return 1 / 9 / hidden


def cube(hidden: int) -> float:
    return 1 / 27


def one_unit_more() -> Any:
    """Return networks with one unit more than inputs."""
    return st.integers(1, 2).flatmap(
        lambda inputs: johansson_regions._points([inputs, inputs + 1]).filter(
            lambda case: johansson_regions._has_interior(case["hidden"], case["x"])
        )
    )


def edge_of_the_first_layer(hidden: Any, x: list[int]) -> bool:
    return johansson_regions._distance_to_edge(hidden, x) == johansson_regions._distance_to_edge(hidden[:1], x)


MUTANTS: dict[str, list[dict[str, Any]]] = {
    "rank_of_product_independent": [{"predicate": rank_without_patterns}, {"predicate": rank_without_last}],
    "perturbation_norm_columns": [{"predicate": norm_of_next_row}, {"predicate": norm_without_outputs}],
    "expected_perturbation": [{"value": mean_of_one_unit_more}],
    "expected_perturbation_chosen": [{"value": mean_of_a_narrow_row}],
    "unit_interval_increments_counted": [{"predicate": increments_one_less}],
    "unit_interval_bound_any_width": [{"value": cube}],
    "unbounded_regions_interior": [
        {"strategy": one_unit_more, "predicate": johansson_regions.unbounded_regions},
    ],
    "edge_distance_without_constants": [{"predicate": edge_of_the_first_layer}],
}


@pytest.mark.parametrize(("name", "changed"), [(name, change) for name in MUTANTS for change in MUTANTS[name]])
@pytest.mark.slow
def test_a_mutant_is_refuted(name: str, changed: dict[str, Any], lab: Lab) -> None:
    refuted(dataclasses.replace(lab.claims[name], **changed))


def refuted(claim: Any) -> None:
    verdict = judge(claim, examples=200)
    assert not verdict.problem
    assert verdict.verdict == "refuted"


def off(function: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda *args, **kwargs: change(function(*args, **kwargs))


def half(values: torch.Tensor) -> torch.Tensor:
    return values / 2


def first_layer_open(layers: Any, pattern: Any) -> Any:
    """Form the product without the first pattern."""
    return product(layers, [[1] * len(layer) if not number else layer for number, layer in enumerate(pattern)])


def least_of_widths(observation: Any) -> torch.Tensor:
    _, out, inputs = observation.affine().shape
    return torch.tensor([min(out, inputs)])


def unsorted_difference(here: torch.Tensor, beyond: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(torch.linalg.svdvals(here) - torch.linalg.svdvals(beyond).flip(-1), dim=-1)


def dual_norms(affine_map: Any, p: Any) -> Any:
    return operator_norms(affine_map, {1: "inf", "inf": 1}.get(p, p))


def backward_without_patterns(layers: Any, pattern: Any, u: Any) -> Any:
    return backward(layers, [[1] * len(layer) for layer in pattern], u)


def least_first(found: tuple[Fraction, Fraction]) -> tuple[Fraction, Fraction]:
    return found[1], found[0]


def edge_not_squared(hidden: Any, x: list[int]) -> Any:
    """Return the numerator not squared."""
    distances = [
        abs(exact_networks.dot(gradient, x) + offset) / exact_networks.dot(gradient, gradient)
        for (gradient, offset), _ in exact_networks.walls(hidden, x)
        if any(gradient)
    ]
    return min(distances, default=None)


def nearest_walls_off(observation: Any) -> Any:
    """Return the library's distance plus a millionth."""
    found = nearest_walls(observation)
    return dataclasses.replace(found, distance=found.distance * (1 + 1e-6))


nearest_walls = johansson_regions.nearest_walls
product = exact_networks.product
operator_norms = johansson_slopes.operator_norms
backward = johansson_slopes._backward

PARTS: list[tuple[str, Any, str, Any]] = [
    ("affine_product", exact_networks, "product", first_layer_open),
    (
        "affine_product",
        johansson,
        "affine",
        off(johansson.affine, lambda found: type("Map", (), {"weight": -found.weight})),
    ),
    ("rank_at_init", johansson_ranks, "rank_bound", least_of_widths),
    ("perturbation_bound", johansson, "singular_value_difference", unsorted_difference),
    ("perturbation_bound", johansson, "_squares", off(johansson._squares, lambda found: found / 2)),
    ("perturbation_norm_columns", johansson, "hidden_unit_norms", off(johansson.hidden_unit_norms, half)),
    ("slope_is_norm", johansson_slopes, "operator_norms", dual_norms),
    ("forward_backward_generic", johansson_slopes, "_backward", backward_without_patterns),
    ("forward_backward_generic", johansson_slopes, "_eigenvalues", off(johansson_slopes._eigenvalues, least_first)),
    ("edge_distance_without_constants", johansson_regions, "_distance_to_edge", edge_not_squared),
    ("edge_distance_without_constants", johansson_regions, "nearest_walls", nearest_walls_off),
]
"""What a predicate calls, of the library or of its own, and what it is exchanged for."""


@pytest.mark.parametrize(("name", "module", "function", "changed"), PARTS)
@pytest.mark.slow
def test_a_part_that_is_off_is_noticed(
    name: str, module: Any, function: str, changed: Any, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, function, changed)
    refuted(lab.claims[name])


def test_each_claim_that_holds_has_a_mutant() -> None:
    holding = {claim.name for claim in CLAIMS if claim.verdict == "holds"}
    assert holding == set(MUTANTS) | {name for name, *_ in PARTS}


def test_zeros_of_a_unit_of_the_second_layer() -> None:
    """Of 1 - |y|, with zeros at 1 and -1, from 3."""
    layers = [{"weight": [[1], [-1]], "bias": [0, 0]}, {"weight": [[-1, -1]], "bias": [1]}]
    assert johansson_regions._distance_to_zeros(layers, 0, [3]) == 4
    assert johansson_regions._distance_to_zeros([*layers[:1], {"weight": [[-1, -1]], "bias": [-1]}], 0, [3]) is None


def test_zeros_at_a_corner() -> None:
    """Of relu(y_1) + relu(y_2), on the quadrant where both are at most 0, from (3, 4)."""
    layers = [{"weight": [[1, 0], [0, 1]], "bias": [0, 0]}, {"weight": [[1, 1]], "bias": [0]}]
    assert johansson_regions._distance_to_zeros(layers, 0, [3, 4]) == 25


def test_eigenvalues_of_a_symmetric_matrix() -> None:
    found = johansson_slopes._eigenvalues([[Fraction(2), Fraction(1)], [Fraction(1), Fraction(1)]])
    assert math.isclose(found[0], (3 + math.sqrt(5)) / 2)
    assert math.isclose(found[1], (3 - math.sqrt(5)) / 2)
