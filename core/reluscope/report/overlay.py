"""A line over the heat maps of a declared figure, such as the learning rate in force."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.figures import Figure
from reluscope.report import reading
from reluscope.report.arrange import CannotDraw, Labelled, Panel, beside, find, need
from reluscope.report.numbers import blocks, plain
from reluscope.report.summary import mean, title

STEPS = "step"
"""The group in which the line is looked for where the figure's own does not have it."""
MAX_POINTS = 400
"""More points of a line are averaged in blocks."""


def draw(
    tree: xr.DataTree,
    figure: Figure,
    found: Labelled,
    panels: Sequence[Panel],
    parts: Sequence[dict[str, Any]],
    swept: Collection[Hashable],
) -> list[str]:
    """Lay the line of a figure over its heat maps.

    Args:
        tree: The archive.
        figure: The figure; its `over` is a variable along `x`, in units of `y`.
        found: The values of the heat maps; dims `(row, column, colour, x, y, seed)`.
        panels: The panels.
        parts: The heat maps of the panels, as plain types: each that has a line gets `over`, places along x and y.
        swept: The dims of the sweep.

    Returns:
        Sentences that say how to read it.
    """
    x, y = figure.axes
    if not all(isinstance(label, int | float) for dim in (x, y) for label in found.labels[dim]):
        return [f"No line of {figure.over}: both axes must be of numbers."]
    try:
        lines = _lines(tree, figure, found, swept)
    except CannotDraw as reason:
        return [f"No line of {figure.over}: {reason}"]
    at = np.array(lines.labels[x], float)
    order = np.argsort(at, kind="stable")
    order = order[at[order] > 0] if figure.log_x else order
    width = -(-order.size // MAX_POINTS)
    drawn = False
    for panel, part in zip(panels, parts, strict=False):
        place = _place(panel, found, lines)
        if place is None:
            continue
        line = mean(lines.values[place], -1)[order]
        line = np.where((line > 0) | ~np.array(figure.log_y), line, np.nan)
        if not np.isnan(line).all():
            part["over"] = {"x": plain(mean(blocks(at[order], width), -1)), "y": plain(mean(blocks(line, width), -1))}
            drawn = True
    return [f"The white line is the {title(figure.over).lower()}."] if drawn else []


def _lines(tree: xr.DataTree, figure: Figure, found: Labelled, swept: Collection[Hashable]) -> Labelled:
    own = {"variable": figure.over}
    groups = dict(reading.groups(tree))
    here = groups.get(figure.group.strip("/"))
    if here is not None and figure.over not in here.data_vars and figure.over in groups.get(STEPS, {}):
        own["group"] = STEPS
    line = figure.model_copy(update=own)
    variable = find(tree, line)
    need(variable, [figure.axes[0]])
    repeats = found.dims[-1]
    return beside(variable, line, [*found.dims[:2], figure.axes[0], repeats], swept)


# Find the line of a panel by its labels, None where it has none; a dim that the line lacks is the same for all.
def _place(panel: Panel, found: Labelled, lines: Labelled) -> tuple[int, ...] | None:
    place = []
    for dim, at in zip(found.dims[:2], panel.index, strict=True):
        if dim in lines.labels and dim in found.labels:
            label = found.labels[dim][at]
            if label not in lines.labels[dim]:
                return None
            place.append(lines.labels[dim].index(label))
        else:
            place.append(0)
    return tuple(place)
