"""Strategies and predicates of the claims of Johansson 2022 on slopes and the power iteration."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope.affine_map import AffineMap
from reluscope.observation import affine
from reluscope_catalog.claims import exact_networks as exact
from reluscope_catalog.claims.exact_matrices import Matrix, transposed
from reluscope_catalog.claims.exact_matrices import product as multiplied
from reluscope_plugins.geometry.operator_norm import operator_norms

Cases = SearchStrategy[dict[str, Any]]

_EPS = torch.finfo(torch.float64).eps
_DIGITS = 60
_TINY = Fraction(1, 10**40)
"""Far above what roots to 60 digits are off by, relative to whole numbers."""


def interior_points() -> Cases:
    """Return networks with a point inside a region, each with the exponent of a norm."""
    return _networks("x", p=st.sampled_from([1, 2, "inf"])).filter(lambda case: _inside(case["layers"], case["x"]))


def starts() -> Cases:
    """Return networks with a point and the vector, not zero, with which the iteration starts."""
    diagonals = st.tuples(st.integers(1, 3), st.integers(0, 3)).map(
        lambda found: [{"weight": [[found[0], 0], [0, found[1]]], "bias": [0, 0]}]
    )
    axes = st.sampled_from([[1, 0], [0, 1]])
    diagonal = st.fixed_dictionaries({"layers": diagonals, "x": st.just([0, 0]), "v": axes})
    return st.one_of(diagonal, _networks("x", "v").filter(lambda case: any(case["v"])))


def generic_starts() -> Cases:
    """Return the same where W_R is not 0 and the vector is not orthogonal to its leading singular vectors."""
    return (
        starts()
        .filter(lambda case: any(map(any, _matrix(case["layers"], case["x"]))))
        .filter(lambda case: _leading_share(_matrix(case["layers"], case["x"]), case["v"]) > 0)
    )


def slope_is_norm(layers: exact.Layers, x: list[int], p: float | str) -> bool:
    """Return whether the greatest directional derivative is the operator norm of W_R, formed and of the library."""
    library = operator_norms(affine(exact.module(layers), torch.tensor([x]).double(), check=False), p)
    weight = exact.product(layers, exact.states(layers[:-1], x))
    found = [value.item() for value in (library.lower, library.upper)]
    inputs = len(x)
    basis = [[int(i == j) for j in range(inputs)] for i in range(inputs)]
    if p == 1:  # the sup of a convex function is at a corner of the ball
        corners = basis + [[-value for value in v] for v in basis]
        slope = max(sum(map(abs, _derivative(layers, x, v))) for v in corners)
        return [slope] * 3 == [*found, max(sum(map(abs, column)) for column in zip(*weight, strict=True))]
    if p == "inf":
        signs = itertools.product([-1, 1], repeat=inputs)
        slope = max(max(map(abs, _derivative(layers, x, v))) for v in signs)
        return [slope] * 3 == [*found, max(sum(map(abs, row)) for row in weight)]
    jacobian = transposed([_derivative(layers, x, v) for v in basis])
    square = _eigenvalues(_gram(jacobian))[0]
    rounding = 200 * len(weight) * inputs * _EPS * square  # of the library's decomposition, squared
    return jacobian == weight and all(abs(Fraction(value) ** 2 - square) <= rounding for value in found)


def forward_backward(layers: exact.Layers, x: list[int], v: list[int]) -> bool:
    """Return whether the estimates converge to the norm at the rate of the power iteration."""
    pattern = exact.states(layers[:-1], x)
    weight = exact.product(layers, pattern)
    share = _leading_share(weight, v)
    if share == 0:
        return False
    square = _eigenvalues(_gram(weight))[0]
    library = affine(exact.module(layers), torch.tensor([x]).double(), check=False)
    vector = [Fraction(value) for value in v]
    for step in range(17):
        u = _forward(layers, pattern, vector)
        estimate = _squares(u) / _squares(vector)
        # sum_i c_i^2 (s_1 - s_i) s_i^2k / (c_1^2 s_1^2k), and (1 - s) s^2k <= 1 / (2k + 1)
        deficit = square * (1 - share) / share / (2 * step + 1)
        if not -_TINY * square <= square - estimate <= deficit + _TINY * square:
            return False
        back = _backward(layers, pattern, u)
        if step == 0 and not _as_library(library, vector, u, back):
            return False
        if not any(back):
            return True
        vector = back
    return True


def forward_backward_generic(layers: exact.Layers, x: list[int], v: list[int]) -> bool:
    """Return the same where the start is not orthogonal to the leading right singular vectors."""
    return forward_backward(layers, x, v)


# networks of one or two inputs with up to two hidden layers; vectors of the size of the input; what else a case has
def _networks(*names: str, **others: SearchStrategy[Any]) -> Cases:
    return st.tuples(st.integers(1, 2), st.lists(st.integers(1, 3), min_size=1, max_size=3)).flatmap(
        lambda size: st.fixed_dictionaries(
            {"layers": exact.chains([size[0], *size[1]]), **{name: exact.vectors(size[0]) for name in names}, **others}
        )
    )


# whether no wall passes through x
def _inside(layers: exact.Layers, x: list[int]) -> bool:
    return all(
        not any(gradient) or exact.applied([gradient], x)[0] + offset
        for (gradient, offset), _ in exact.walls(layers[:-1], x)
    )


# (f(x + t v) - f(x)) / t for a t so small that the pattern stays
def _derivative(layers: exact.Layers, x: list[int], v: exact.Numbers) -> exact.Row:
    pattern = exact.states(layers[:-1], x)
    step = Fraction(1)
    while exact.states(layers[:-1], _along(x, step, v)) != pattern:
        step /= 2
    there, here = exact.preactivations(layers, _along(x, step, v))[-1], exact.preactivations(layers, x)[-1]
    return [(a - b) / step for a, b in zip(there, here, strict=True)]


def _along(x: list[int], step: Fraction, v: exact.Numbers) -> exact.Row:
    return [a + step * b for a, b in zip(x, v, strict=True)]


# greatest and least eigenvalue of a symmetric matrix of whole numbers, 1 x 1 or 2 x 2
def _eigenvalues(matrix: Matrix) -> tuple[Fraction, Fraction]:
    trace = Fraction(sum(matrix[i][i] for i in range(len(matrix))))
    if len(matrix) == 1:
        return trace, trace
    square = int((matrix[0][0] - matrix[1][1]) ** 2 + 4 * matrix[0][1] ** 2)
    root = Fraction(math.isqrt(square * 10 ** (2 * _DIGITS)), 10**_DIGITS)
    return (trace + root) / 2, (trace - root) / 2


def _matrix(layers: exact.Layers, x: list[int]) -> Matrix:
    return exact.product(layers, exact.states(layers[:-1], x))


def _gram(matrix: Matrix) -> Matrix:
    return multiplied(transposed(matrix), matrix)


# squared cosine between v and the leading right singular vectors; 0 exactly where they are orthogonal
def _leading_share(weight: Matrix, v: exact.Numbers) -> Fraction:
    gram = _gram(weight)
    greatest, least = _eigenvalues(gram)
    length, stretched = _squares(v), exact.dot(v, exact.applied(gram, v))
    if greatest == least:
        return Fraction(1)
    eigenvector = _squares(exact.applied(gram, v)) * length == stretched**2
    if eigenvector:
        return Fraction(2 * stretched > length * (greatest + least))
    return (stretched - least * length) / (greatest - least) / length


def _forward(layers: exact.Layers, pattern: exact.States, v: exact.Row) -> exact.Row:
    for layer, diagonal in zip(layers, [*pattern, None], strict=True):
        v = exact.applied(layer["weight"], v)
        v = v if diagonal is None else [z * value for z, value in zip(diagonal, v, strict=True)]
    return v


def _backward(layers: exact.Layers, pattern: exact.States, u: exact.Row) -> exact.Row:
    for layer, diagonal in zip(reversed(layers), [None, *reversed(pattern)], strict=True):
        u = u if diagonal is None else [z * value for z, value in zip(diagonal, u, strict=True)]
        u = exact.applied(transposed(layer["weight"]), u)
    return u


def _as_library(library: AffineMap, v: exact.Numbers, u: exact.Row, back: exact.Row) -> bool:
    there = library.matvec(torch.tensor([[float(value) for value in v]]).double())
    again = library.rmatvec(there)
    return there[0].tolist() == u and again[0].tolist() == back


def _squares(v: exact.Numbers) -> Fraction:
    return exact.dot(v, v)
