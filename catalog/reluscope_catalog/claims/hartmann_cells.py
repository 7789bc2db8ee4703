"""Strategies and predicates of the claims on the extrinsic projection, in fractions."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_matrices import Matrix, matrix, product, pseudo_inverse

Cases = SearchStrategy[dict[str, Any]]
Rows = list[list[int]]

_ENTRY = st.sampled_from([1, -1, 2, -2, 3, -3, 0])
_SIZE = st.integers(1, 3)


@st.composite
def identity_cells(draw: Any) -> dict[str, Any]:
    """Return layers with a point x and the pre-activations there, which are positive: b = target - x W."""
    inputs, units, outputs = draw(_SIZE), draw(_SIZE), draw(st.integers(1, 2))
    return {
        "weight": draw(_rows(inputs, units)),
        "target": draw(st.lists(st.integers(1, 3), min_size=units, max_size=units)),
        "x": draw(_row(inputs)),
        "readout": draw(_rows(units, outputs)),
        "constant": draw(_row(outputs)),
    }


@st.composite
def zero_cells(draw: Any) -> dict[str, Any]:
    """Return layers with b = shift W and points of which the first two have all units active, and none."""
    inputs, units, outputs = draw(_SIZE), draw(_SIZE), draw(st.integers(1, 2))
    inner = draw(_row(inputs).filter(any))
    columns = []
    for _ in range(units):
        column = draw(_row(inputs))
        along = sum(v * w for v, w in zip(inner, column, strict=True))
        # inner lies on the positive side of each column, so that both cells exist
        columns.append([v + w for v, w in zip(inner, column, strict=True)] if not along else column)
        if along < 0:
            columns[-1] = [-w for w in column]
    shift = draw(_row(inputs))
    near = [[v - s for v, s in zip(inner, shift, strict=True)], [-v - s for v, s in zip(inner, shift, strict=True)]]
    return {
        "weight": [list(row) for row in zip(*columns, strict=True)],
        "shift": shift,
        "points": near + draw(st.lists(_row(inputs), max_size=3)),
        "readout": draw(_rows(units, outputs)),
        "constant": draw(_row(outputs)),
    }


@st.composite
def independent_columns(draw: Any) -> dict[str, Any]:
    """Return layers whose weight has independent columns: rows of a triangular matrix among others, in any order."""
    units = draw(_SIZE)
    inputs, outputs = draw(st.integers(units, 4)), draw(st.integers(1, 2))
    rows = draw(_rows(inputs, units))
    for place in range(units):
        rows[place][: place + 1] = [*([0] * place), draw(_ENTRY.filter(bool))]
    return {
        "weight": draw(st.permutations(rows)),
        "bias": draw(_row(units)),
        "points": draw(st.lists(_row(inputs), min_size=1, max_size=3)),
        "readout": draw(_rows(units, outputs)),
        "constant": draw(_row(outputs)),
    }


def identity_cell_projection(weight: Rows, target: list[int], x: list[int], readout: Rows, constant: list[int]) -> bool:
    """Return whether c' = c carries x of the identity cell over."""
    w, b = matrix(weight), _bias(weight, target, x)
    return carried(w, b, x, matrix(readout), constant, constant)


def identity_cell_projection_with_bias(
    weight: Rows, target: list[int], x: list[int], readout: Rows, constant: list[int]
) -> bool:
    """Return whether c' = b V + c carries x of the identity cell over."""
    w, b, v = matrix(weight), _bias(weight, target, x), matrix(readout)
    return carried(w, b, x, v, constant, _offset(b, v, constant))


def zero_cell_projection(weight: Rows, shift: list[int], points: Rows, readout: Rows, constant: list[int]) -> bool:
    """Return whether c' = b W+ W V + c carries the points of the identity cell and of the zero cell over."""
    w, v = matrix(weight), matrix(readout)
    b = product(matrix([shift]), w)[0]
    offset = _offset(product(product([b], pseudo_inverse(w)), w)[0], v, constant)
    inside = [x for x in points if len(set(pattern(w, b, x))) == 1]
    return all(carried(w, b, x, v, constant, offset) for x in inside)


def independent_columns_projection(
    weight: Rows, bias: list[int], points: Rows, readout: Rows, constant: list[int]
) -> bool:
    """Return whether c' = b V + c carries every point over."""
    w, v, b = matrix(weight), matrix(readout), matrix([bias])[0]
    offset = _offset(b, v, constant)
    return all(carried(w, b, x, v, constant, offset) for x in points)


def pattern(w: Matrix, b: list[Fraction], x: list[int]) -> list[bool]:
    """Return which units are active: x W + b > 0."""
    return [value > 0 for value in pre_activations(w, b, x)]


def pre_activations(w: Matrix, b: list[Fraction], x: list[int]) -> list[Fraction]:
    """Return x W + b."""
    return added(product(matrix([x]), w)[0], b)


def added(one: Any, other: Any) -> list[Fraction]:
    """Return the sum of two vectors."""
    return [Fraction(x) + Fraction(y) for x, y in zip(one, other, strict=True)]


def carried(w: Matrix, b: list[Fraction], x: list[int], v: Matrix, constant: Any, offset: Any) -> bool:
    """Return whether x^ W V + offset = ReLU(x W + b) V + constant, with x^ = (ReLU(x W + b) - b) W+."""
    y = [max(value, Fraction(0)) for value in pre_activations(w, b, x)]
    projected = product([added(y, [-value for value in b])], pseudo_inverse(w))
    left = added(product(projected, product(w, v))[0], offset)
    return left == added(product([y], v)[0], constant)


# c' = b V + c
def _offset(b: list[Fraction], v: Matrix, constant: list[int]) -> list[Fraction]:
    return added(product([b], v)[0], constant)


def _bias(weight: Rows, target: list[int], x: list[int]) -> list[Fraction]:
    return added(target, [-value for value in product(matrix([x]), matrix(weight))[0]])


def _row(size: int) -> SearchStrategy[list[int]]:
    return st.lists(_ENTRY, min_size=size, max_size=size)


def _rows(rows: int, columns: int) -> SearchStrategy[Rows]:
    return st.lists(_row(columns), min_size=rows, max_size=rows)
