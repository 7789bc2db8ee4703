"""Where functions that are affine between knots change which of two states, or which of several places, is ahead."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NOWHERE = -1
"""Fills up the rows of windows that have fewer places than others."""


@dataclasses.dataclass
class Crossings:
    """Changes of state.

    Attributes:
        parameter: Where, `(crossing,)`.
        radius: How far from there the true place may be, `(crossing,)`; 0 at a knot.
        interval: Before which knot: its number, `(crossing,)`; of a change at a knot the number of that knot.
        column: Which function, `(crossing,)`; of windows the place that wins from there on.
        state: The states after the last knot but one, to be compared with those after it.
    """

    parameter: Floats
    radius: Floats
    interval: Integers
    column: Integers
    state: npt.NDArray[Any]


def sign_changes(knots: Floats, values: Floats, tolerance: float, before: npt.NDArray[np.bool_] | None) -> Crossings:
    r"""Find where functions change from positive to not positive, or back.

    Between knots $t_i < t_{i+1}$ a function of values $v_i, v_{i+1}$ of opposite signs is zero at
    $t_i + (t_{i+1} - t_i)\, v_i / (v_i - v_{i+1})$. A value within the tolerance is a zero at the knot: whether the
    state changes there is told by the intervals on both sides. A function that is zero on an interval is not positive.

    Args:
        knots: Increasing parameters, `(knot,)`.
        values: Of functions that are affine between them, `(knot, function)`.
        tolerance: Magnitude up to which a value is zero.
        before: Which functions are positive just before the first knot, `(function,)`; None where nothing is.

    Returns:
        The changes, in no order.

    Example:
        >>> sign_changes(np.array([0.0, 1.0]), np.array([[-1.0], [3.0]]), 0.0, None).parameter
        array([0.25])
    """
    sign = (values > tolerance).astype(np.int8) - (values < -tolerance).astype(np.int8)
    inside, column = np.nonzero(sign[:-1] * sign[1:] < 0)
    left, right = values[inside, column], values[inside + 1, column]
    length = knots[inside + 1] - knots[inside]
    share = left / (left - right)
    starts = (sign[:-1] > 0) | ((sign[:-1] == 0) & (sign[1:] > 0))
    ends = (sign[1:] > 0) | ((sign[1:] == 0) & (sign[:-1] > 0))
    knot, at_knot = np.nonzero(starts[1:] != ends[:-1])
    knot += 1
    if before is not None:
        first = np.flatnonzero(starts[0] != before)
        knot, at_knot = np.concatenate((np.zeros_like(first), knot)), np.concatenate((first, at_knot))
    return Crossings(
        parameter=np.concatenate((knots[inside] + length * share, knots[knot])),
        radius=np.concatenate((length * tolerance / np.abs(left - right), np.zeros(len(knot)))),
        interval=np.concatenate((inside + 1, knot)),
        column=np.concatenate((column, at_knot)),
        state=ends[-1],
    )


def winner_changes(
    knots: Floats, values: Floats, places: Integers, tolerance: float, before: Integers | None
) -> Crossings:
    r"""Find where another place becomes the greatest of its window.

    Between two knots the greatest of affine functions is convex, so that the winners come one after the other in the
    order of their slopes: from winner $c$ the next is the place $j$ of the least
    $\tau_j = d_j / (d_j + e_j)$, where $d_j$ is what $c$ is ahead by at the left knot and $e_j$ what it is behind by at
    the right one. Of places that are equal on an interval the first one wins, as in torch.

    Args:
        knots: Increasing parameters, `(knot,)`.
        values: What each place is behind the winner by at each knot, at least zero, `(knot, column)`.
        places: Columns of the places of each window, in the plane's order, `NOWHERE` where a window has fewer,
            `(window, place)`.
        tolerance: Magnitude up to which two places are equal.
        before: Which place of each window is ahead just before the first knot, `(window,)`; None where nothing is.

    Returns:
        The changes, in no order.
    """
    scores = np.where(places == NOWHERE, -np.inf, -values[:, places])  # (knot, window, place)
    left, right = scores[:-1], scores[1:]
    first = _first_of_best(np.where(left >= -tolerance, right, -np.inf), tolerance)  # (interval, window)
    current = first.copy()
    found: list[tuple[Floats, Floats, Integers, Integers]] = []
    interval, window = np.nonzero(_at(right, current) < -tolerance)
    while len(interval):
        here = current[interval, window]
        one, other = left[interval, window], right[interval, window]
        number = np.arange(len(interval))
        with np.errstate(invalid="ignore", divide="ignore"):
            ahead = np.maximum(one[number, here][:, None] - one, 0.0)
            behind = other - other[number, here][:, None]
            overtakes = behind > tolerance
            share = np.where(overtakes, ahead / (ahead + behind), np.inf)
            radius = np.where(overtakes, tolerance / (ahead + behind), 0.0)
        next_one = share.argmin(1)
        reach = share[number, next_one] + radius[number, next_one]
        together = share - radius <= reach[:, None]
        chosen = _first_of_best(np.where(together, other, -np.inf), tolerance)
        length = knots[interval + 1] - knots[interval]
        found.append(
            (
                knots[interval] + length * share[number, chosen],
                length * radius[number, chosen],
                interval + 1,
                places[window, chosen],
            )
        )
        current[interval, window] = chosen
        more = other[number, chosen] < -tolerance
        interval, window = interval[more], window[more]
    knot, at_window = np.nonzero(first[1:] != current[:-1])
    knot += 1
    if before is not None:
        changed = np.flatnonzero(first[0] != before)
        knot, at_window = np.concatenate((np.zeros_like(changed), knot)), np.concatenate((changed, at_window))
    found.append((knots[knot], np.zeros(len(knot)), knot, places[at_window, first[knot, at_window]]))
    parameter, radius, interval, column = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Crossings(parameter, radius, interval, column, state=current[-1])


def _first_of_best(scores: Floats, tolerance: float) -> Integers:
    best: Integers = (scores >= scores.max(-1, keepdims=True) - tolerance).argmax(-1)
    return best


def _at(scores: Floats, index: Integers) -> Floats:
    chosen: Floats = np.take_along_axis(scores, index[..., None], -1)[..., 0]
    return chosen


def joined(crossings: Crossings) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Join crossings that rounding cannot tell apart.

    Args:
        crossings: Those of one site.

    Returns:
        The parameter of each crossing, `(crossing,)`, the same for all that are joined: that of the one whose radius is
        least; and which crossings gave theirs.
    """
    parameter, radius = crossings.parameter, crossings.radius
    count = len(parameter)
    given = np.zeros(count, dtype=np.bool_)
    if not count:
        return parameter, given
    order = np.lexsort((parameter, crossings.interval))
    start = (parameter - radius)[order]
    reach = np.maximum.accumulate((parameter + radius)[order])
    apart = (start[1:] > reach[:-1]) | (np.diff(crossings.interval[order]) > 0)
    apart |= (radius[order][1:] == 0) | (radius[order][:-1] == 0)
    group = np.concatenate(([0], np.cumsum(apart)))
    best = np.lexsort((radius[order], group))
    leaders = order[best[np.concatenate(([True], np.diff(group[best]) > 0))]]
    given[leaders] = True
    together = np.empty(count)
    together[order] = parameter[leaders][group]
    return together, given
