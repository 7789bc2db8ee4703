"""The verifier refutes each claim of the ICERM talk that holds once an exponent, a constant or a term is off."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope_catalog.claims import icerm as claims
from reluscope_catalog.claims import icerm_monomials as monomials
from reluscope_catalog.claims.exact_regions import hidden_layers, pieces
from reluscope_plugins.architectures.monomial import monomial, softplus_derivative
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.expected_breakpoints import expected_breakpoints_bound
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.rational_pieces import rational_pieces
from reluscope_plugins.regions.region_bounds import montufar_lower_bound


def binomials(units: int, terms: int) -> int:
    return sum(math.comb(units, j) for j in range(terms))


def term_less(units: int, inputs: int) -> int:
    return binomials(units, inputs)


def unit_less(units: int, inputs: int) -> int:
    return binomials(units - 1, inputs + 1)


def ceilings(inputs: int, widths: list[int]) -> int:
    folds: int = math.prod(math.ceil(width / inputs) for width in widths[:-1]) ** inputs
    return folds * binomials(widths[-1], inputs + 1)


def all_widths_fold(inputs: int, widths: list[int]) -> int:
    folds: int = math.prod(width // inputs for width in widths) ** inputs
    return folds * binomials(widths[-1], inputs + 1)


def one_more(inputs: int, widths: list[int]) -> int:
    return montufar_lower_bound(inputs, widths) + 1


def silent_somewhere(widths: list[int]) -> Any:
    return folding_network(1, widths)


def composed_once_less(count: int) -> Any:
    return composed_edges(count - 1)


def composed_once_more(count: int) -> Any:
    return sawtooth(count + 1)


def rectified(x: Fraction) -> Fraction:
    return max(x, Fraction(0))


def factor_of_three(x: Fraction) -> Fraction:
    return rectified(2 * rectified(x) - 3 * rectified(x - Fraction(1, 2)))


def kink_at_a_third(x: Fraction) -> Fraction:
    return rectified(2 * rectified(x) - 4 * rectified(x - Fraction(1, 3)))


def half_the_slope(inputs: int, widths: list[int], length: float, *, bias_std: float) -> float:
    return expected_breakpoints_bound(inputs, widths, length, bias_std=bias_std) / 2


def one_region_less(*given: Any, **others: Any) -> float:
    return expected_breakpoints_bound(*given, **others) - 1


def of_one_layer_less(start: Any, end: Any, drawn: Any) -> Any:
    """Return regions before the last layer, each cut into as many as it has units, and one."""
    found = crossed(start, end, drawn[:-1]) if drawn[:-1] else np.ones(len(drawn[0][0]))
    return found * (drawn[-1][0].shape[2] + 1)


def one_scale_for_all(powers: list[int], *, deep: bool, scale: float, at: float) -> Any:
    return monomial(powers, deep=deep, scale=1.0, at=at)


@torch.no_grad()
def first_unit_silent(powers: list[int], **others: Any) -> Any:
    model = monomial(powers, **others)
    gate: Any = model.gates[0]
    gate[2].weight[:, 0] = 0.0
    return model


def three_for_each_square(powers: list[int]) -> int:
    return sum(3 * (power - 1).bit_length() + 4 for power in powers)


def nothing_for_each_variable(powers: list[int]) -> int:
    return sum(7 * (power - 1).bit_length() for power in powers)


def of_one_order_more(order: int, at: float) -> float:
    return softplus_derivative(order + 1, at)


def with_one_step_less(powers: list[int], **others: Any) -> Any:
    """Return steps for the powers less the last one's: prod_i r_i units at most."""
    return monomial([*powers[:-1], max(powers[-1] - 1, 1)], **others)


composed_edges = claims.composed_edges
crossed = claims._crossed

CODE = "reluscope_catalog.claims.icerm:"
MONOMIALS = "reluscope_catalog.claims.icerm_monomials:"
MUTANTS: dict[str, list[Any]] = {
    "one_layer_upper_bound": [{f"{CODE}hyperplane_regions": term_less}, {f"{CODE}hyperplane_regions": unit_less}],
    "montufar_attained_patterns": [
        {f"{CODE}montufar_lower_bound": ceilings},
        {f"{CODE}montufar_lower_bound": all_widths_fold},
    ],
    "montufar_attained_functions": [
        {f"{CODE}montufar_lower_bound": one_more},
        {f"{CODE}unsilenced": silent_somewhere},
    ],
    "sawtooth_pieces": [{f"{CODE}sawtooth": composed_once_more}, {f"{CODE}composed_edges": composed_once_less}],
    "mirror_map_network": [{f"{CODE}_printed_mirror": factor_of_three}, {f"{CODE}_printed_mirror": kink_at_a_third}],
    "product_gate": [{f"{MONOMIALS}monomial": one_scale_for_all}, {f"{MONOMIALS}monomial": first_unit_silent}],
    "monomial_neurons_each": [
        {f"{MONOMIALS}_stated_units": three_for_each_square},
        {f"{MONOMIALS}_stated_units": nothing_for_each_variable},
    ],
    "monomial_neurons_one_layer_enough": [
        {f"{MONOMIALS}monomial": with_one_step_less},
        {f"{MONOMIALS}monomial": first_unit_silent},
        {f"{MONOMIALS}softplus_derivative": of_one_order_more},
    ],
    "line_regions_linear": [
        {f"{CODE}expected_breakpoints_bound": one_region_less},
        {f"{CODE}expected_breakpoints_bound": half_the_slope},
        {f"{CODE}_crossed": of_one_layer_less},
    ],
}


@pytest.mark.parametrize("width", range(1, 10))
def test_most_breakpoints_over_all_signs(width: int) -> None:
    """Signs of g at its breakpoints, and whether it changes its sign before the first and behind the last."""
    most = 0
    for signs in itertools.product((False, True), repeat=width):
        zeros = sum(one != other for one, other in itertools.pairwise(signs))
        most = max(most, sum(signs) + zeros + 2)
    assert claims.most_breakpoints(width) == most


@given(st.data())
def test_no_function_has_more_breakpoints(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 7))
    row = st.lists(st.integers(-5, 5), min_size=width, max_size=width)
    first, second = data.draw(st.tuples(row, row)), data.draw(row)
    layers = [([[w] for w in first[0]], first[1]), ([second], [data.draw(st.integers(-5, 5))])]
    forms = [units[0] for _, _, units in pieces(layers)]
    assert sum(one != other for one, other in itertools.pairwise(forms)) <= claims.most_breakpoints(width)


def test_the_output_of_the_turned_network_is_nowhere_constant() -> None:
    model = claims.unsilenced([3, 4, 3])
    assert all(rational_pieces(model).slopes)
    assert all(any(unit[0] for unit in units) for _, _, units in pieces(hidden_layers(model), Fraction(0), Fraction(1)))


def test_crossed_regions_are_those_of_line_regions() -> None:
    drawn: list[Any] = []

    class Kept:
        def __init__(self) -> None:
            self.generator = np.random.default_rng(0)

        def normal(self, *given: Any) -> Any:
            drawn.append(self.generator.normal(*given))
            return drawn[-1]

    ends = [[-2, 1], [2, 2]]
    kept: Any = Kept()
    found = claims.crossed_regions(kept, 20, widths=[5, 4, 3], bias_std=0.5, ends=ends)
    for number, count in enumerate(found):
        layers: list[nn.Module] = []
        for weight, bias in zip(drawn[::2], drawn[1::2], strict=True):
            linear = nn.Linear(weight.shape[1], weight.shape[2], dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight[number].T))
                linear.bias.copy_(torch.from_numpy(bias[number, 0]))
            layers += [linear, nn.ReLU()]
        points = torch.tensor(ends, dtype=torch.float64)
        assert int(line_regions(nn.Sequential(*layers), points, pieces=False).region_count) == count


@pytest.mark.parametrize("off", [1e-12, 0.01])
def test_a_gate_that_is_off_makes_no_monomial(off: float) -> None:
    gate: Any = monomial([2, 1], deep=False, scale=2**-4).gates[0]
    assert monomials._gate_powers(gate) == [2, 1]
    for layer in (gate[0], gate[2]):
        kept = layer.weight.clone()
        with torch.no_grad():
            layer.weight[0, 0] *= 1 + off
        assert monomials._gate_powers(gate) == []
        with torch.no_grad():
            layer.weight.copy_(kept)


@pytest.mark.parametrize("powers", [[1], [2], [1, 1], [2, 1]])
def test_one_unit_less_and_a_bias_come_near_to_the_monomial(powers: list[int]) -> None:
    """The counterexample, with softplus at 1: Taylor's remainder and rounding are all that is left."""
    steps, factors = monomials.forward_differences(powers)
    degree, small = sum(powers), 2.0**-10
    s = 1 / (1 + math.exp(-1))
    derivative = {1: s, 2: s * (1 - s), 3: s * (1 - s) * (1 - 2 * s)}[degree]
    greatest = {2: 1 / 4, 3: 1 / (6 * math.sqrt(3)), 4: 1 / 8}[degree + 1]
    reach = sum(abs(c) * sum(step) ** (degree + 1) for c, step in zip(factors, steps, strict=True))
    remainder = small * reach * greatest / math.factorial(degree + 1)
    rounding = sum(map(abs, factors)) * 8 * 2**-53 / small**degree  # values below 2, of a few roundings each
    for point in itertools.product(np.linspace(-1, 1, 5), repeat=len(powers)):
        values = [math.log1p(math.exp(1 + small * float(np.dot(step, point)))) for step in steps]
        found = math.fsum(c * value for c, value in zip(factors, values, strict=True)) / (small**degree * derivative)
        error = abs(found - math.prod(v**r for v, r in zip(point, powers, strict=True)))
        assert error <= (remainder + rounding) / abs(derivative)
