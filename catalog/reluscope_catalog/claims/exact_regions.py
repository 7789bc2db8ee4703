"""Linear regions of small networks, counted in fractions."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import nn

Form = tuple[Fraction, ...]
"""Slope along each axis, then the offset."""
Point = tuple[Fraction, Fraction]
Layer = tuple[Sequence[Sequence[Fraction | int]], Sequence[Fraction | int]]
"""Weights and biases."""
Piece = tuple[Fraction | None, Fraction | None, list[Form]]
"""Where it begins and ends, None being infinite, and the units there."""

UNIT_SQUARE: list[Point] = [(Fraction(x), Fraction(y)) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))]


def arrangement_regions(weights: Sequence[Sequence[int]], biases: Sequence[int]) -> int:
    """Count the regions into which the hyperplanes of one layer divide the whole space.

    A further hyperplane adds as many regions as the others cut it into. A row of zeros is no hyperplane.

    Args:
        weights: Rows of one length, `(unit, input)`.
        biases: One for each row.

    Returns:
        The number of regions.

    Example:
        >>> arrangement_regions([[1, 0], [0, 1], [1, 1]], [0, 0, -1]), arrangement_regions([[1], [2]], [0, 0])
        (7, 2)
    """
    return _divided([[*row, bias] for row, bias in zip(weights, biases, strict=True)])


def pieces(layers: Sequence[Layer], start: Fraction | None = None, stop: Fraction | None = None) -> list[Piece]:
    """Divide an interval into the pieces on which no unit changes its sign.

    Args:
        layers: Those with a ReLU behind, for an input of one number.
        start: Where the interval begins; None for minus infinity.
        stop: Where it ends; None for infinity.

    Returns:
        The pieces in order, each with what the last layer gives, after its ReLU.

    Example:
        >>> [(end, units[0]) for _, end, units in pieces([([[2]], [-1])])]
        [(Fraction(1, 2), (Fraction(0, 1), Fraction(0, 1))), (None, (Fraction(2, 1), Fraction(-1, 1)))]
    """
    found: list[Piece] = [(start, stop, [(Fraction(1), Fraction(0))])]
    for layer in layers:
        cut: list[Piece] = []
        for begin, end, units in found:
            forms = _affine(layer, units)
            zeros = {-offset / slope for slope, offset in forms if slope}
            inner = sorted(t for t in zeros if (begin is None or t > begin) and (end is None or t < end))
            for left, right in itertools.pairwise([begin, *inner, end]):
                middle = _between(left, right)
                cut.append((left, right, [_rectified(form, form[0] * middle + form[1]) for form in forms]))
        found = cut
    return found


def cells(layers: Sequence[Layer], window: Sequence[Point]) -> list[tuple[list[Point], list[Form]]]:
    """Divide a convex polygon of the plane into the cells in which no unit changes its sign.

    Args:
        layers: Those with a ReLU behind, for an input of two numbers.
        window: Corners in turn.

    Returns:
        Corners of each cell, and what the last layer gives there, after its ReLU.

    Example:
        >>> len(cells([([[4, 0], [0, 4], [4, 4]], [-1, -1, -3])], UNIT_SQUARE))
        7
    """
    zero, one = Fraction(0), Fraction(1)
    found: list[tuple[list[Point], list[Form]]] = [(list(window), [(one, zero, zero), (zero, one, zero)])]
    for layer in layers:
        cut = []
        for cell, units in found:
            forms = _affine(layer, units)
            parts = [cell]
            for form in forms:
                parts = [half for part in parts for half in _halves(part, form)]
            cut += [
                (part, [_rectified(form, sum(_at(form, point) for point in part)) for form in forms]) for part in parts
            ]
        found = cut
    return found


def hidden_layers(model: nn.Sequential) -> list[Layer]:
    """Read the layers of a chain that have a ReLU behind, in fractions.

    Args:
        model: Linear layers and ReLUs.

    Returns:
        Weights and biases of each.
    """
    linear = [first for first, second in itertools.pairwise(model) if isinstance(second, nn.ReLU)]
    return [(_fractions(layer.weight), _fractions(layer.bias.unsqueeze(0))[0]) for layer in linear]  # type: ignore[arg-type, operator]


def _fractions(values: torch.Tensor) -> list[list[Fraction]]:
    return [[Fraction(value) for value in row] for row in values.tolist()]


def _divided(walls: list[list[int]]) -> int:
    walls = [wall for wall in walls if any(wall[:-1])]
    if not walls:
        return 1
    *others, last = walls
    axis = next(place for place, value in enumerate(last[:-1]) if value)
    traces = []
    for wall in others:
        trace = [value * last[axis] - wall[axis] * own for value, own in zip(wall, last, strict=True)]
        if not any(trace):  # the same hyperplane
            return _divided(others)
        traces.append(trace[:axis] + trace[axis + 1 :])
    return _divided(others) + _divided(traces)


def _affine(layer: Layer, units: Sequence[Form]) -> list[Form]:
    forms = []
    for row, bias in zip(*layer, strict=True):
        values = [
            sum((w * unit[axis] for w, unit in zip(row, units, strict=True)), Fraction(0))
            for axis in range(len(units[0]))
        ]
        forms.append((*values[:-1], values[-1] + bias))
    return forms


def _rectified(form: Form, value: Fraction | int) -> Form:
    return form if value > 0 else (Fraction(0),) * len(form)


def _between(left: Fraction | None, right: Fraction | None) -> Fraction:
    if left is None:
        return Fraction(0) if right is None else right - 1
    return left + 1 if right is None else (left + right) / 2


def _at(form: Form, point: Point) -> Fraction:
    return form[0] * point[0] + form[1] * point[1] + form[2]


def _halves(polygon: list[Point], form: Form) -> list[list[Point]]:
    values = [_at(form, point) for point in polygon]
    if min(values) >= 0 or max(values) <= 0:
        return [polygon]
    above: list[Point] = []
    below: list[Point] = []
    for number, (point, value) in enumerate(zip(polygon, values, strict=True)):
        if value >= 0:
            above.append(point)
        if value <= 0:
            below.append(point)
        other, there = polygon[number - len(polygon) + 1], values[number - len(polygon) + 1]
        if value * there < 0:
            share = value / (value - there)
            cut = (point[0] + share * (other[0] - point[0]), point[1] + share * (other[1] - point[1]))
            above.append(cut)
            below.append(cut)
    return [above, below]
