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


def with_the_bias_subtracted(b: list[Fraction], v: Any, constant: Any) -> list[Fraction]:
    return offset([-value for value in b], v, constant)


def without_the_bias(b: list[Fraction], v: Any, constant: Any) -> list[Fraction]:
    return offset([Fraction(0)] * len(b), v, constant)


def of_all_cells(w: Any, b: Any, x: Any) -> list[bool]:
    return [True]


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


def one_more_hidden(inputs: int, filters: int, hidden_layers: int, classes: int) -> int:
    return intrinsic(inputs, filters, hidden_layers + 1, classes)


def one_class_less(inputs: int, filters: int, hidden_layers: int, classes: int) -> int:
    return intrinsic(inputs, filters, hidden_layers, classes - 1)


def one_term_more(filters: int, classes: int, last: int) -> tuple[int, int]:
    return thousand_layers(filters, classes, last + 1)


def one_class_more(filters: int, classes: int, last: int) -> tuple[int, int]:
    return thousand_layers(filters, classes + 1, last)


def one_shift_less(inputs: int, widths: list[int], weighted: int) -> int:
    return extrinsic_sum(inputs, widths, weighted) - inputs * len(widths)


def one_weighted_layer_less(inputs: int, widths: list[int], weighted: int) -> int:
    return extrinsic_sum(inputs, widths, weighted - 1)


extrinsic_sum = parameters.extrinsic_sum
offset = claims._offset
intrinsic = parameters.intrinsic_count
thousand_layers = parameters.thousand_layer_counts

_CELLS = "reluscope_catalog.claims.hartmann_cells:"
_PARAMETERS = "reluscope_catalog.claims.hartmann_parameters:"
MUTANTS: dict[str, list[Any]] = {
    "identity_cell_projection_with_bias": [
        {f"{_CELLS}_offset": with_the_bias_subtracted},
        {f"{_CELLS}_offset": without_the_bias},
        {f"{_CELLS}pseudo_inverse": transposed},
    ],
    "zero_cell_projection": [
        {f"{_CELLS}pattern": of_all_cells},
        {f"{_CELLS}_offset": without_the_bias},
        {f"{_CELLS}pseudo_inverse": transposed},
    ],
    "independent_columns_projection": [
        {f"{_CELLS}_offset": without_the_bias},
        {f"{_CELLS}pseudo_inverse": transposed},
    ],
    "extrinsic_parameters_by_layer": [
        {f"{_PARAMETERS}extrinsic_count": homogeneous},
        {f"{_PARAMETERS}extrinsic_count": shifted_once},
        {f"{_PARAMETERS}extrinsic_count": as_printed},
        {f"{_PARAMETERS}ExtrinsicLayer": WithoutExtrinsicShift},
    ],
    "intrinsic_parameters": [
        {f"{_PARAMETERS}intrinsic_count": one_more_hidden},
        {f"{_PARAMETERS}intrinsic_count": one_class_less},
    ],
    "thousand_layer_parameters_to_998": [
        {f"{_PARAMETERS}thousand_layer_counts": one_term_more},
        {f"{_PARAMETERS}thousand_layer_counts": one_class_more},
    ],
    "thousand_layer_extrinsic_parameters_by_terms": [
        {f"{_PARAMETERS}extrinsic_sum": one_shift_less},
        {f"{_PARAMETERS}extrinsic_sum": one_weighted_layer_less},
    ],
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
