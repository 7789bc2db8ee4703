"""A layer of ReLUs with a readout in fractions, and where steps of an optimizer take it."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

Rows = list[list[int]]


class Layer(NamedTuple):
    """A layer of ReLUs with a readout: F(x) = sum over i of readout_i ReLU(weight_i x + bias_i)."""

    weight: list[list[Fraction]]
    bias: list[Fraction]
    readout: list[Fraction]


def read(weight: Rows, bias: list[int], readout: list[int]) -> Layer:
    """Read a layer.

    Args:
        weight: `(unit, input)`.
        bias: `(unit,)`.
        readout: `(unit,)`.

    Returns:
        The same in fractions.
    """
    return Layer([list(map(Fraction, row)) for row in weight], list(map(Fraction, bias)), list(map(Fraction, readout)))


def distance(before: Layer, after: Layer, data: Rows) -> Fraction:
    """Compute the share of samples whose pattern differs.

    Args:
        before: A layer.
        after: The same elsewhere.
        data: Samples `(sample, input)`.

    Returns:
        The share.

    References:
        Hartmann 2025, equation 3.15.
    """
    changed = [[y > 0 for y in values(before, x)] != [y > 0 for y in values(after, x)] for x in data]
    return Fraction(sum(changed), len(data))


def stepped(layer: Layer, data: Rows, targets: list[int], eta: Fraction) -> Layer:
    """Step along the gradient of Q, half the summed squares of F(x) - t, in all parameters.

    Args:
        layer: Where to start.
        data: Samples `(sample, input)`.
        targets: t of each.
        eta: The gradient is added so often, as in Hartmann 2025, equation 3.14.

    Returns:
        Where the step ends.
    """
    weight, bias, readout = [list(row) for row in layer.weight], list(layer.bias), list(layer.readout)
    for x, target in zip(data, targets, strict=True):
        outputs = [max(y, Fraction(0)) for y in values(layer, x)]
        error = sum((v * y for v, y in zip(layer.readout, outputs, strict=True)), Fraction(-target))
        for unit, output in enumerate(outputs):
            slope = eta * error * layer.readout[unit] * (output > 0)
            weight[unit] = [w + slope * v for w, v in zip(weight[unit], x, strict=True)]
            bias[unit] += slope
            readout[unit] += eta * error * output
    return Layer(weight, bias, readout)


def moved(layer: Layer, direction: Rows, bias_direction: list[int], eta: Fraction) -> Layer:
    """Step along a direction.

    Args:
        layer: Where to start.
        direction: Of the weights, `(unit, input)`; further rows are ignored.
        bias_direction: Of the biases; further ones are ignored.
        eta: It is added so often.

    Returns:
        Where the step ends.
    """
    weight = [
        [w + eta * d for w, d in zip(row, way, strict=True)] for row, way in zip(layer.weight, direction, strict=False)
    ]
    bias = [b + eta * d for b, d in zip(layer.bias, bias_direction, strict=False)]
    return Layer(weight, bias, layer.readout)


def values(layer: Layer, x: list[int]) -> list[Fraction]:
    """Compute the pre-activations of a sample.

    Args:
        layer: The layer.
        x: The sample.

    Returns:
        One for each unit.
    """
    rows = zip(layer.weight, layer.bias, strict=True)
    return [sum((w * v for w, v in zip(row, x, strict=True)), b) for row, b in rows]
