"""Strategies and predicates of the claims of the ICERM talk on products and monomials of smooth units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_plugins.architectures.monomial import Monomial, monomial, softplus_derivative

Cases = SearchStrategy[dict[str, Any]]

_SCALE = 2.0**-4
_ACTIVATIONS: dict[str, tuple[Any, Any]] = {
    "softplus": (torch.nn.functional.softplus, lambda at: softplus_derivative(2, float(at))),
    "exp": (torch.exp, math.exp),
    "cos": (torch.cos, lambda at: -math.cos(at)),
}
"""Activation functions, each with its second derivative."""
_ROUNDING = Fraction(5, 4) / 2**52


def products() -> Cases:
    """Return pairs of inputs in eighths, errors 2^-k, activation functions, and where they are expanded."""
    eighths = st.integers(-8, 8)
    sizes = {"x": eighths, "y": eighths, "at": st.integers(-2, 2), "error": st.integers(1, 20)}
    return st.fixed_dictionaries({**sizes, "activation": st.sampled_from(list(_ACTIVATIONS))})


def powers() -> Cases:
    """Return powers of a few variables."""
    return st.fixed_dictionaries({"powers": st.lists(st.integers(1, 3), min_size=1, max_size=3)})


def many_powers() -> Cases:
    """Return powers of several variables."""
    different = st.lists(st.integers(1, 40), min_size=1, max_size=4)
    equal = st.tuples(st.integers(1, 3), st.integers(1, 8)).map(lambda found: [found[0]] * found[1])
    return st.one_of(different, equal).map(lambda found: {"powers": found})


def product_gate(x: int, y: int, at: int, error: int, activation: str) -> bool:
    """Return whether four units come nearer to x y than 2^-error."""
    # On [-1, 1] the fourth derivative f of the activation, over its second at b, leaves lambda^2 max |f| / (3 |f''(b)|)
    # at most: below lambda^2 for softplus (1/8 over 0.1), for exp (e) and for cos (1 over 0.4), where |b| <= 2; that is
    # 0.91 lambda^2 at most, and rounding adds less than 2^-47 / lambda^2. So lambda^2 = 2^-error or half of it.
    model = monomial([1, 1], deep=False, scale=2.0 ** -math.ceil(error / 2), at=float(at))
    gate: Any = model.gates[0]
    function, derivative = _ACTIVATIONS[activation]
    hidden = function(gate[0](torch.tensor([[x / 8, y / 8]], dtype=torch.float64)))
    found = (gate[2](hidden) * softplus_derivative(2, float(at)) / derivative(at)).item()
    return _hidden_units(model) == 4 and abs(found - x * y / 64) < 2.0**-error


def monomial_neurons(powers: list[int]) -> bool:
    """Return whether (sum_i 7 ceil(log2 r_i)) + 4 is no less than the number of variables, which any network needs."""
    return sum(7 * (power - 1).bit_length() for power in powers) + 4 >= len(powers)


def monomial_neurons_each(powers: list[int]) -> bool:
    """Return whether sum_i (7 ceil(log2 r_i) + 4) is no less than the units of a network that makes the monomial."""
    model = monomial(powers, scale=_SCALE)
    return made_by_gates(model) == powers and _hidden_units(model) <= _stated_units(powers)


def monomial_neurons_one_layer(powers: list[int]) -> bool:
    """Return whether no layer of prod_i (r_i + 1) - 1 units and an output with a bias makes the monomial."""
    steps, factors = forward_differences(powers)
    return not makes_monomial(steps, factors, powers, math.prod(math.factorial(power) for power in powers))


def monomial_neurons_one_layer_enough(powers: list[int]) -> bool:
    """Return whether a layer of prod_i (r_i + 1) units makes the monomial."""
    model = monomial(powers, deep=False, scale=_SCALE)
    return _hidden_units(model) == math.prod(power + 1 for power in powers) and _gate_powers(model.gates[0]) == powers


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


# sum_i (7 ceil(log2 r_i) + 4)
def _stated_units(powers: Sequence[int]) -> int:
    return sum(7 * (power - 1).bit_length() + 4 for power in powers)


# The powers of a gate, told by its weights; [] where they make no monomial. The scale is a power of two, so that steps
# are whole numbers without rounding. A factor is a whole number over lambda^d sigma^(d)(b), rounded in this product
# and in the quotient, each once: off by at most 2^-52 of itself, and some smaller terms.
def _gate_powers(gate: Any) -> list[int]:
    steps = [[Fraction(value) / Fraction(_SCALE) for value in row] for row in gate[0].weight.tolist()]
    if any(step.denominator > 1 for row in steps for step in row):
        return []
    powers = [int(step) for step in steps[0]]
    if min(powers) < 0:
        return []
    degree = sum(powers)
    shared = Fraction(2 * _SCALE) ** degree * Fraction(softplus_derivative(degree, gate[0].bias[0].item()))
    scaled = [Fraction(value) * shared for value in gate[2].weight[0].tolist()]
    factors = [round(value) for value in scaled]
    if any(abs(value - whole) > abs(whole) * _ROUNDING for value, whole in zip(scaled, factors, strict=True)):
        return []
    expected = 2**degree * math.prod(math.factorial(power) for power in powers)
    made = makes_monomial([[int(step) for step in row] for row in steps], factors, powers, expected)
    return powers if made else []


def _hidden_units(model: Monomial) -> int:
    gates: Any = model.gates
    return sum(gate[0].out_features for gate in gates)
