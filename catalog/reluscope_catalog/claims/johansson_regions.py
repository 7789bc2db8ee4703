"""Strategies and predicates of the claims of Johansson 2022 on activation regions: their volume and their edge."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope.errors import ClaimError
from reluscope.observation import observe
from reluscope_catalog.claims import exact_networks as exact
from reluscope_catalog.claims.exact_patterns import Constraint, feasible
from reluscope_plugins.geometry.bounded_regions import never_bounded
from reluscope_plugins.geometry.nearest_walls import nearest_walls

Cases = SearchStrategy[dict[str, Any]]

_EPS = torch.finfo(torch.float64).eps


def narrow_networks() -> Cases:
    """Return hidden layers with at most as many units as there are inputs, each with a point."""
    widths = st.lists(st.integers(1, 3), min_size=2, max_size=4).map(
        lambda found: [max(found[0], sum(found[1:])), *found[1:]]
    )
    return widths.flatmap(_points)


def narrow_networks_with_mirrors() -> Cases:
    """Return the same, and layers of two units, one the other with its sign changed, with a point of their wall."""
    return st.one_of(narrow_networks(), st.integers(2, 3).flatmap(_mirrored))


def narrow_networks_with_interior() -> Cases:
    """Return the same where the region of the point has interior points."""
    return narrow_networks().filter(lambda case: _has_interior(case["hidden"], case["x"]))


def small_networks() -> Cases:
    """Return up to two hidden layers on one or two inputs, each with a point."""
    widths = st.tuples(st.integers(1, 2), st.lists(st.integers(1, 2), min_size=1, max_size=2))
    return widths.flatmap(lambda found: _points([found[0], *found[1]]))


def small_networks_with_weights() -> Cases:
    """Return the same where no unit has weights that are all 0."""
    return small_networks().filter(lambda case: all(any(row) for layer in case["hidden"] for row in layer["weight"]))


def small_networks_without_constants() -> Cases:
    """Return networks where no unit is 0 all over the region."""
    return small_networks().filter(
        lambda case: all(any(gradient) or offset for (gradient, offset), _ in exact.walls(case["hidden"], case["x"]))
    )


def unbounded_regions(hidden: exact.Layers, x: list[int]) -> bool:
    """Return whether the volume of the region of the point is infinite."""
    # so it is of a convex set exactly if there is a ball in it and a ray
    return _has_interior(hidden, x) and _has_ray(hidden, x)


def unbounded_regions_interior(hidden: exact.Layers, x: list[int]) -> bool:
    """Return whether it is, and the library says that none of such a network is bounded."""
    return unbounded_regions(hidden, x) and never_bounded(len(x), [len(layer["bias"]) for layer in hidden])


def edge_distance(hidden: exact.Layers, x: list[int]) -> bool:
    """Return whether the least distance to the zeros of a unit is that to the edge, squared.

    Raises:
        ClaimError: If the weights of a unit are all 0, which the claim leaves out.
    """
    silent = [
        [depth, unit] for depth, layer in enumerate(hidden) for unit, row in enumerate(layer["weight"]) if not any(row)
    ]
    if silent:
        raise ClaimError(
            f"claim 'edge_distance': all weights of unit {silent[0][1]} of hidden layer {silent[0][0]} are 0, which it "
            "leaves out; expected one at least that is not; change the case"
        )
    return _distances_agree(hidden, x)


def edge_distance_without_constants(hidden: exact.Layers, x: list[int]) -> bool:
    """Return whether they agree, and the library with them."""
    square = _distance_to_edge(hidden, x)
    found = observe(exact.module(hidden, output=False), torch.tensor([x]).double(), affine=True)
    library = nearest_walls(found).distance.item()
    if square is None:
        return _distances_agree(hidden, x) and library == float("inf")
    # a whole number over the root of one: three roundings, doubled by the square
    return _distances_agree(hidden, x) and abs(Fraction(library) ** 2 - square) <= 8 * _EPS * square


# whether the least distance to the zeros of a unit is that to the edge, squared
def _distances_agree(hidden: exact.Layers, x: list[int]) -> bool:
    distances = [
        distance
        for depth, layer in enumerate(hidden)
        for unit in range(len(layer["bias"]))
        if (distance := _distance_to_zeros(hidden[: depth + 1], unit, x)) is not None
    ]
    return min(distances, default=None) == _distance_to_edge(hidden, x)


def _points(widths: Sequence[int]) -> Cases:
    return st.fixed_dictionaries({"hidden": exact.chains(widths), "x": exact.vectors(widths[0])})


def _mirrored(inputs: int) -> Cases:
    def of(found: tuple[list[int], list[int]]) -> dict[str, Any]:
        row, x = found
        bias = -int(exact.dot(row, x))
        layer = {"weight": [row, [-value for value in row]], "bias": [bias, -bias]}
        return {"hidden": [layer], "x": x}

    return st.tuples(exact.vectors(inputs), exact.vectors(inputs)).map(of)


def _constraints(hidden: exact.Layers, x: list[int], *, strict: bool, offset: bool) -> list[Constraint]:
    return [
        ((*map(int, gradient), int(c) * offset), strict) for (gradient, c), _ in exact.walls(hidden, x) if any(gradient)
    ]


def _has_interior(hidden: exact.Layers, x: list[int]) -> bool:
    return feasible(_constraints(hidden, x, strict=True, offset=True))


# whether some direction d, not zero, has g d >= 0 for all walls: scaled so that one entry is 1 or -1, or beyond
def _has_ray(hidden: exact.Layers, x: list[int]) -> bool:
    cone = _constraints(hidden, x, strict=False, offset=False)
    axes = range(len(x))
    beyond = [(*(sign * (i == axis) for i in axes), -1) for axis in axes for sign in (1, -1)]
    return any(feasible([*cone, (affine, False)]) for affine in beyond)


# squared distance to the points that break a condition of the region; None where there is none
def _distance_to_edge(hidden: exact.Layers, x: list[int]) -> Fraction | None:
    walls = [wall for wall, _ in exact.walls(hidden, x) if any(wall[0])]
    return min((_value(wall, x) ** 2 / exact.dot(wall[0], wall[0]) for wall in walls), default=None)


# squared distance to the zeros of a unit of the last layer, on all patterns of the layers before
def _distance_to_zeros(layers: exact.Layers, unit: int, x: list[int]) -> Fraction | None:
    found: list[Fraction] = []
    for pattern in _patterns([len(layer["bias"]) for layer in layers[:-1]]):
        *before, last = exact.affine_units(layers, pattern)
        sides = [
            _times(2 * active - 1, wall)
            for units, layer in zip(before, pattern, strict=True)
            for wall, active in zip(units, layer, strict=True)
        ]
        found += _distances(x, last[unit], sides)
    return min(found, default=None)


def _patterns(widths: Sequence[int]) -> Iterator[exact.States]:
    for layers in itertools.product(*(itertools.product((0, 1), repeat=width) for width in widths)):
        yield [list(layer) for layer in layers]


# Squared distances from x to its nearest points on faces, of all dimensions, of where a function is 0 and others are
# at least 0: the nearest point of all is among them.
def _distances(x: list[int], zero: exact.Wall, sides: list[exact.Wall]) -> Iterator[Fraction]:
    if not any(zero[0]) and zero[1]:
        return
    always = [zero] if any(zero[0]) else []
    for number in range(len(x) - len(always) + 1):
        for chosen in itertools.combinations(sides, number):
            foot = _foot(x, [*always, *chosen])
            if foot is not None and all(_value(side, foot) >= 0 for side in sides):
                step = [a - b for a, b in zip(foot, x, strict=True)]
                yield exact.dot(step, step)


# nearest point to x where up to two functions of independent gradients are 0; None where the gradients depend
def _foot(x: list[int], walls: list[exact.Wall]) -> exact.Row | None:
    gradients = [gradient for gradient, _ in walls]
    values = [_value(wall, x) for wall in walls]
    if not walls:
        return [Fraction(value) for value in x]
    first = gradients[0]
    if len(walls) == 1:
        if not any(first):
            return None
        shares = [values[0] / exact.dot(first, first)]
    else:
        second = gradients[1]
        a, b, c = exact.dot(first, first), exact.dot(first, second), exact.dot(second, second)
        if a * c == b * b:
            return None
        shares = [(c * values[0] - b * values[1]) / (a * c - b * b), (a * values[1] - b * values[0]) / (a * c - b * b)]
    moved = [exact.dot(shares, [gradient[axis] for gradient in gradients]) for axis in range(len(x))]
    return [value - move for value, move in zip(x, moved, strict=True)]


def _times(factor: int, wall: exact.Wall) -> exact.Wall:
    return [factor * value for value in wall[0]], factor * wall[1]


def _value(wall: exact.Wall, x: exact.Numbers) -> Fraction:
    return exact.dot(wall[0], x) + wall[1]
