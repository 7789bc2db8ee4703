"""The product gate and monomials: against the products, the error's expansion, and the counts of units."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError, RecipeError
from reluscope.lab import Lab
from reluscope_plugins import architectures
from reluscope_plugins.architectures.monomial import power_gate, softplus_derivative

MONOMIAL = Lab(plugins=[architectures]).architectures["monomial"]
POWERS = st.lists(st.integers(1, 20), min_size=1, max_size=5)


def inputs(variables: int) -> torch.Tensor:
    drawn = torch.rand(500, variables, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 2 * drawn - 1


def product(x: torch.Tensor, powers: list[int]) -> torch.Tensor:
    return torch.stack([x[:, place] ** power for place, power in enumerate(powers)]).prod(0)


def units(model: nn.Module) -> int:
    return sum(gate[0].out_features for gate in model.gates)  # type: ignore[union-attr,index,misc]


def test_the_product_gate_is_the_sources() -> None:
    """Lin, Tegmark and Rolnick's formula, written out; expanded at 0."""
    x = inputs(2)
    u, v = 0.1 * x[:, :1], 0.1 * x[:, 1:]
    sigma = nn.functional.softplus
    expected = (sigma(u + v) + sigma(-u - v) - sigma(u - v) - sigma(v - u)) / (4 * 0.25) / 0.01
    # four values near log 2, each rounded, times 100
    assert (power_gate([1, 1], scale=0.1, at=0.0)(x) - expected).abs().max() < 1e-12
    assert MONOMIAL.build(powers=[1, 1]).neurons == 4


@pytest.mark.parametrize("powers", [[1], [2], [3], [1, 1], [2, 1], [1, 1, 1]])
def test_the_error_of_a_gate_is_its_first_term(powers: list[int]) -> None:
    """What remains is of order 4 in the scale: a fall by 16 where the scale is halved, which 12 lies below."""
    x = inputs(len(powers))
    degree, exact = sum(powers), product(x, powers)
    ratio = softplus_derivative(degree + 2, 1.0) / softplus_derivative(degree, 1.0)
    leading = exact * ratio / 6 * (x**2 @ torch.tensor(powers, dtype=torch.float64))
    rest = {}
    for scale in (0.1, 0.2):
        error = power_gate(powers, scale=scale)(x)[:, 0].detach() - exact
        rest[scale] = (error - scale**2 * leading).abs().max().item()
        assert rest[scale] < 0.5 * scale**2 * leading.abs().max()
    assert rest[0.1] < rest[0.2] / 12


@pytest.mark.parametrize("powers", [[1, 1], [5], [3, 1, 2], [4, 7], [1] * 6])
def test_a_deep_network_errs_with_the_square_of_the_scale(powers: list[int]) -> None:
    """A fall by 100 where the scale falls by 10, up to terms of order 4; the number of units stays."""
    x = inputs(len(powers))
    error = {}
    for scale in (0.1, 0.01):
        model = MONOMIAL.build(powers=powers, scale=scale)
        error[scale] = (model(x)[:, 0].detach() - product(x, powers)).abs().max().item()
    assert error[0.1] < 0.02
    assert 80 < error[0.1] / error[0.01] < 125


@given(POWERS)
def test_units_and_layers_are_within_the_sources_counts(powers: list[int]) -> None:
    """The printed bounds, and the exact count of binary powers."""
    deep = MONOMIAL.build(powers=powers)
    assert deep.neurons == units(deep) <= sum(7 * math.ceil(math.log2(power)) + 4 for power in powers)
    squares = sum(power.bit_length() - 1 for power in powers)
    products = sum(power.bit_count() - 1 for power in powers) + len(powers) - 1
    assert deep.neurons == 3 * squares + 4 * products
    assert deep.depth <= max(power.bit_length() for power in powers) - 1 + 1 + math.ceil(math.log2(len(powers)))


@given(POWERS.filter(lambda powers: math.prod(power + 1 for power in powers) <= 200))
def test_one_layer_has_the_sources_count(powers: list[int]) -> None:
    model = MONOMIAL.build(powers=powers, deep=False)
    assert model.neurons == units(model) == math.prod(power + 1 for power in powers)
    assert model.depth == 1


@given(POWERS)
def test_the_plan_multiplies_up(powers: list[int]) -> None:
    """With exact gates, the plan gives the monomial: in fractions."""
    model = MONOMIAL.build(powers=powers)
    values = [Fraction(place + 2, 3) for place in range(len(powers))]
    exact = math.prod(value**power for value, power in zip(values, powers, strict=True))
    for gate, operands in zip(model.gates, model.operands, strict=True):
        taken = [values[place] for place in operands]
        values.append(taken[0] * taken[1] if gate[0].in_features == 2 else taken[0] ** 2)
    assert values[-1] == exact


@pytest.mark.parametrize("order", range(1, 9))
def test_derivatives_are_autograds(order: int) -> None:
    x = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    value = nn.functional.softplus(x)
    for _ in range(order):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
    assert softplus_derivative(order, 0.7) == pytest.approx(value.item(), rel=1e-9)


def test_it_has_no_affine_map() -> None:
    model = MONOMIAL.build(powers=[2, 1])
    with pytest.raises(ObservationError, match="the smooth activation 'softplus'"):
        rs.affine(model, inputs(2)).weight  # noqa: B018


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"powers": []}, "powers is []"),
        ({"powers": [2, 0]}, "powers hold 0"),
        ({"deep": 1}, "deep is 1"),
        ({"scale": 0.0}, "scale is 0.0, expected a finite number above 0"),
        ({"at": float("nan")}, "at is nan"),
        ({"powers": [3], "deep": False, "at": 0.0}, "derivative 3 of softplus is 0 at 0.0"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        MONOMIAL.build(**params)
    assert message in str(caught.value)


def test_a_wrong_number_of_variables_is_named() -> None:
    with pytest.raises(ObservationError, match="of 2 variables, got shape"):
        MONOMIAL.build(powers=[1, 1])(inputs(3))
