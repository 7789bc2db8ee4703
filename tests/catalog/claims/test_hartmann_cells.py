"""The verifier refutes each claim on the extrinsic projection and on parameters once something is off."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given

from reluscope_catalog.claims import hartmann_cells as claims
from reluscope_catalog.claims import hartmann_parameters as parameters
from reluscope_catalog.claims.exact_matrices import matrix, product, pseudo_inverse, reduced, transposed


def parts(weight: Any, readout: Any, bias: Any) -> tuple[Any, Any, Any]:
    w, v = matrix(weight), matrix(readout)
    return w, v, product([bias], v)[0]


def bias_subtracted(weight: Any, target: Any, x: Any, readout: Any, constant: Any) -> bool:
    bias = claims.added(target, [-value for value in product(matrix([x]), matrix(weight))[0]])
    w, v, shift = parts(weight, readout, bias)
    return claims.carried(w, bias, x, v, constant, claims.added([-value for value in shift], constant))


def outside_the_cells(weight: Any, shift: Any, points: Any, readout: Any, constant: Any) -> bool:
    bias = product(matrix([shift]), matrix(weight))[0]
    w, v, offset = parts(weight, readout, bias)
    return all(claims.carried(w, bias, x, v, constant, claims.added(offset, constant)) for x in points)


def shift_of_one_cell_alone(weight: Any, shift: Any, points: Any, readout: Any, constant: Any) -> bool:
    bias = product(matrix([shift]), matrix(weight))[0]
    w, v, _ = parts(weight, readout, bias)
    return all(claims.carried(w, bias, x, v, constant, constant) for x in points[:1])


def without_bias(weight: Any, bias: Any, points: Any, readout: Any, constant: Any) -> bool:
    w, v, _ = parts(weight, readout, matrix([bias])[0])
    return all(claims.carried(w, matrix([bias])[0], x, v, constant, constant) for x in points)


def with_transpose(weight: Any, bias: Any, points: Any, readout: Any, constant: Any) -> bool:
    w, v, shift = parts(weight, readout, matrix([bias])[0])
    for x in points:
        y = [max(value, Fraction(0)) for value in claims.added(product(matrix([x]), w)[0], bias)]
        projected = product([claims.added(y, [-value for value in bias])], transposed(w))
        if claims.added(product(projected, product(w, v))[0], shift) != product([y], v)[0]:
            return False
    return True


def homogeneous(inputs: int, filters: int, layers: int) -> int:
    return ((inputs + 2) * filters + inputs + 1) * layers


def shifted_once(inputs: int, filters: int, layers: int) -> int:
    return (inputs + 1) * filters * layers + inputs


def as_printed(inputs: int, filters: int, layers: int) -> int:
    return (inputs + 1) * filters + inputs * layers


class WithoutExtrinsicShift(parameters.ExtrinsicLayer):
    """A layer of which one kind of parameter does nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        along = x @ self.weight
        silent = ((along > 0).double() - 1) * along
        return x + (silent * self.intrinsic_shift) @ self.weight.T


def one_more_hidden(inputs: int, filters: int, hidden_layers: int, classes: int, printed: int) -> bool:
    return parameters.intrinsic_parameters(inputs, filters, hidden_layers + 1, classes, printed)


def one_class_less(inputs: int, filters: int, hidden_layers: int, classes: int, printed: int) -> bool:
    return parameters.intrinsic_parameters(inputs, filters, hidden_layers, classes - 1, printed)


def one_term_more(filters: int, classes: int, last: int, printed: list[int]) -> bool:
    return parameters.thousand_layer_parameters(filters, classes, last + 1, printed)


def one_class_more(filters: int, classes: int, last: int, printed: list[int]) -> bool:
    return parameters.thousand_layer_parameters(filters, classes + 1, last, printed)


_COUNT = "reluscope_catalog.claims.hartmann_parameters:extrinsic_count"
_NETWORK = "reluscope_catalog.claims.hartmann_parameters:ExtrinsicLayer"
MUTANTS: dict[str, list[Any]] = {
    "identity_cell_projection_with_bias": [bias_subtracted],
    "zero_cell_projection": [outside_the_cells, shift_of_one_cell_alone],
    "independent_columns_projection": [without_bias, with_transpose],
    "extrinsic_parameters_by_layer": [
        {_COUNT: homogeneous},
        {_COUNT: shifted_once},
        {_COUNT: as_printed},
        {_NETWORK: WithoutExtrinsicShift},
    ],
    "intrinsic_parameters": [one_more_hidden, one_class_less],
    "thousand_layer_parameters_to_998": [one_term_more, one_class_more],
}


@pytest.mark.parametrize("rows", [[[1, 2, 3], [2, 4, 6]], [[0, 0]], [[1, 0], [0, 2], [1, 1]], [[2, -1, 0], [0, 3, 1]]])
def test_the_pseudo_inverse_has_its_four_properties(rows: list[list[int]]) -> None:
    a = matrix(rows)
    b = pseudo_inverse(a)
    left, right = product(a, b), product(b, a)
    assert product(left, a) == a
    assert product(right, b) == b
    assert transposed(left) == left
    assert transposed(right) == right


@given(claims.zero_cells())
def test_both_cells_exist(case: dict[str, Any]) -> None:
    """Otherwise the claim would hold for want of a case."""
    w = matrix(case["weight"])
    b = product(matrix([case["shift"]]), w)[0]
    assert all(claims.pattern(w, b, case["points"][0]))
    assert not any(claims.pattern(w, b, case["points"][1]))


@given(claims.independent_columns())
def test_columns_are_independent(case: dict[str, Any]) -> None:
    _, pivots = reduced(matrix(case["weight"]))
    assert len(pivots) == len(case["weight"][0])


def test_the_network_of_the_toy_example_has_5406_parameters() -> None:
    assert parameters.extrinsic_count(2, 600, 3) == 5406
