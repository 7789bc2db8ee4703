"""An independent reference: the partition of a plane, polygons cut by half-planes, in exact rational arithmetic.

A network is a list of layers as in `rational_walk`, and `("windows", places)`: a max-pool of any windows.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

Point = tuple[Fraction, Fraction]
Form = tuple[Fraction, Fraction, Fraction]
"""Slope along x, slope along y, offset."""
ZERO: Form = (Fraction(0), Fraction(0), Fraction(0))
Cell = tuple[list[Point], list[Form], tuple[int, ...]]


def at(form: Form, point: Point) -> Fraction:
    return form[0] * point[0] + form[1] * point[1] + form[2]


def clipped(polygon: list[Point], form: Form) -> list[Point]:
    """The part of a convex polygon on which a form is at least zero; empty if it has no area."""
    kept: list[Point] = []
    for one, other in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = at(form, one), at(form, other)
        if a >= 0:
            kept.append(one)
        if a * b < 0:
            kept.append((one[0] + a / (a - b) * (other[0] - one[0]), one[1] + a / (a - b) * (other[1] - one[1])))
    return kept if area(kept) > 0 else []


def area(polygon: list[Point]) -> Fraction:
    turned = polygon[1:] + polygon[:1]
    return sum((p[0] * q[1] - p[1] * q[0] for p, q in zip(polygon, turned, strict=True)), Fraction(0)) / 2


def minus(one: Form, other: Form) -> Form:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]


def greatest(polygon: list[Point], forms: Sequence[Form]) -> Iterator[tuple[int, list[Point]]]:
    """The first of the forms that is the greatest, and where."""
    for number, form in enumerate(forms):
        if form in forms[:number]:
            continue
        part = polygon
        for other in forms:
            part = clipped(part, minus(form, other)) if part and other != form else part
        if part:
            yield number, part


def cells(polygon: list[Point], layers: list[tuple[Any, ...]]) -> list[Cell]:
    """All regions: polygon, outputs, and the states of all units and winners of all windows as they come."""
    axes = [(Fraction(1), Fraction(0), Fraction(0)), (Fraction(0), Fraction(1), Fraction(0))]
    return _through([(polygon, axes, ())], layers)


def _through(found: list[Cell], layers: list[tuple[Any, ...]]) -> list[Cell]:
    for kind, *rest in layers:
        if kind == "linear":
            found = [(part, _linear(forms, *rest), pattern) for part, forms, pattern in found]
        elif kind == "residual":
            sums = []
            for part, forms, pattern in found:
                for smaller, inner, states in _through([(part, forms, pattern)], rest[0]):
                    sums.append(
                        (smaller, [minus(one, minus(ZERO, two)) for one, two in zip(forms, inner, strict=True)], states)
                    )
            found = sums
        else:
            found = [cell for whole in found for cell in _bent(whole, kind, *rest)]
    return found


def _linear(forms: Sequence[Form], weight: Sequence[Sequence[float]], bias: Sequence[float]) -> list[Form]:
    made = []
    for row, b in zip(weight, bias, strict=True):
        x, y, offset = ZERO
        for value, form in zip(row, forms, strict=True):
            w = Fraction(value)
            x, y, offset = x + w * form[0], y + w * form[1], offset + w * form[2]
        made.append((x, y, offset + Fraction(b)))
    return made


def _bent(whole: Cell, kind: str, *rest: Any) -> list[Cell]:
    polygon, forms, pattern = whole
    if kind == "relu":  # a unit that is zero is inactive, so that zero comes first
        groups = [[ZERO, form] for form in forms]
    elif kind == "windows":
        groups = [[forms[place] for place in window] for window in rest[0]]
    else:
        size, stride = rest
        groups = [list(forms[start : start + size]) for start in range(0, len(forms) - size + 1, stride)]
    found: list[Cell] = [(polygon, [], pattern)]
    for group in groups:
        found = [
            (smaller, [*done, group[number]], (*states, number))
            for part, done, states in found
            for number, smaller in greatest(part, group)
        ]
    return found


def answers(found: Sequence[Cell]) -> list[tuple[list[Point], int]]:
    """The regions cut where the first of the greatest outputs changes."""
    return [(part, number) for polygon, outputs, _ in found for number, part in greatest(polygon, outputs)]


def boundary_length(parts: Sequence[tuple[list[Point], int]]) -> float:
    """The length of all that has different answers on its two sides."""
    lines: dict[Form, list[tuple[Fraction, Fraction, int]]] = defaultdict(list)
    for polygon, answer in parts:
        for (x, y), (u, v) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            a, b = v - y, x - u
            scale = a or b
            if scale:
                line = (a / scale, b / scale, (a * x + b * y) / scale)
                lines[line].append((x, u, answer) if b else (y, v, answer))
    total = 0.0
    for (a, b, _), edges in lines.items():
        stops = sorted({stop for edge in edges for stop in edge[:2]})
        length = math.hypot(1, a / b) if b else 1.0
        for low, high in itertools.pairwise(stops):
            there = [answer for begin, end, answer in edges if begin <= low and end >= high]
            back = [answer for begin, end, answer in edges if end <= low and begin >= high]
            if there and back and there[0] != back[0]:
                total += float(high - low) * length
    return total
