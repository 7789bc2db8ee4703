"""Small dense ReLU networks of whole numbers, evaluated in fractions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn

from reluscope_catalog.claims.exact_matrices import Matrix, matrix
from reluscope_catalog.claims.exact_matrices import product as multiplied

Row = list[Fraction]
Numbers = Sequence[int | Fraction]
Layers = list[dict[str, Any]]
"""Each `{"weight": rows, "bias": numbers}`, from the first; ReLUs are between them."""
States = list[list[int]]
"""1 where a unit is active, else 0; one list for each hidden layer."""
Wall = tuple[Row, Fraction]
"""Gradient g and offset c of the affine function g y + c."""

ENTRIES = st.integers(-3, 3)


def rows(height: int, width: int) -> SearchStrategy[list[list[int]]]:
    """Return matrices of whole numbers.

    Args:
        height: Number of rows.
        width: Number of columns.

    Returns:
        Their strategy.
    """
    return st.lists(vectors(width), min_size=height, max_size=height)


def vectors(size: int) -> SearchStrategy[list[int]]:
    """Return vectors of whole numbers.

    Args:
        size: Number of entries.

    Returns:
        Their strategy.
    """
    return st.lists(ENTRIES, min_size=size, max_size=size)


def chains(widths: Sequence[int]) -> SearchStrategy[Layers]:
    """Return layers of given widths.

    Args:
        widths: Number of inputs, then of units of each layer.

    Returns:
        Their strategy.
    """
    layer = [
        st.fixed_dictionaries({"weight": rows(after, before), "bias": vectors(after)})
        for before, after in itertools.pairwise(widths)
    ]
    return st.tuples(*layer).map(list)


def applied(weight: Sequence[Numbers], x: Numbers) -> Row:
    """Multiply a matrix with a vector.

    Args:
        weight: The matrix.
        x: The vector.

    Returns:
        The product.
    """
    return [dot(row, x) for row in weight]


def dot(a: Numbers, b: Numbers) -> Fraction:
    """Multiply two vectors.

    Args:
        a: The first.
        b: The second.

    Returns:
        Their inner product.
    """
    return Fraction(sum(x * y for x, y in zip(a, b, strict=True)))


def preactivations(layers: Layers, x: Numbers) -> list[Row]:
    """Evaluate W_l f^(l - 1)(x) + b_l.

    Args:
        layers: The layers.
        x: The input.

    Returns:
        One vector for each layer; the last is the output of a network whose last layer is its output.
    """
    found = []
    for layer in layers:
        z = [value + bias for value, bias in zip(applied(layer["weight"], x), layer["bias"], strict=True)]
        found.append(z)
        x = [max(value, Fraction(0)) for value in z]
    return found


def states(hidden: Layers, x: Numbers) -> States:
    """Find which units are active, output > 0.

    Args:
        hidden: The hidden layers.
        x: The input.

    Returns:
        The activation pattern.
    """
    return [[int(value > 0) for value in z] for z in preactivations(hidden, x)]


def product(layers: Layers, pattern: States) -> Matrix:
    """Form W_n Z_(n - 1) W_(n - 1) ... Z_1 W_1.

    Args:
        layers: The layers, the last one the output.
        pattern: The diagonals of the Z.

    Returns:
        The matrix.
    """
    found = matrix(layers[0]["weight"])
    for diagonal, layer in zip(pattern, layers[1:], strict=True):
        found = multiplied(
            layer["weight"], [[z * value for value in row] for z, row in zip(diagonal, found, strict=True)]
        )
    return found


def affine_units(hidden: Layers, pattern: States) -> Iterator[list[Wall]]:
    """Find the affine functions that units would be if the pattern held everywhere.

    Args:
        hidden: The hidden layers.
        pattern: At least of all of them but the last.

    Yields:
        Those of the pre-activations of each layer.
    """
    inputs = len(hidden[0]["weight"][0]) if hidden else 0
    gradient = [[Fraction(i == j) for j in range(inputs)] for i in range(inputs)]
    offset = [Fraction(0)] * inputs
    for number, layer in enumerate(hidden):
        gradient = multiplied(matrix(layer["weight"]), gradient)
        offset = [value + bias for value, bias in zip(applied(layer["weight"], offset), layer["bias"], strict=True)]
        yield list(zip(gradient, offset, strict=True))
        if number + 1 < len(hidden):
            gradient = [[z * value for value in row] for z, row in zip(pattern[number], gradient, strict=True)]
            offset = [z * value for z, value in zip(pattern[number], offset, strict=True)]


def walls(hidden: Layers, x: Numbers) -> list[tuple[Wall, bool]]:
    """Find the half-spaces whose intersection is the activation region of a point.

    Args:
        hidden: The hidden layers.
        x: The point.

    Returns:
        Of each unit an affine function, and whether the region has it above 0 (an active unit) or at least 0.
    """
    pattern = states(hidden, x)
    return [
        ((gradient, offset), True) if active else (([-value for value in gradient], -offset), False)
        for units, layer in zip(affine_units(hidden, pattern), pattern, strict=True)
        for (gradient, offset), active in zip(units, layer, strict=True)
    ]


def module(layers: Layers, *, output: bool = True) -> nn.Sequential:
    """Build the network in float64, where whole numbers below 2^53 are exact.

    Args:
        layers: The layers.
        output: Whether the last one is the output; else a ReLU follows it too.

    Returns:
        The network.
    """
    parts: list[nn.Module] = []
    for layer in layers:
        weight = torch.tensor([[float(value) for value in row] for row in layer["weight"]], dtype=torch.float64)
        linear = nn.Linear(weight.shape[1], weight.shape[0], dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(torch.tensor([float(value) for value in layer["bias"]], dtype=torch.float64))
        parts += [linear, nn.ReLU()]
    return nn.Sequential(*(parts[:-1] if output else parts)).eval()
