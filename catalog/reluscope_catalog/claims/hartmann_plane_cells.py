"""Strategy and predicate of the count of cells of three filters on two inputs."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_patterns import patterns

Cases = SearchStrategy[dict[str, Any]]

_ENTRY = st.integers(-3, 3)


def three_filters() -> Cases:
    """Return weights of three filters on two inputs, and their biases, half of them in general position."""
    filters = st.lists(st.lists(_ENTRY, min_size=2, max_size=2), min_size=3, max_size=3)
    found: Cases = st.fixed_dictionaries({"weight": filters, "bias": st.lists(_ENTRY, min_size=3, max_size=3)})
    return st.one_of(found.filter(lambda case: general(**case)), found)


def three_filters_in_the_plane(weight: list[list[int]], bias: list[int]) -> bool:
    """Return whether there are at most 7 patterns, and 7 in general position."""
    number = len(patterns([(weight, bias)]))
    return number <= plane_cells(len(bias)) and (number == plane_cells(len(bias)) or not general(weight, bias))


def general(weight: list[list[int]], bias: list[int]) -> bool:
    """Return whether no two of three lines are parallel, and they do not meet in one point.

    Args:
        weight: Three rows.
        bias: Of each.

    Returns:
        Whether all minors are other than 0.

    Example:
        >>> general([[1, 0], [0, 1], [1, 1]], [0, 0, -1]), general([[1, 0], [0, 1], [1, 1]], [0, 0, 0])
        (True, False)
    """
    minors = [weight[i][0] * weight[j][1] - weight[i][1] * weight[j][0] for i, j in ((1, 2), (2, 0), (0, 1))]
    return all(minors) and sum(m * b for m, b in zip(minors, bias, strict=True)) != 0


def plane_cells(units: int) -> int:
    """Return the number of regions of so many lines in general position."""
    return 1 + units + math.comb(units, 2)
