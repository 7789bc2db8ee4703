"""Claims of Johansson 2022: their mutants, what their predicates compute, and what their cases test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from reluscope.errors import ClaimError
from reluscope.observation import affine
from reluscope_catalog.claims import (
    exact_networks,
    johansson,
    johansson_ranks,
    johansson_regions,
    johansson_slopes,
)
from reluscope_plugins.geometry.nearest_walls import nearest_walls
from reluscope_plugins.geometry.operator_norm import operator_norms
from reluscope_plugins.geometry.perturbation import hidden_unit_norms


def least_of_the_ends(sizes: list[int]) -> int:
    return min(sizes[0], sizes[-1])


def least_without_the_last(sizes: list[int]) -> int:
    return min(sizes[:-1])


def rank_of_the_first_layer(widths: list[int], pattern: list[list[int]]) -> int:
    return min(widths[0], widths[-1], sum(pattern[0]))


def rank_without_the_outputs(widths: list[int], pattern: list[list[int]]) -> int:
    return min(widths[0], *map(sum, pattern))


def of_the_next_unit(inward: Any, outward: Any, unit: int) -> Any:
    return perturbation(inward, outward, (unit + 1) % len(inward))


def of_the_first_output(inward: Any, outward: Any, unit: int) -> Any:
    return perturbation(inward, outward[:1], unit)


def for_fewer_units_alone(inputs: int, widths: list[int]) -> bool:
    return sum(widths) < inputs


def always(inputs: int, widths: list[int]) -> bool:
    return True


def one_unit_more() -> Any:
    """Return networks with one unit more than inputs."""
    return st.integers(1, 2).flatmap(
        lambda inputs: johansson_regions._points([inputs, inputs + 1]).filter(
            lambda case: johansson_regions._has_interior(case["hidden"], case["x"])
        )
    )


def edge_of_the_first_layer(hidden: Any, x: list[int]) -> Any:
    return edge(hidden[:1], x)


def off(function: Callable[..., Any], change: Callable[[Any], Any]) -> Callable[..., Any]:
    def changed(*given: Any) -> Any:
        return change(function(*given))

    changed.__name__ = change.__name__
    return changed


def halved(values: Any) -> Any:
    return values / 2


def first_layer_open(layers: Any, pattern: Any) -> Any:
    """Form the product without the first pattern."""
    return product(layers, [[1] * len(layer) if not number else layer for number, layer in enumerate(pattern)])


def negated_map(model: Any, x: torch.Tensor, *, check: bool) -> Any:
    return type("Map", (), {"weight": -affine(model, x, check=check).weight})


def least_of_widths(observation: Any) -> torch.Tensor:
    _, out, inputs = observation.affine().shape
    return torch.tensor([min(out, inputs)])


def unsorted_difference(here: torch.Tensor, beyond: torch.Tensor) -> torch.Tensor:
    values = torch.linalg.svdvals(here) - torch.linalg.svdvals(beyond).flip(-1)
    found: torch.Tensor = values.square().sum(-1).sqrt()
    return found


def dual_norms(affine_map: Any, p: Any) -> Any:
    dual: dict[Any, Any] = {1: "inf", "inf": 1}
    return operator_norms(affine_map, dual.get(p, p))


def along_positive_directions(layers: Any, x: list[int], v: Any) -> Any:
    return derivative(layers, x, list(map(abs, v)))


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


product = exact_networks.product
backward = johansson_slopes._backward
derivative = johansson_slopes._derivative
perturbation = johansson._perturbation
edge = johansson_regions._distance_to_edge

CODE = "reluscope_catalog.claims."

MUTANTS: dict[str, list[Any]] = {
    "affine_product": [
        {f"{CODE}exact_networks:product": first_layer_open},
        {f"{CODE}johansson:affine": negated_map},
    ],
    "rank_at_init": [
        {f"{CODE}johansson_ranks:rank_bound": least_of_widths},
        {f"{CODE}johansson_ranks:_printed_rank": rank_of_the_first_layer},
        {f"{CODE}johansson_ranks:_printed_rank": rank_without_the_outputs},
    ],
    "rank_of_product_independent": [
        {f"{CODE}johansson_ranks:_least": least_of_the_ends},
        {f"{CODE}johansson_ranks:_least": least_without_the_last},
    ],
    "perturbation_bound": [
        {f"{CODE}johansson:singular_value_difference": unsorted_difference},
        {f"{CODE}johansson:_squares": off(johansson._squares, halved)},
    ],
    "perturbation_norm_columns": [
        {f"{CODE}johansson:_perturbation": of_the_next_unit},
        {f"{CODE}johansson:_perturbation": of_the_first_output},
        {f"{CODE}johansson:hidden_unit_norms": off(hidden_unit_norms, halved)},
    ],
    "slope_is_norm": [
        {f"{CODE}johansson_slopes:operator_norms": dual_norms},
        {f"{CODE}johansson_slopes:_derivative": along_positive_directions},
    ],
    "forward_backward_generic": [
        {f"{CODE}johansson_slopes:_backward": backward_without_patterns},
        {f"{CODE}johansson_slopes:_eigenvalues": off(johansson_slopes._eigenvalues, least_first)},
    ],
    "unbounded_regions_interior": [
        {f"{CODE}johansson_regions:never_bounded": for_fewer_units_alone},
        {"strategy": one_unit_more, f"{CODE}johansson_regions:never_bounded": always},
    ],
    "edge_distance_without_constants": [
        {f"{CODE}johansson_regions:_distance_to_edge": edge_of_the_first_layer},
        {f"{CODE}johansson_regions:_distance_to_edge": edge_not_squared},
        {f"{CODE}johansson_regions:nearest_walls": nearest_walls_off},
    ],
}


@pytest.mark.parametrize(
    ("strategy", "telling"),
    [
        (johansson.hidden_units, lambda case: any(map(any, johansson._perturbation(**case)))),
        (
            johansson_slopes.interior_points,
            lambda case: any(map(any, johansson_slopes._matrix(case["layers"], case["x"]))),
        ),
        (johansson_ranks.drawn_networks, lambda case: exact_rank(**case) > 0),
        (
            johansson_regions.small_networks_without_constants,
            lambda case: johansson_regions._distance_to_edge(**case) is not None,
        ),
        (
            johansson_regions.narrow_networks_with_interior,
            lambda case: any(any(gradient) for (gradient, _), _ in exact_networks.walls(case["hidden"], case["x"])),
        ),
    ],
)
def test_few_cases_say_nothing(strategy: Any, telling: Callable[[dict[str, Any]], bool]) -> None:
    """At least 4 of 5 have what the claim is about; other strategies leave out those that do not."""
    found: list[bool] = []

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=200, database=None, deadline=None, suppress_health_check=SLOW)
    @hypothesis.given(strategy())
    def collect(case: dict[str, Any]) -> None:
        found.append(telling(case))

    collect()
    assert sum(found) >= 0.8 * len(found)


SLOW = [hypothesis.HealthCheck.too_slow]


def exact_rank(widths: list[int], seed: int, bias: int) -> int:
    layers, x = johansson_ranks._network(widths, seed, bias)
    return johansson_ranks._rank(exact_networks.product(layers, exact_networks.states(layers[:-1], x)))


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


def test_a_unit_without_weights_is_outside_the_claim_on_the_edge() -> None:
    with pytest.raises(ClaimError, match="all weights of unit 1 of hidden layer 0 are 0"):
        johansson_regions.edge_distance([{"weight": [[1], [0]], "bias": [0, 0]}], [1])
