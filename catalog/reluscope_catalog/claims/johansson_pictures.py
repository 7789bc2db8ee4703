"""Drawings of cases of the claims of Johansson 2022."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from reluscope_catalog.claims import exact_networks as exact
from reluscope_catalog.claims import johansson, johansson_expectations, johansson_intervals, johansson_slopes
from reluscope_catalog.claims.drawings import Point, bars, graph, polygons
from reluscope_catalog.claims.exact_regions import cells

_HALF = 4
"""Half the width of the window around a point."""


def region(hidden: exact.Layers, x: list[int]) -> str:
    """Draw the regions around a point: in the plane, or the units over a line.

    Args:
        hidden: The hidden layers.
        x: The point.

    Returns:
        SVG; empty for more than two inputs.
    """
    if len(x) == 1:
        places = [Fraction(x[0]) + Fraction(k, 10) for k in range(-10 * _HALF, 10 * _HALF + 1)]
        values = [exact.preactivations(hidden, [place]) for place in places]
        curves = {
            f"unit {unit + 1} of layer {number + 1}": [
                (place, found[number][unit]) for place, found in zip(places, values, strict=True)
            ]
            for number, layer in enumerate(hidden)
            for unit in range(len(layer["bias"]))
        }
        return graph(curves, marks=[(x[0], 0, "x")], title="Units before their ReLU")
    if len(x) > 2:
        return ""
    window = [(Fraction(x[0] + a * _HALF), Fraction(x[1] + b * _HALF)) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    shapes = [corners for corners, _ in cells([(layer["weight"], layer["bias"]) for layer in hidden], window)]
    return polygons(shapes, marks=[(*x, "x")], title="Regions around x")


def perturbation_norm(inward: list[list[int]], outward: list[list[int]], unit: int) -> str:
    """Draw the squared norm of E beside what is printed.

    Args:
        inward: W_1.
        outward: W_2.
        unit: k.

    Returns:
        SVG.
    """
    found = johansson._squares(johansson._perturbation(inward, outward, unit))
    printed = sum(v**2 for v in outward[unit]) * sum(w**2 for w in inward[unit])
    return bars({"printed": [printed], "found": [found]}, labels=[f"squared norm of E, k = {unit + 1}"])


def expected_perturbation_nearest(
    inputs: int, outputs: int, inward: list[int], outward: list[int], biases: list[int]
) -> str:
    """Draw the mean of the squared differences beside C^2 n_c / n_1.

    Args:
        inputs: n_0.
        outputs: n_c.
        inward: Magnitudes of the weights of the first layer.
        outward: Those of the second.
        biases: One for each hidden unit.

    Returns:
        SVG.
    """
    found = johansson_expectations.nearest_difference(inputs, outputs, inward, outward, biases)[0]
    printed = johansson_expectations.printed(inputs, outputs, inward, outward)
    return bars({"claimed at most": [printed], "found": [found]}, labels=[f"n_1 = {len(biases)}"])


def pieces(slopes: list[int]) -> str:
    """Draw a function that has these slopes along an interval.

    Args:
        slopes: Of its pieces.

    Returns:
        SVG.
    """
    points: list[Point] = [(0, 0)]
    for number, slope in enumerate(slopes):
        points.append((number + 1, points[-1][1] + slope))
    ends, twice = (slopes[0] - slopes[-1]) ** 2, 2 * johansson_intervals._increments(slopes)
    return graph({f"slopes {', '.join(map(str, slopes))}": points}, title=f"{ends} is claimed to be at most {twice}")


def interval(inward: list[int], outward: list[int], biases: list[int], x: str) -> str:
    """Draw the mean of (s - s')^2 at x and x + 1, and of those in different regions, beside what is printed.

    Args:
        inward: Magnitudes of the weights of the first layer.
        outward: Those of the second.
        biases: One for each hidden unit.
        x: One of the points.

    Returns:
        SVG.
    """
    outcomes = list(johansson_intervals._outcomes(inward, outward, biases, x))
    squares = [(abs(here) - abs(there)) ** 2 for here, there, _ in outcomes]
    apart = [square for square, (_, _, differ) in zip(squares, outcomes, strict=True) if differ]
    found = [johansson_intervals._mean(squares), johansson_intervals._mean(apart) if apart else 0]
    printed = johansson_intervals._printed(inward, outward, len(biases))
    return bars({"claimed at most": [printed] * 2, "found": found}, labels=["all", "in different regions"])


def iteration(layers: exact.Layers, x: list[int], v: list[int]) -> str:
    """Draw the estimates of the power iteration beside the norm.

    Args:
        layers: The network.
        x: The point.
        v: Where the iteration starts.

    Returns:
        SVG.
    """
    norm = float(johansson_slopes._eigenvalues(johansson_slopes._gram(johansson_slopes._matrix(layers, x)))[0]) ** 0.5
    found = list(enumerate(_estimates(layers, x, v)))
    return graph({"norm": [(0, norm), (10, norm)], "iteration": found}, title="Estimates over steps")


def _estimates(layers: exact.Layers, x: list[int], v: list[int]) -> Iterator[float]:
    pattern: Any = exact.states(layers[:-1], x)
    vector = [Fraction(value) for value in v]
    for _ in range(11):
        if not any(vector):
            yield 0.0
            continue
        u = johansson_slopes._forward(layers, pattern, vector)
        yield float(johansson_slopes._squares(u) / johansson_slopes._squares(vector)) ** 0.5
        vector = johansson_slopes._backward(layers, pattern, u)
