"""Strategies and predicates of the claims of Johansson 2022 on the local affine map and its singular values."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope.observation import affine
from reluscope_catalog.claims import exact_networks as exact
from reluscope_catalog.claims.exact_matrices import Matrix
from reluscope_plugins.geometry.perturbation import hidden_unit_norms, singular_value_difference

Cases = SearchStrategy[dict[str, Any]]

_EPS = torch.finfo(torch.float64).eps
_SIZES = st.integers(1, 4)


def points() -> Cases:
    """Return networks with up to two hidden layers, each with a point and a direction to another of its region."""
    found: Cases = st.lists(st.integers(1, 3), min_size=2, max_size=4).flatmap(
        lambda widths: st.fixed_dictionaries(
            {"layers": exact.chains(widths), "x": exact.vectors(widths[0]), "direction": exact.vectors(widths[0])}
        )
    )
    return found.filter(lambda case: _ahead(**case) != case["x"] and any(map(any, _affine(case["layers"], case["x"]))))


def switches() -> Cases:
    """Return networks with an activation pattern and the unit that switches, which is seen at the output."""

    def of(widths: list[int]) -> Cases:
        hidden = widths[1:-1]
        layers = exact.chains(widths)
        pattern = st.tuples(*(st.lists(st.integers(0, 1), min_size=n, max_size=n) for n in hidden)).map(list)
        units = [[layer, unit] for layer, n in enumerate(hidden) for unit in range(n)]
        return st.fixed_dictionaries({"layers": layers, "pattern": pattern, "switch": st.sampled_from(units)})

    found = st.lists(st.integers(1, 3), min_size=3, max_size=4).flatmap(of)
    return found.filter(lambda case: any(map(any, _difference(**case))))


def hidden_units() -> Cases:
    """Return weights of networks with one hidden layer, each with a hidden unit."""
    return st.tuples(_SIZES, _SIZES, _SIZES).flatmap(lambda sizes: _hidden_unit(*sizes))


def hidden_units_as_outputs() -> Cases:
    """Return the same with as many hidden units as outputs, so that W_2 has a row for each hidden unit."""
    return st.tuples(st.integers(1, 2), _SIZES).flatmap(lambda sizes: _hidden_unit(sizes[0], sizes[1], sizes[1]))


def affine_product(layers: exact.Layers, x: list[int], direction: list[int]) -> bool:
    """Return whether f(y) - f(x) = W (y - x) for a y in the region of x, and W is what the library gives."""
    weight, y = _affine(layers, x), _ahead(layers, x, direction)
    there, here = exact.preactivations(layers, y)[-1], exact.preactivations(layers, x)[-1]
    change = [a - b for a, b in zip(there, here, strict=True)]
    moved = [a - b for a, b in zip(y, x, strict=True)]
    library = affine(exact.module(layers), torch.tensor([x], dtype=torch.float64), check=False).weight[0]
    return change == exact.applied(weight, moved) and library.tolist() == weight


def perturbation_bound(layers: exact.Layers, pattern: exact.States, switch: list[int]) -> bool:
    """Return whether the singular values move by at most the Frobenius norm of E, and W_R = W_R' + E."""
    layer, unit = switch
    beyond = [list(row) for row in pattern]
    beyond[layer][unit] = 1 - beyond[layer][unit]
    near, far = (exact.product(layers, diagonals) for diagonals in (pattern, beyond))
    e = _difference(layers, pattern, switch)
    if any(a - b != c for rows in zip(near, far, e, strict=True) for a, b, c in zip(*rows, strict=True)):
        return False
    maps = [torch.tensor([[float(value) for value in row] for row in a]).double() for a in (near, far)]
    # Golub-Kahan: the computed values are those of a matrix off by at most c m n eps of its norm, c a small integer
    rounding = 100 * maps[0].numel() * _EPS * sum(float(torch.linalg.vector_norm(a)) for a in maps)
    return singular_value_difference(*maps).item() <= math.sqrt(_squares(e)) + rounding


def perturbation_norm(inward: list[list[int]], outward: list[list[int]], unit: int) -> bool:
    """Return whether the squared norm is the sum over i and j of (W_2)_kj^2 (W_1)_ki^2."""
    printed = sum(outward[unit][j] ** 2 * w**2 for w in inward[unit] for j in range(len(outward)))
    return _squares(_perturbation(inward, outward, unit)) == printed


def perturbation_norm_columns(inward: list[list[int]], outward: list[list[int]], unit: int) -> bool:
    """Return whether the squared norm is the sum over i and j of (W_2)_jk^2 (W_1)_ki^2, and so says the library."""
    found = sum(row[unit] ** 2 * w**2 for w in inward[unit] for row in outward)
    library = hidden_unit_norms(torch.tensor(inward).double(), torch.tensor(outward).double())[unit].item()
    # two norms of up to 4 squares and their product, squared: each norm off by (4 / 2 + 1) eps of itself
    rounding = 20 * _EPS * found
    return _squares(_perturbation(inward, outward, unit)) == found and abs(Fraction(library) ** 2 - found) <= rounding


# W_n Z_(n-1) ... (Z_l - Z'_l) ... Z_1 W_1
def _difference(layers: exact.Layers, pattern: exact.States, switch: list[int]) -> Matrix:
    layer, unit = switch
    diagonals = [list(row) for row in pattern]
    diagonals[layer] = [(2 * z - 1) * (k == unit) for k, z in enumerate(pattern[layer])]
    return exact.product(layers, diagonals)


# W_R of the region of x
def _affine(layers: exact.Layers, x: list[int]) -> Matrix:
    return exact.product(layers, exact.states(layers[:-1], x))


# a point of the region of x in that direction; x itself where there is none
def _ahead(layers: exact.Layers, x: list[int], direction: list[int]) -> exact.Row:
    steps = [*(Fraction(1, 2**k) for k in range(20)), Fraction(0)]
    ahead = ([a + step * d for a, d in zip(x, direction, strict=True)] for step in steps)
    return next(y for y in ahead if exact.states(layers[:-1], y) == exact.states(layers[:-1], x))


def _hidden_unit(inputs: int, hidden: int, outputs: int) -> Cases:
    weights = {"inward": exact.rows(hidden, inputs), "outward": exact.rows(outputs, hidden)}
    return st.fixed_dictionaries({**weights, "unit": st.integers(0, hidden - 1)})


def _squares(a: Matrix) -> Fraction:
    return sum((value**2 for row in a for value in row), Fraction(0))


# W_2 (Z - Z') W_1, where Z and Z' differ in one element
def _perturbation(inward: list[list[int]], outward: list[list[int]], unit: int) -> Matrix:
    layers = [{"weight": inward}, {"weight": outward}]
    return exact.product(layers, [[int(k == unit) for k in range(len(inward))]])
