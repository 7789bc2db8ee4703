"""The pieces of a dense ReLU network of one variable, in rational numbers."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.architectures.mlp import FlattenFeatures

_Affine = tuple[int, int]
"""Slope and offset, in units of a power of two that all units of a layer share."""
_Linear = tuple[list[list[int]], list[int], int]
"""Weights and biases in units of a power of two, and minus its exponent."""


@dataclasses.dataclass(frozen=True)
class Pieces:
    """A continuous function on an interval, affine between neighbouring edges.

    Attributes:
        edges: Where pieces begin and end: one more than there are pieces, in ascending order.
        slopes: Slope of each piece; neighbours differ.
        offsets: Value that each piece would have at 0.
    """

    edges: tuple[Fraction, ...]
    slopes: tuple[Fraction, ...]
    offsets: tuple[Fraction, ...]

    def __len__(self) -> int:
        return len(self.slopes)


def rational_pieces(model: nn.Module, start: float = 0.0, stop: float = 1.0) -> Pieces:
    """Find the pieces of a network from one input to one output, exactly.

    Floating-point numbers are rational, so the network that they define has rational breakpoints and slopes: no
    rounding, no tolerance. Pieces are divided where the slope changes, not where a pattern does: a unit that turns on
    or off and does not move the output makes no piece.

    The time grows with the pieces, with the products of a layer's widths, and with the digits of the numbers, which
    grow with the depth: meant for small networks, such as a sawtooth (0.1 s for 64 pieces of perturbed weights).

    Args:
        model: An `nn.Sequential` of linear layers and ReLUs with one input and one output, such as `sawtooth` and
            `mlp([1, ..., 1])` give.
        start: Where the interval begins.
        stop: Where it ends.

    Returns:
        The pieces.

    Raises:
        ObservationError: If the network is another one, its weights are not finite, or the interval is empty.

    Example:
        >>> from reluscope_plugins.architectures.sawtooth import sawtooth
        >>> pieces = rational_pieces(sawtooth(1))
        >>> len(pieces), pieces.edges[1], pieces.slopes[0], pieces.slopes[1]
        (2, Fraction(1, 2), Fraction(2, 1), Fraction(-2, 1))
    """
    if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
        raise ObservationError(f"the interval is [{start}, {stop}], expected two finite numbers, the lesser first")
    edges = [Fraction(start), Fraction(stop)]
    functions: list[list[_Affine]] = [[(1, 0)]]  # of each piece, of each unit
    exponent = 0
    for layer in _layers(model):
        if layer is None:
            edges, functions = _rectified(edges, functions)
        else:
            weights, biases, power = layer
            shifted = [bias << exponent for bias in biases]
            functions = [
                [_combined(*unit, units) for unit in zip(weights, shifted, strict=True)] for units in functions
            ]
            exponent += power
    if len(functions[0]) != 1:
        raise ObservationError(f"the network has {len(functions[0])} outputs, expected one; choose one of them")
    return _merged(edges, [units[0] for units in functions], 1 << exponent)


# linear layers as weights and biases, a ReLU as None
def _layers(model: nn.Module) -> list[_Linear | None]:
    layers: list[_Linear | None] = []
    width = 1
    for module in model if isinstance(model, nn.Sequential) else [model]:
        if isinstance(module, nn.Flatten | FlattenFeatures):
            continue
        if isinstance(module, nn.ReLU):
            layers.append(None)
            continue
        if not isinstance(module, nn.Linear):
            raise ObservationError(
                f"the network has a {type(module).__name__}, expected an nn.Sequential of nn.Linear and nn.ReLU; "
                "reluscope.observe takes others"
            )
        if module.in_features != width:
            raise ObservationError(f"a linear layer takes {module.in_features} values, expected {width}")
        bias = [0.0] * module.out_features if module.bias is None else module.bias.tolist()
        rows = module.weight.tolist()
        if not all(map(math.isfinite, [*bias, *(value for row in rows for value in row)])):
            raise ObservationError("a linear layer has weights that are not finite; train with a lower rate")
        ratios = [[value.as_integer_ratio() for value in values] for values in (*rows, bias)]
        power = max(below for values in ratios for _, below in values).bit_length() - 1
        scaled = [[above * (1 << power) // below for above, below in values] for values in ratios]
        layers.append((scaled[:-1], scaled[-1], power))
        width = module.out_features
    return layers


def _combined(row: list[int], bias: int, units: list[_Affine]) -> _Affine:
    slope, offset = 0, bias
    for weight, (a, b) in zip(row, units, strict=True):
        slope += weight * a
        offset += weight * b
    return slope, offset


def _rectified(edges: list[Fraction], functions: list[list[_Affine]]) -> tuple[list[Fraction], list[list[_Affine]]]:
    found, rectified = edges[:1], []
    for left, right, units in zip(edges, edges[1:], functions, strict=False):
        crossings = {Fraction(-unit[1], unit[0]) for unit in units if _sign(unit, left) * _sign(unit, right) < 0}
        for end in (*sorted(crossings), right):
            # the mediant of two fractions lies between them
            above, below = found[-1].numerator + end.numerator, found[-1].denominator + end.denominator
            rectified.append([unit if unit[0] * above + unit[1] * below > 0 else (0, 0) for unit in units])
            found.append(end)
    return found, rectified


def _sign(unit: _Affine, x: Fraction) -> int:
    value = unit[0] * x.numerator + unit[1] * x.denominator
    return (value > 0) - (value < 0)


def _merged(edges: list[Fraction], functions: list[_Affine], unit: int) -> Pieces:
    starts = [0, *(place for place in range(1, len(functions)) if functions[place] != functions[place - 1])]
    slopes = tuple(Fraction(functions[place][0], unit) for place in starts)
    offsets = tuple(Fraction(functions[place][1], unit) for place in starts)
    return Pieces((*(edges[place] for place in starts), edges[-1]), slopes, offsets)
