"""Matrices of fractions: product, inverse and pseudo-inverse without rounding."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

Matrix = list[list[Fraction]]
Numbers = Sequence[int | str | Fraction]


def matrix(rows: Sequence[Numbers]) -> Matrix:
    """Read a matrix.

    Args:
        rows: Whole numbers, fractions, or text such as "1/3", `(row, column)`.

    Returns:
        The same in fractions.
    """
    return [[Fraction(value) for value in row] for row in rows]


def transposed(a: Matrix) -> Matrix:
    """Exchange rows and columns.

    Args:
        a: A matrix with at least one row.

    Returns:
        Its transpose.
    """
    return [list(column) for column in zip(*a, strict=True)]


def product(a: Matrix, b: Matrix) -> Matrix:
    """Multiply two matrices.

    Args:
        a: `(row, inner)`.
        b: `(inner, column)`, with at least one row.

    Returns:
        `(row, column)`.

    Example:
        >>> product(matrix([[1, 2]]), matrix([[3], [4]]))
        [[Fraction(11, 1)]]
    """
    columns = transposed(b)
    return [[sum((x * y for x, y in zip(row, column, strict=True)), Fraction(0)) for column in columns] for row in a]


def reduced(a: Matrix) -> tuple[Matrix, list[int]]:
    """Bring a matrix into reduced row echelon form.

    Args:
        a: `(row, column)`.

    Returns:
        Its rows that are not zero, and the columns of their pivots.
    """
    rows, pivots = [list(row) for row in a], list[int]()
    for column in range(len(a[0])):
        top = len(pivots)
        found = next((place for place in range(top, len(rows)) if rows[place][column]), None)
        if found is None:
            continue
        rows[top], rows[found] = rows[found], rows[top]
        rows[top] = [value / rows[top][column] for value in rows[top]]
        for place, row in enumerate(rows):
            if place != top and row[column]:
                rows[place] = [x - row[column] * y for x, y in zip(row, rows[top], strict=True)]
        pivots.append(column)
    return rows[: len(pivots)], pivots


def inverse(a: Matrix) -> Matrix:
    """Invert a matrix.

    Args:
        a: Square, of full rank.

    Returns:
        Its inverse.
    """
    size = len(a)
    rows, _ = reduced([[*row, *(Fraction(i == j) for j in range(size))] for i, row in enumerate(a)])
    return [row[size:] for row in rows]


def pseudo_inverse(a: Matrix) -> Matrix:
    """Compute the pseudo-inverse from a factorisation into two matrices of full rank.

    Args:
        a: `(row, column)`, of any rank.

    Returns:
        `(column, row)`.

    References:
        MacDuffee 1946; Ben-Israel & Greville 2003, theorem 1.3.5.

    Example:
        >>> pseudo_inverse(matrix([[3, 4]]))
        [[Fraction(3, 25)], [Fraction(4, 25)]]
    """
    right, pivots = reduced(a)
    if not pivots:
        return [[Fraction(0)] * len(a) for _ in a[0]]
    left = [[row[column] for column in pivots] for row in a]
    left_t, right_t = transposed(left), transposed(right)
    inner = product(inverse(product(right, right_t)), inverse(product(left_t, left)))
    return product(product(right_t, inner), left_t)
