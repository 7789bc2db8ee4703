"""Drawings of cases against claims on regions, patterns and lengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from reluscope_catalog.claims.drawings import bars, graph, polygons
from reluscope_catalog.claims.exact_regions import Point, arrangement_regions, cells, pieces
from reluscope_catalog.claims.icerm import most_breakpoints
from reluscope_catalog.claims.tanner_paths import growth_terms, mean_projection
from reluscope_plugins.regions.region_bounds import hyperplane_regions, montufar_lower_bound

Layers = Sequence[Any]


def hyperplanes(weights: list[list[int]], biases: list[int]) -> str:
    """Return a drawing of the regions of a layer, in the plane of the first two inputs if there are more."""
    found, claimed = arrangement_regions(weights, biases), hyperplane_regions(len(weights), len(weights[0]))
    return polygons(_regions([(weights, biases)]), title=f"{found} regions, claimed {claimed}")


def patterns(layers: Layers) -> str:
    """Return a drawing of the regions of a network, in the plane of the first two inputs if there are more."""
    units, inputs = len(layers[0][1]), len(layers[0][0][0])
    return polygons(_regions(layers), title=f"{units} filters in {inputs} dimensions")


def scaled_biases(layers: Layers, factor: str) -> str:
    """Return a drawing of the regions of a network, and to their right those with its biases times a factor."""
    scaled = [(weight, [Fraction(factor) * b for b in bias]) for weight, bias in layers]
    before, after = _regions(layers), _regions(scaled)
    right = [[(x + 2 * _REACH + 1, y) for x, y in shape] for shape in after]
    return polygons([*before, *right], title=f"Left as they are; right the biases times {factor}")


def powers(inputs: int, units: int) -> str:
    """Return a drawing of the sum of binomials and the power that it is claimed to reach, over the number of units."""
    most = range(1, units + 4)
    curves = {
        "sum of binomials": [(n, hyperplane_regions(n, inputs)) for n in most],
        "power": [(n, n ** min(inputs, n / 2)) for n in most],
    }
    return graph(curves, marks=[(units, hyperplane_regions(units, inputs))], title=f"{inputs} inputs")


def line_units(layers: Layers) -> str:
    """Return a drawing of the units of the last layer of a network of one input."""
    found = pieces(layers)
    ends = [end for _, end, _ in found[:-1] if end is not None]
    places = [min(ends, default=Fraction(0)) - 1, *ends, max(ends, default=Fraction(0)) + 1]
    curves = {
        f"unit {unit + 1}": [
            (x, forms[unit][0] * x + forms[unit][1])
            for x, forms in zip(places, [found[0][2], *(part[2] for part in found)], strict=True)
        ]
        for unit in range(len(found[0][2]))
    }
    widths = [1, *(len(biases) for _, biases in layers)]
    claimed = math.prod(width ** min(1, width / 2) for width in widths)
    return graph(curves, title=f"{len(found)} regions, claimed {claimed:.4g}")


def most_regions(inputs: int, widths: list[int]) -> str:
    """Return a drawing of how many regions are claimed and how many there can be."""
    most = math.prod(hyperplane_regions(width, inputs) for width in widths)
    claimed = math.prod(width ** min(inputs, width / 2) for width in (inputs, *widths))
    return bars({"claimed": [claimed], "no network has more": [most]}, labels=[f"{inputs} inputs, widths {widths}"])


def breakpoints(width: int) -> str:
    """Return a drawing of how many linear regions are claimed and how many there can be, over the width."""
    most = range(1, width + 5)
    curves = {
        "claimed": [(n, montufar_lower_bound(1, [n, 1])) for n in most],
        "no function has more": [(n, most_breakpoints(n) + 1) for n in most],
    }
    return graph(curves, marks=[(width, most_breakpoints(width) + 1)], title="One input, a second layer of one unit")


def growth(weights: list[int], biases: list[int], depth: int, points: list[list[int]]) -> str:
    """Return a drawing of the expected length and that claimed."""
    expected, least, length = growth_terms(weights, biases, depth, points)
    lengths = {"expected": [expected], "claimed at least": [(least / 2) ** depth * length]}
    return bars(lengths, labels=[f"length behind layer {depth}"])


def sparse_projection(direction: list[int], share: str) -> str:
    """Return a drawing of the mean magnitude of a projection and that claimed, over sigma_w."""
    return _projection(direction, Fraction(share), Fraction(1))


def scaled_projection(direction: list[int]) -> str:
    """Return a drawing of the same for variances divided by the width."""
    return _projection(direction, Fraction(1), Fraction(1, len(direction)))


_REACH = 4


def _projection(direction: list[int], share: Fraction, variance: Fraction) -> str:
    root = math.sqrt(2 / math.pi)
    found = root * math.fsum(c * math.sqrt(r) for c, r in mean_projection(direction, share, variance))
    claimed = root * math.hypot(*direction)
    return bars({"E|u^T w|": [found], "claimed at least": [claimed]}, labels=[f"u = {direction}, over sigma_w"])


# Of a single input the regions are drawn as strips.
def _regions(layers: Layers) -> list[list[Point]]:
    (weight, bias), *rest = layers
    first = [[*row, 0][:2] for row in weight]
    corners = [(-_REACH, -_REACH), (_REACH, -_REACH), (_REACH, _REACH), (-_REACH, _REACH)]
    window = [(Fraction(x), Fraction(y)) for x, y in corners]
    return [shape for shape, _ in cells([(first, bias), *rest], window)]
