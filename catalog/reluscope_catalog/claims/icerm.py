"""Strategies, predicates and samples of the claims of the ICERM talk on expressivity."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn

from reluscope_catalog.claims.exact_regions import UNIT_SQUARE, arrangement_regions, cells, hidden_layers, pieces
from reluscope_plugins.architectures.monomial import Monomial, monomial, softplus_derivative
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.expected_breakpoints import expected_breakpoints_bound
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.rational_pieces import rational_pieces
from reluscope_plugins.regions.region_bounds import hyperplane_regions, montufar_lower_bound

Cases = SearchStrategy[dict[str, Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_SMALL = st.integers(-3, 3)
_SCALE = 2.0**-4


def layers() -> Cases:
    """Return layers of any weights and biases."""

    def of(size: tuple[int, int]) -> Cases:
        row = st.lists(_SMALL, min_size=size[0], max_size=size[0])
        return st.fixed_dictionaries(
            {
                "weights": st.lists(row, min_size=size[1], max_size=size[1]),
                "biases": st.lists(_SMALL, min_size=size[1], max_size=size[1]),
            }
        )

    return st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(of)


def two_layer_widths() -> Cases:
    """Return widths of the first of two layers, the second of which has one unit."""
    return st.fixed_dictionaries({"width": st.integers(1, 200)})


def folding_sizes() -> Cases:
    """Return numbers of inputs, and widths that are no less."""
    line = st.tuples(st.just(1), st.lists(st.integers(1, 5), min_size=1, max_size=3))
    plane = st.tuples(st.just(2), st.lists(st.integers(2, 5), min_size=1, max_size=2))
    return st.one_of(plane, line).map(lambda size: {"inputs": size[0], "widths": size[1]})


def folding_widths() -> Cases:
    """Return widths, of the last layer at least 2."""
    folds = st.lists(st.integers(1, 5), max_size=2)
    return st.tuples(folds, st.integers(2, 5)).map(lambda found: {"widths": [*found[0], found[1]]})


def compositions() -> Cases:
    """Return numbers of compositions."""
    return st.fixed_dictionaries({"compositions": st.integers(1, 8)})


def places() -> Cases:
    """Return numbers from 0 to 1."""
    return st.fixed_dictionaries({"x": st.fractions(0, 1, max_denominator=1000).map(str)})


def segments() -> Cases:
    """Return widths, standard deviations of the biases, and segments."""

    def of(inputs: int) -> Cases:
        point = st.lists(st.integers(-2, 2), min_size=inputs, max_size=inputs)
        return st.fixed_dictionaries(
            {
                "widths": st.lists(st.integers(1, 6), min_size=1, max_size=3),
                "bias_std": st.sampled_from([1.0, 0.5]),
                "ends": st.lists(point, min_size=2, max_size=2, unique_by=tuple),
            }
        )

    return st.integers(1, 3).flatmap(of)


def products() -> Cases:
    """Return pairs of inputs in eighths, where the activation function is expanded, and errors 2^-k."""
    eighths = st.integers(-8, 8)
    return st.fixed_dictionaries({"x": eighths, "y": eighths, "at": st.integers(-2, 2), "error": st.integers(1, 20)})


def powers() -> Cases:
    """Return powers of a few variables."""
    return st.fixed_dictionaries({"powers": st.lists(st.integers(1, 3), min_size=1, max_size=3)})


def many_powers() -> Cases:
    """Return powers of several variables."""
    different = st.lists(st.integers(1, 40), min_size=1, max_size=4)
    equal = st.tuples(st.integers(1, 3), st.integers(1, 8)).map(lambda found: [found[0]] * found[1])
    return st.one_of(different, equal).map(lambda found: {"powers": found})


def one_layer_upper_bound(weights: list[list[int]], biases: list[int]) -> bool:
    """Return whether the layer has at most r(q, p) regions."""
    return arrangement_regions(weights, biases) <= hyperplane_regions(len(weights), len(weights[0]))


def montufar_attained(width: int) -> bool:
    """Return whether most_breakpoints leaves room for so many linear regions of a function of one input."""
    return montufar_lower_bound(1, [width, 1]) <= most_breakpoints(width) + 1


def montufar_attained_patterns(inputs: int, widths: list[int]) -> bool:
    """Return whether a network of these widths has so many activation regions in the unit cube alone."""
    return cube_regions(inputs, widths) >= montufar_lower_bound(inputs, widths)


def montufar_attained_functions(widths: list[int]) -> bool:
    """Return whether the function of some network of these widths has so many pieces on [0, 1] alone."""
    model = unsilenced(widths)
    count = function_pieces(model)
    return count == len(rational_pieces(model)) and count >= montufar_lower_bound(1, widths)


def sawtooth_pieces(compositions: int) -> bool:
    """Return whether the pieces of the network end at k / 2^n, as do those of the mirror map composed n times."""
    found = rational_pieces(sawtooth(compositions))
    count = 2**compositions
    equal = tuple(Fraction(k, count) for k in range(count + 1))
    slopes = tuple(Fraction(count if k % 2 == 0 else -count) for k in range(count))
    return found.edges == composed_edges(compositions) == equal and found.slopes == slopes


def mirror_map_network(x: str) -> bool:
    """Return whether ReLU(2 ReLU(x) - 4 ReLU(x - 1/2)) is the mirror map, also as the library builds it."""
    place = Fraction(x)
    printed = _relu(2 * _relu(place) - 4 * _relu(place - Fraction(1, 2)))
    values = [place]
    for weights, biases in hidden_layers(sawtooth(1)):
        rows = zip(weights, biases, strict=True)
        values = [_relu(sum((w * v for w, v in zip(row, values, strict=True)), Fraction(b))) for row, b in rows]
    return [printed] == values == [mirror(place)]


def crossed_regions(
    generator: np.random.Generator, size: int, widths: list[int], bias_std: float, ends: list[list[int]]
) -> Floats:
    """Return numbers of regions that a segment crosses, of random networks."""
    start, end = np.array(ends, dtype=np.float64)
    found = np.empty(size)
    for number in range(size):
        drawn = [
            (generator.normal(0.0, math.sqrt(2 / before), (before, after)), generator.normal(0.0, bias_std, after))
            for before, after in itertools.pairwise([len(start), *widths])
        ]
        found[number] = _crossed(start, end, drawn)
    return found


def linear_bound(widths: list[int], bias_std: float, ends: list[list[int]]) -> float:
    """Return 1 + |I| sqrt(2 / n0) N / (pi sigma_b)."""
    length = math.dist(*ends)
    return 1 + expected_breakpoints_bound(len(ends[0]), widths, length, bias_std=bias_std)


def product_gate(x: int, y: int, at: int, error: int) -> bool:
    """Return whether four units come nearer to x y than 2^-error."""
    # On [-1, 1] the fourth derivative of softplus, at most 1/8, leaves at most lambda^2 / (24 sigma''(b)), that is less
    # than 0.4 lambda^2 for |b| <= 2; rounding adds less than 2^-48 / lambda^2. So lambda^2 = 2^-error or half of it.
    model = monomial([1, 1], deep=False, scale=2.0 ** -math.ceil(error / 2), at=float(at))
    found = model(torch.tensor([[x / 8, y / 8]], dtype=torch.float64)).item()
    return _hidden_units(model) == 4 and abs(found - x * y / 64) < 2.0**-error


def monomial_neurons(powers: list[int]) -> bool:
    """Return whether (sum_i 7 ceil(log2 r_i)) + 4 is no less than the number of variables, which any network needs."""
    return sum(7 * (power - 1).bit_length() for power in powers) + 4 >= len(powers)


def monomial_neurons_each(powers: list[int]) -> bool:
    """Return whether sum_i (7 ceil(log2 r_i) + 4) is no less than the units of a network that makes the monomial."""
    model = monomial(powers, scale=_SCALE)
    return made_by_gates(model) == powers and _hidden_units(model) <= sum(
        7 * (power - 1).bit_length() + 4 for power in powers
    )


def monomial_neurons_one_layer(powers: list[int]) -> bool:
    """Return whether no layer of prod_i (r_i + 1) - 1 units and an output with a bias makes the monomial."""
    steps, factors = forward_differences(powers)
    return not makes_monomial(steps, factors, powers, math.prod(math.factorial(power) for power in powers))


def monomial_neurons_one_layer_enough(powers: list[int]) -> bool:
    """Return whether a layer of prod_i (r_i + 1) units makes the monomial."""
    model = monomial(powers, deep=False, scale=_SCALE)
    return _hidden_units(model) == math.prod(power + 1 for power in powers) and _gate_powers(model.gates[0]) == powers


def most_breakpoints(width: int) -> int:
    """Return how many breakpoints ReLU(g) has at most, where g is piecewise affine with so many.

    Let g be negative on m bounded and e unbounded intervals. There are m + 1 intervals on which it is positive (or
    fewer), m - 1 + e of which are bounded. A bounded interval has a breakpoint of g inside. So m - 1 + e breakpoints at
    least are where g is positive, m at least where it is negative and lost, and m <= (width + 1 - e) / 2. Left are
    width - m, and 2 m + e zeros: width + m + e in all.
    """
    return max(width + (width + 1 - ends) // 2 + ends for ends in (0, 1, 2))


def cube_regions(inputs: int, widths: list[int]) -> int:
    """Return the number of activation regions of the folding network in the unit interval or square."""
    found = hidden_layers(folding_network(inputs, widths))
    return len(pieces(found, Fraction(0), Fraction(1)) if inputs == 1 else cells(found, UNIT_SQUARE))


@torch.no_grad()
def unsilenced(widths: list[int]) -> nn.Sequential:
    """Return the folding network of one input, of its last layer one unit turned round.

    The units of the last layer switch on one after the other; the second now switches off instead, so that nowhere all
    are silent. Powers of two as weights of the output make it affine with a slope other than zero everywhere.
    """
    model = folding_network(1, widths)
    last: Any = model[-3]
    readout: Any = model[-1]
    last.weight[1] *= -1
    last.bias[1] *= -1
    readout.weight.copy_(2.0 ** torch.arange(widths[-1]))
    return model


def function_pieces(model: nn.Sequential) -> int:
    """Return the number of pieces of a function on [0, 1], told by its slopes and offsets."""
    readout: Any = model[-1]
    factors = [Fraction(value) for value in readout.weight[0].tolist()]
    found = [
        tuple(sum((c * unit[axis] for c, unit in zip(factors, units, strict=True)), Fraction(0)) for axis in (0, 1))
        for _, _, units in pieces(hidden_layers(model), Fraction(0), Fraction(1))
    ]
    return 1 + sum(one != other for one, other in itertools.pairwise(found))


def mirror(x: Fraction) -> Fraction:
    """Return 2 x up to 1/2 and 2 (1 - x) from there."""
    return 2 * x if x <= Fraction(1, 2) else 2 * (1 - x)


def composed_edges(count: int) -> tuple[Fraction, ...]:
    """Return 0, 1, and what the mirror map takes to 1/2 when it is applied less than so many times."""
    found, level = {Fraction(0), Fraction(1)}, {Fraction(1, 2)}
    for _ in range(count):
        found |= level
        level = {place for y in level for place in (y / 2, 1 - y / 2)}
    return tuple(sorted(found))


def makes_monomial(
    steps: Sequence[Sequence[int]], factors: Sequence[int], powers: Sequence[int], expected: int
) -> bool:
    """Return whether sum_k c_k sigma(b + lambda s_k x) is a monomial, times lambda^d sigma^(d)(b), up to order d.

    Taylor's terms are sum_k c_k prod_i s_ki^a_i for each term prod_i x_i^a_i / a_i!: all are to be zero
    but that of the powers.
    """
    degree = sum(powers)
    return all(
        sum(
            c * math.prod(s**a for s, a in zip(step, orders, strict=True))
            for c, step in zip(factors, steps, strict=True)
        )
        == (expected if list(orders) == list(powers) else 0)
        for orders in itertools.product(range(degree + 1), repeat=len(powers))
        if sum(orders) <= degree
    )


def forward_differences(powers: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Return steps and factors of forward differences; the step 0 needs no unit, but a bias of the output."""
    steps = [list(step) for step in itertools.product(*(range(power + 1) for power in powers))]
    signs = [math.prod((-1) ** (r - k) * math.comb(r, k) for r, k in zip(powers, step, strict=True)) for step in steps]
    return steps, signs


def made_by_gates(model: Monomial) -> list[int]:
    """Return the powers of the monomial that the gates make, each taken for the product or square that it tends to."""
    variables = model.variables
    made = [[int(i == j) for j in range(variables)] for i in range(variables)]
    for gate, operands in zip(model.gates, model.operands, strict=True):
        orders = _gate_powers(gate)
        made.append(
            [sum(r * made[place][j] for r, place in zip(orders, operands, strict=True)) for j in range(variables)]
        )
    return made[-1]


# The powers of a gate, told by its weights; [] where they make no monomial.
def _gate_powers(gate: Any) -> list[int]:
    steps = [[round(value) for value in row] for row in (gate[0].weight / _SCALE).tolist()]
    powers = steps[0]
    degree = sum(powers)
    shared = (2 * _SCALE) ** degree * softplus_derivative(degree, gate[0].bias[0].item())
    factors = [round(value) for value in (gate[2].weight[0] * shared).tolist()]
    expected = 2**degree * math.prod(math.factorial(power) for power in powers)
    return powers if makes_monomial(steps, factors, powers, expected) else []


def _hidden_units(model: Monomial) -> int:
    gates: Any = model.gates
    return sum(gate[0].out_features for gate in gates)


def _relu(x: Fraction) -> Fraction:
    return max(x, Fraction(0))


def _crossed(start: Floats, end: Floats, drawn: Sequence[tuple[Floats, Floats]]) -> int:
    knots = np.array([0.0, 1.0])
    for depth in range(len(drawn)):
        values = start + knots[:, None] * (end - start)
        for weight, bias in drawn[:depth]:
            values = np.maximum(values @ weight + bias, 0.0)
        values = values @ drawn[depth][0] + drawn[depth][1]
        interval, unit = np.nonzero(values[:-1] * values[1:] < 0)
        left, right = values[interval, unit], values[interval + 1, unit]
        zeros = knots[interval] + (knots[interval + 1] - knots[interval]) * left / (left - right)
        knots = np.sort(np.concatenate((knots, zeros)))
    return len(knots) - 1
