"""Drawings of cases of the claims of Gamba et al. 2020."""

from __future__ import annotations

import math
from typing import Any

from reluscope_catalog.claims import gamba
from reluscope_catalog.claims.drawings import bars, graph


def cosines(weight: gamba.Filter, height: int, width: int, stride: int, padding: int, **_: Any) -> str:
    """Draw the cosine of each receptive field beside that of equation 1.

    Args:
        weight: The filter.
        height: Of the input.
        width: Of the input.
        stride: Of the convolution.
        padding: With zeros.
        **_: What else a case has.

    Returns:
        SVG.
    """
    rows = [row for row in gamba._rows(weight, height, width, stride, padding) if row.any()]
    factors = [math.sqrt(float(row.square().sum()) * len(row)) for row in rows]
    series = {
        "equation 1": [gamba._total(weight) / factor for factor in factors],
        "found": [float(row.sum()) / factor for row, factor in zip(rows, factors, strict=True)],
    }
    return bars(series, labels=range(1, len(rows) + 1), title="Cosine of each receptive field")


def densities(channels: int, kernel: int, order: int, **_: Any) -> str:
    """Draw the density of the cosine, over its standard deviation, beside the normal one.

    Args:
        channels: C.
        kernel: k.
        order: Of the moment that differs.
        **_: What else a case has.

    Returns:
        SVG; bars of that moment where there are at most two weights, and so no bounded density.
    """
    number = channels * kernel**2
    if number <= 2:
        found = gamba.cosine_moment(number, 1, order)
        return bars({"normal": [gamba._normal_moment(order)], "found": [found]}, labels=[f"moment of order {order}"])
    places = [k / 20 for k in range(-80, 81)]
    factor = math.gamma(number / 2) / math.gamma((number - 1) / 2) / math.sqrt(math.pi * number)
    normal = [(t, math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)) for t in places]
    sphere = [(t, factor * max(0.0, 1 - t**2 / number) ** ((number - 3) / 2)) for t in places if t**2 < number]
    return graph({"normal": normal, "found": sphere}, title=f"Density of the cosine of {number} weights")


def alignment(filters: list[list[int]]) -> str:
    """Draw F / 2^F beside the probability that all cosines agree in sign.

    Args:
        filters: Magnitudes of the weights of each filter, as many as to mark.

    Returns:
        SVG.
    """
    numbers, marked = range(1, max(8, len(filters)) + 1), len(filters)
    printed = [(n, n / 2**n) for n in numbers]
    agreeing = gamba._aligned(filters)[0]
    curves = {"F / 2^F": printed, "2 / 2^F": [(n, 2 / 2**n) for n in numbers]}
    return graph(curves, marks=[(marked, agreeing, f"F = {marked}")], title="All cosines agree in sign")
