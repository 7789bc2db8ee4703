"""Activation patterns of small networks with whole weights, all that there are, without rounding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

Affine = tuple[int, ...]
"""A function of the input: its coefficients, and its constant last."""
Constraint = tuple[Affine, bool]
"""The function is above 0 (True), or at least 0 (False)."""
Layer = tuple[Sequence[Sequence[int]], Sequence[int]]
"""Weights `(unit, input)` and biases `(unit,)`."""
Pattern = tuple[tuple[bool, ...], ...]


def feasible(constraints: Sequence[Constraint]) -> bool:
    """Say whether some point fulfils all constraints, by the elimination of one variable after the other.

    Args:
        constraints: Affine functions in the same variables.

    Returns:
        Whether there is one.

    References:
        Fourier 1826; Motzkin 1936.

    Example:
        >>> feasible([((1, 0), True), ((-1, 0), True)]), feasible([((1, 0), False), ((-1, 0), False)])
        (False, True)
    """
    rest = set(constraints)
    for _ in range(len(constraints[0][0]) - 1 if constraints else 0):
        lower = [one for one in rest if one[0][0] > 0]
        upper = [one for one in rest if one[0][0] < 0]
        rest = {(function[1:], strict) for function, strict in rest if not function[0]}
        for low, low_strict in lower:
            for high, high_strict in upper:
                joined = tuple(low[0] * y - high[0] * x for x, y in zip(low[1:], high[1:], strict=True))
                rest.add((joined, low_strict or high_strict))
    return all(function[-1] > 0 or (function[-1] == 0 and not strict) for function, strict in rest)


def patterns(layers: Sequence[Layer]) -> set[Pattern]:
    """List the patterns that a network has anywhere: 1 where a pre-activation is above 0, else 0.

    Args:
        layers: Each followed by a ReLU; at least one, with at least one unit each.

    Returns:
        The patterns of all layers together, `(layer, unit)`.

    References:
        Hartmann 2025, definitions 1 and 3.

    Example:
        >>> len(patterns([(((1, 0), (0, 1), (1, 1)), (0, 0, -1))]))
        7
    """
    size = len(layers[0][0][0])
    inputs = [tuple(int(i == j) for j in range(size + 1)) for i in range(size)]
    return set(_patterns(layers, inputs, [], ()))


def at(layers: Sequence[Layer], x: Sequence[int | Fraction]) -> Pattern:
    """Compute the pattern at a point.

    Args:
        layers: Each followed by a ReLU.
        x: Whole numbers or fractions.

    Returns:
        The patterns of all layers, `(layer, unit)`.
    """
    found, values = list[tuple[bool, ...]](), [Fraction(value) for value in x]
    for weight, bias in layers:
        before = [
            sum((w * v for w, v in zip(row, values, strict=True)), Fraction(b))
            for row, b in zip(weight, bias, strict=True)
        ]
        found.append(tuple(value > 0 for value in before))
        values = [max(value, Fraction(0)) for value in before]
    return tuple(found)


def _patterns(
    layers: Sequence[Layer], values: list[Affine], fulfilled: list[Constraint], so_far: Pattern
) -> Iterator[Pattern]:
    if not layers:
        yield so_far
        return
    weight, bias = layers[0]
    size = len(values[0])
    before = [
        tuple(
            sum(w * value[place] for w, value in zip(row, values, strict=True)) + (b if place == size - 1 else 0)
            for place in range(size)
        )
        for row, b in zip(weight, bias, strict=True)
    ]
    for signs, constraints in _signs(before, fulfilled, ()):
        after = [function if on else (0,) * size for function, on in zip(before, signs, strict=True)]
        yield from _patterns(layers[1:], after, constraints, (*so_far, signs))


def _signs(
    functions: list[Affine], fulfilled: list[Constraint], so_far: tuple[bool, ...]
) -> Iterator[tuple[tuple[bool, ...], list[Constraint]]]:
    if len(so_far) == len(functions):
        yield so_far, fulfilled
        return
    function = functions[len(so_far)]
    for on in (False, True):
        constraint = (function if on else tuple(-value for value in function), on)
        if feasible([*fulfilled, constraint]):
            yield from _signs(functions, [*fulfilled, constraint], (*so_far, on))
