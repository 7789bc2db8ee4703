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
from reluscope_catalog.claims.exact_regions import arrangement_regions, hidden_layers, pieces
from reluscope_catalog.claims.tanner import cube_regions
from reluscope_plugins.architectures.monomial import monomial
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.rational_pieces import rational_pieces


def binomials(units: int, terms: int) -> int:
    return sum(math.comb(units, j) for j in range(terms))


def term_less(weights: list[list[int]], biases: list[int]) -> bool:
    return arrangement_regions(weights, biases) <= binomials(len(weights), len(weights[0]))


def unit_less(weights: list[list[int]], biases: list[int]) -> bool:
    return arrangement_regions(weights, biases) <= binomials(len(weights) - 1, len(weights[0]) + 1)


def ceilings(inputs: int, widths: list[int]) -> bool:
    folds = math.prod(math.ceil(width / inputs) for width in widths[:-1]) ** inputs
    return cube_regions(inputs, widths) >= int(folds) * binomials(widths[-1], inputs + 1)


def all_widths_fold(inputs: int, widths: list[int]) -> bool:
    folds = math.prod(width // inputs for width in widths) ** inputs
    return cube_regions(inputs, widths) >= int(folds) * binomials(widths[-1], inputs + 1)


def one_more(widths: list[int]) -> bool:
    return claims.function_pieces(claims.unsilenced(widths)) > math.prod(widths[:-1]) * (widths[-1] + 1)


def silent_somewhere(widths: list[int]) -> bool:
    return claims.function_pieces(folding_network(1, widths)) >= math.prod(widths[:-1]) * (widths[-1] + 1)


def twice_as_many(compositions: int) -> bool:
    return len(rational_pieces(sawtooth(compositions))) == 2 * compositions


def composed_once_less(compositions: int) -> bool:
    return rational_pieces(sawtooth(compositions)).edges == claims.composed_edges(compositions - 1)


def rectified(x: Fraction) -> Fraction:
    return max(x, Fraction(0))


def factor_of_three(x: str) -> bool:
    place = Fraction(x)
    return rectified(2 * rectified(place) - 3 * rectified(place - Fraction(1, 2))) == claims.mirror(place)


def kink_at_a_third(x: str) -> bool:
    place = Fraction(x)
    return rectified(2 * rectified(place) - 4 * rectified(place - Fraction(1, 3))) == claims.mirror(place)


def near(x: int, y: int, scale: float, at: int, error: int, *, lost: int = 0) -> bool:
    model = monomial([1, 1], deep=False, scale=scale, at=float(at))
    gate: Any = model.gates[0]
    with torch.no_grad():
        gate[2].weight[:, :lost] = 0.0
    found = model(torch.tensor([[x / 8, y / 8]], dtype=torch.float64)).item()
    return bool(abs(found - x * y / 64) < 2.0**-error)


def one_scale_for_all(x: int, y: int, at: int, error: int) -> bool:
    return near(x, y, 1.0, at, error)


def three_units(x: int, y: int, at: int, error: int) -> bool:
    return near(x, y, 2.0 ** -math.ceil(error / 2), at, error, lost=1)


def units_of(powers: list[int]) -> int:
    return sum(
        math.prod(power + 1 for power in monomials._gate_powers(gate)) for gate in monomial(powers, scale=2**-4).gates
    )


def three_for_each_square(powers: list[int]) -> bool:
    return units_of(powers) <= sum(3 * math.ceil(math.log2(power)) + 4 for power in powers)


def nothing_for_each_variable(powers: list[int]) -> bool:
    return units_of(powers) <= sum(7 * math.ceil(math.log2(power)) for power in powers)


def product_of_powers(powers: list[int]) -> bool:
    return monomial(powers, deep=False, scale=2**-4).neurons <= math.prod(powers)


def last_unit_lost(powers: list[int]) -> bool:
    steps, factors = monomials.forward_differences(powers)
    return monomials.makes_monomial(steps[:-1], factors[:-1], powers, math.prod(map(math.factorial, powers)))


MUTANTS: dict[str, list[Any]] = {
    "one_layer_upper_bound": [term_less, unit_less],
    "montufar_attained_patterns": [ceilings, all_widths_fold],
    "montufar_attained_functions": [one_more, silent_somewhere],
    "sawtooth_pieces": [twice_as_many, composed_once_less],
    "mirror_map_network": [factor_of_three, kink_at_a_third],
    "product_gate": [one_scale_for_all, three_units],
    "monomial_neurons_each": [three_for_each_square, nothing_for_each_variable],
    "monomial_neurons_one_layer_enough": [product_of_powers, last_unit_lost],
}


def without_the_first_region(widths: list[int], bias_std: float, ends: list[list[int]]) -> float:
    return claims.linear_bound(widths, bias_std, ends) - 1


def half_the_slope(widths: list[int], bias_std: float, ends: list[list[int]]) -> float:
    return (claims.linear_bound(widths, bias_std, ends) + 1) / 2


MUTANTS["line_regions_linear"] = [{"value": without_the_first_region}, {"value": half_the_slope}]


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
