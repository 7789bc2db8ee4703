"""Lines, boxes and heat maps of a declared figure, as the data from which the page draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.figures import Figure
from reluscope.report.arrange import CannotDraw, Labelled, Panel, pooled
from reluscope.report.axes import Axis, axis, edges
from reluscope.report.numbers import Array, blocks, plain
from reluscope.report.reading import REPEATS, shown
from reluscope.report.summary import mean, title

MAX_POSITIONS = 400
"""More positions along a line are averaged in blocks."""
MAX_CELLS = (600, 200)
"""More columns and rows of a heat map are averaged in blocks."""
MAX_PLACES = 200
"""More places of boxes are not drawn."""
MAX_COLOURS = 40
"""More colours are not told apart."""

Reading = tuple[list[dict[str, Any]], list[str]]


def draw(variable: xr.DataArray, figure: Figure, found: Labelled, panels: Sequence[Panel]) -> Reading:
    """Draw the panels of a figure of lines, of boxes, or of a heat map.

    Args:
        variable: The variable.
        figure: The figure.
        found: All its values, with their labels; dims `(row, column, colour, x, y, seed)`.
        panels: The panels.

    Returns:
        One table of plain types for each panel, and sentences that say how to read them.

    Raises:
        CannotDraw: If there are more colours or boxes than can be told apart.
    """
    if found.values.shape[2] > MAX_COLOURS:
        raise CannotDraw(f"It has {found.values.shape[2]} colours; {MAX_COLOURS} can be told apart at most.")
    x_dim, y_dim = figure.axes
    x = axis(variable, x_dim, found.labels[x_dim], figure.x_label, figure.log_x, even=figure.kind == "box")
    lost = _lost(x, found.labels[x_dim])
    if figure.kind == "heatmap":
        y = axis(variable, y_dim, found.labels[y_dim], figure.y_label, figure.log_y)
        lost += _lost(y, found.labels[y_dim])
        if not (x.at and y.at):
            raise CannotDraw(lost[0])
        return _maps(variable, figure, x, y, panels, lost)
    if not x.at:
        raise CannotDraw(lost[0])
    colours = found.labels.get(figure.colour, [""])
    data = {"colours": len(colours), "ordered": len(colours) > 2 and not any(isinstance(c, str) for c in colours)}
    y_title = figure.y_label or _value_title(variable)
    parts, aid = _boxes(x, panels, _repeats(variable, figure)) if figure.kind == "box" else _lines(x, panels, figure)
    ends = [value for part in parts for series in part["series"] for value in _ends(series)]
    shared = _span(figure, ends, figure.log_y)
    for part in parts:
        part |= data | {"y": {"title": y_title, "log": figure.log_y}, "range": shared}
    return parts, aid + lost


def _lines(x: Axis, panels: Sequence[Panel], figure: Figure) -> Reading:
    width = -(-len(x.at) // MAX_POSITIONS) if not x.named else 1
    at = mean(blocks(np.array(x.at), width), -1).tolist()
    parts, runs = [], 1
    for panel in panels:
        values = panel.values[:, x.order, 0]
        here = _present(values, x) if width == 1 else np.ones(len(at), bool)
        series = []
        for colour, repeats in enumerate(values):
            if np.isnan(repeats).all():
                continue
            middle, spread, most = moments(repeats)
            runs = max(runs, most)
            line = {"colour": colour, "y": plain(mean(blocks(middle, width), -1)[here])}
            if most > 1:
                low = mean(blocks(middle - spread, width), -1)[here]
                if figure.log_y and (middle > 0).any():  # a band that reaches 0 ends where the values do
                    low = np.maximum(low, middle[middle > 0].min())
                line |= {"low": plain(low), "high": plain(mean(blocks(middle + spread, width), -1)[here])}
            series.append(line)
        places = x.data() | {"at": at, "text": x.text if width == 1 else [f"{place:.6g}" for place in at]}
        parts.append({"kind": "line", "x": _kept(places, here), "series": series})
    aid = (
        [f"Lines are means over {runs} seeds, the shading is one standard deviation to each side."] if runs > 1 else []
    )
    return parts, aid + ([f"Averaged over blocks of {width}."] if width > 1 else [])


def moments(values: Array) -> tuple[Array, Array, int]:
    """Find mean and spread over the seeds.

    Args:
        values: Numbers, `(x, seed)`, NaN where missing.

    Returns:
        The mean and the sample standard deviation at each place (0 for fewer than two), and the greatest number of
        seeds at any place.
    """
    count = (~np.isnan(values)).sum(-1)
    middle = mean(values, -1)
    total = np.nansum((values - middle[:, None]) ** 2, -1)
    return middle, np.sqrt(total / np.maximum(count - 1, 1)), int(count.max(initial=0))


def box(values: Array) -> dict[str, Any]:
    """Find what a box plot shows.

    Args:
        values: The finite values of one box, `(seed,)`.

    Returns:
        Median, quartiles (interpolated linearly), whiskers (the furthest values within 1.5 interquartile ranges of the
        quartiles), outliers beyond them.

    References:
        Tukey (1977), Exploratory Data Analysis, chapter 2.

    Example:
        >>> box(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))["outliers"]
        [100.0]
    """
    low, middle, high = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (high - low)
    within = values[(values >= low - reach) & (values <= high + reach)]
    ends = [min(within.min(), low), max(within.max(), high)]
    beyond = np.sort(values[(values < ends[0]) | (values > ends[1])])
    numbers = plain(np.array([middle, low, high, *ends]))
    return dict(zip(("median", "low", "high", "bottom", "top"), numbers, strict=True)) | {"outliers": plain(beyond)}


def _repeats(variable: xr.DataArray, figure: Figure) -> str:
    # what the values of one box are
    return " and ".join(f"{dim}s" for dim in (*pooled(figure), REPEATS) if dim in variable.dims)


def _boxes(x: Axis, panels: Sequence[Panel], repeats_are: str) -> Reading:
    if len(x.at) > MAX_PLACES:
        raise CannotDraw(f"It has {len(x.at)} places; boxes fit at {MAX_PLACES} at most.")
    parts, runs = [], 1
    for panel in panels:
        values = panel.values[:, x.order, 0]
        here = _present(values, x)
        series = []
        for colour, repeats in enumerate(values):
            known = [column[~np.isnan(column)] for column in repeats[here]]
            runs = max([runs, *(column.size for column in known)])
            boxes = [box(column) | {"place": place} for place, column in enumerate(known) if column.size]
            if boxes:
                series.append({"colour": colour, "boxes": boxes})
        parts.append({"kind": "box", "x": _kept(x.data(), here), "series": series})
    count = f"up to {runs} values, of all {repeats_are}" if repeats_are != "seeds" else f"{runs} seeds"
    return parts, [
        f"Boxes over {count if runs > 1 else 'one seed'}: median, quartiles, whiskers to the furthest value within 1.5 "
        "interquartile ranges of the quartiles, and the values beyond."
    ]


def _maps(
    variable: xr.DataArray, figure: Figure, x: Axis, y: Axis, panels: Sequence[Panel], lost: list[str]
) -> Reading:
    wide, tall = -(-len(x.at) // MAX_CELLS[0]), -(-len(y.at) // MAX_CELLS[1])
    tables: list[Array] = []
    parts: list[dict[str, Any]] = []
    runs = 1
    for panel in panels:
        cells = panel.values[0][np.ix_(x.order, y.order)]
        runs = max(runs, int((~np.isnan(cells)).sum(-1).max()))
        rows = mean(cells, -1).T
        if figure.relative:
            greatest = np.fmax.reduce(rows, 1)[:, None]
            rows = np.divide(rows, greatest, out=np.full_like(rows, np.nan), where=greatest > 0)
        here = ~np.isnan(rows).all(1) if y.named or y.title == "site number" else np.ones(len(rows), bool)
        rows = mean(blocks(mean(blocks(rows[here], wide), -1).T, tall), -1).T
        columns, places = _blocked(x, np.ones(len(x.at), bool), wide), _blocked(y, here, tall)
        tables.append(rows)
        parts.append({"kind": "heatmap", "x": columns, "y": places, "z": plain(rows)})
    values = [value for rows in tables for value in rows[~np.isnan(rows)].tolist()]
    shared = _span(figure, values, False, margin=False)
    low, high = figure.minimum, figure.maximum
    beyond = (low is not None and min(values) < low) or (high is not None and max(values) > high)
    name = "share of the row's greatest value" if figure.relative else _value_title(variable)
    for part in parts:
        part |= {"range": shared, "z_title": name, "beyond": beyond}
        part["y"]["most"] = max(map(len, tables))  # the panels are of one height
    aid = ["The colour is each row's value divided by its greatest."] if figure.relative else []
    aid += [f"The mean over {runs} seeds."] if runs > 1 else []
    aid += [f"Averaged over blocks of {wide} by {tall}."] if wide > 1 or tall > 1 else []
    aid += ["Red cells lie beyond the scale."] if beyond else []
    return parts, aid + lost


def _lost(along: Axis, labels: Sequence[Any]) -> list[str]:
    lost = [shown(label) for place, label in enumerate(labels) if place not in along.order]
    return [f"No place on the logarithmic axis: {along.title} {', '.join(lost)}."] if lost else []


# Lay out the cells of a heat map along one axis: their edges, and the label of each.
def _blocked(along: Axis, here: Array, width: int) -> dict[str, Any]:
    places = _kept(along.data(), here)
    at, text = [along.at[i] for i in np.flatnonzero(here)], places["text"]
    if places["named"]:
        at = [float(i) for i in range(1, len(at) + 1)]
    starts = range(0, len(at), width)
    middles = mean(blocks(np.array(at), width), -1)
    text = [text[i] if width == 1 else f"{text[i]} to {text[min(i + width, len(text)) - 1]}" for i in starts]
    if places["named"]:
        middles = np.arange(1.0, len(text) + 1)
    return places | {"at": middles.tolist(), "text": text, "edges": edges(middles.tolist(), along.log).tolist()}


# Tell which places of an axis any line or box of a panel has: sites that a network does not have get no place.
def _present(values: Array, x: Axis) -> Array:
    return np.asarray(~np.isnan(values).all((0, 2))) if x.named else np.ones(len(x.at), bool)


def _kept(places: dict[str, Any], here: Array) -> dict[str, Any]:
    if here.all():
        return places
    text = [label for label, there in zip(places["text"], here, strict=True) if there]
    at = [place for place, there in zip(places["at"], here, strict=True) if there]
    return places | {"text": text, "at": list(map(float, range(1, len(text) + 1))) if places["named"] else at}


def _ends(series: dict[str, Any]) -> Iterable[float]:
    if "boxes" in series:
        numbers = [v for b in series["boxes"] for v in (b["bottom"], b["top"], *b["outliers"])]
    else:
        numbers = [v for key in ("y", "low", "high") for v in series.get(key, [])]
    return [value for value in numbers if value is not None]


# Give the panels of a figure one scale, with some room at its ends, so that they can be compared by eye.
def _span(figure: Figure, values: Sequence[float], log: bool, margin: bool = True) -> list[float]:
    known = [value for value in values if value > 0] if log else list(values)
    if not known:
        reason = "positive value, and its axis is logarithmic" if log else "value with a place on its axes"
        raise CannotDraw(f"It has no {reason}.")
    low, high = min(known), max(known)
    if margin and log:
        room = (high / low) ** 0.05 if high > low else 2.0
        low, high = low / room, high * room
    elif margin:
        room = 0.04 * (high - low) or 0.05 * abs(high) or 0.05
        low, high = low - room, high + room
    low = low if figure.minimum is None else figure.minimum
    high = high if figure.maximum is None else figure.maximum
    if low >= high:  # a scale that is given at one end, and values that are all beyond it
        low, high = (low, low + 1) if figure.maximum is None else (high / 2 if log else high - 1, high)
    return list(plain(np.array([low, high])))


def _value_title(variable: xr.DataArray) -> str:
    units = str(variable.attrs.get("units", "1"))
    return title(str(variable.name)).lower() + ("" if units in ("1", "") else f" ({units})")
