"""Plots chosen by dims alone: no quantity is known by name, so that anybody's metric is drawn like the built-in ones.

A plot is data, not code: `page.js` turns it into lines or a heat map. Text in it is plain text.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from reluscope.report import reading
from reluscope.report.numbers import Array, blocks, plain
from reluscope.report.summary import mean, rank, title

MAX_POSITIONS = 400
"""More positions along an axis than this are averaged in blocks."""
MAX_COLUMNS = 150
"""More columns of a heat map than this are averaged in blocks."""
MAX_ROWS = 200
"""More rows of a heat map than this are averaged in blocks."""
MAX_SERIES = 16
"""Points of a sweep that are drawn."""
FEW = 6
"""Up to so many sites get a plot each."""


@dataclasses.dataclass(frozen=True)
class Family:
    """Plots of one quantity that belong together and share their scale.

    Attributes:
        title: What they show.
        caption: What the quantity is, and how to read the plots.
        figures: The plots, as plain types.
    """

    title: str
    caption: str
    figures: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Left:
    """A variable that is not drawn.

    Attributes:
        name: Group and name.
        dims: Its dims with their sizes.
        reason: Why it is not drawn.
    """

    name: str
    dims: str
    reason: str


@dataclasses.dataclass(frozen=True)
class _Task:
    """Variables that are drawn together: the splits of one quantity, or one variable alone."""

    stem: str
    names: list[str]
    data: xr.Dataset
    axis: str | None
    other: str | None

    @property
    def variable(self) -> xr.DataArray:
        return self.data[self.names[0]]


def draw(tree: xr.DataTree) -> tuple[list[Family], list[Left]]:
    """Draw every variable of every group that can be drawn.

    Args:
        tree: The archive.

    Returns:
        The plots in the order of the page, and what was left out.
    """
    found = reading.points(tree)
    swept = set(reading.sweep_dims(tree))
    families: list[Family] = []
    left: list[Left] = []
    for group, data in reading.groups(tree):
        tasks: dict[tuple[Any, ...], _Task] = {}
        for name in sorted(map(str, data.data_vars), key=rank):
            variable = data[name]
            axis, others = _roles(variable, swept)
            reason = _obstacle(variable, axis, others)
            if reason:
                sizes = ", ".join(f"{dim} {size}" for dim, size in variable.sizes.items())
                left.append(Left(f"{group}/{name}".strip("/"), sizes or "none", reason))
                continue
            split, _, rest = name.partition("_")
            stem = rest if rest and split in ("train", "validation", "test") else name
            key = (stem, axis, *others, str(variable.attrs.get("units", "")))
            tasks.setdefault(key, _Task(stem, [], data, axis, next(iter(others), None))).names.append(name)
        for task in tasks.values():
            families += _families(task, found, swept)
    return families, left


def _roles(variable: xr.DataArray, swept: set[str]) -> tuple[str | None, list[str]]:
    axis = next((dim for dim in reading.AXES if dim in variable.dims and dim not in swept), None)
    return axis, [str(dim) for dim in variable.dims if dim not in swept and dim != axis]


def _obstacle(variable: xr.DataArray, axis: str | None, others: list[str]) -> str:
    if not reading.numeric(variable):
        return f"holds {variable.dtype}, not numbers"
    if not variable.size:
        return "is empty"
    if not np.isfinite(variable.values.astype(float)).any():
        return "holds no finite value"
    if axis is None and (variable.values == variable.values.flat[0]).all() and variable.size > 1:
        return f"is {reading.shown(float(variable.values.flat[0]))} throughout"
    if len(others) > 1:
        return f"has more dims than a plot can show: {', '.join(others)}"
    return ""


def _families(task: _Task, found: list[reading.Point], swept: set[str]) -> Iterator[Family]:
    points = reading.distinct(task.variable, found)
    caption = _caption(task, len(points))
    points = points[:MAX_SERIES]
    parts = _parts(task)
    prefixes = {name: title(name.removesuffix(task.stem).strip("_")) for name in task.names}
    # a quantity may be recorded at every step as well as at every epoch
    heading = title(task.stem) + (f" over {task.axis}s" if task.axis == "step" else "")
    if task.axis is None:
        cubes = [[_cube(name, task, point) for point in points] for name in task.names]
        if all(np.array_equal(cube, of_name[0], equal_nan=True) for of_name in cubes for cube in of_name):
            points = [dataclasses.replace(points[0], label="every point of the sweep")]
        figures = [_profile(name, prefixes[name], task, points, parts) for name in task.names]
        yield Family(heading, f"{caption} {_spread(task, points, 'The mark is')}", _shared(figures))
        return
    if len(parts) <= FEW:
        figures = [
            _lines(name, _joined(prefixes[name], label), task, points, members)
            for name in task.names
            for label, members in parts
        ]
        yield Family(heading, f"{caption} {_spread(task, points, 'The line is')}", _shared(figures))
        caption = "The same in one picture for each point of the sweep."
    if task.other is not None and len(parts) > 1:
        figures = [
            _heat(name, _joined(prefixes[name], point.label if len(points) > 1 else ""), task, point, parts)
            for name in task.names
            for point in points
        ]
        rows = "site" if task.other == "unit" else task.other
        means = "units and seeds" if task.other == "unit" else "seeds"
        aid = f"Rows are in the order of the archive, one for each {rows}; the colour is the mean over {means}."
        yield Family(f"{heading}, {rows} by {rows}", f"{caption} {aid}", _shared(figures))


# Split the dim that is not drawn along: units by their site, every other dim by its labels.
def _parts(task: _Task) -> list[tuple[str, Array]]:
    other, variable = task.other, task.variable
    if other is None:
        return [("", np.array([0]))]
    if other == "unit":
        if "unit_site" not in task.data.coords:
            return [("all units", np.arange(variable.sizes[other]))]
        owners = task.data["unit_site"].values.astype(str)
        return [(str(site), np.flatnonzero(owners == site)) for site in dict.fromkeys(owners.tolist())]
    labels = task.data[other].values.tolist() if other in task.data.coords else range(variable.sizes[other])
    return [(reading.shown(label), np.array([place])) for place, label in enumerate(labels)]


# Return the finite values at one point of the sweep as (seed, position, member), NaN where there is none.
def _cube(name: str, task: _Task, point: reading.Point) -> Array:
    variable = reading.select(task.data[name], point)
    order = [reading.REPEATS, task.axis, task.other]
    present = [dim for dim in order if dim in variable.dims]
    values = variable.transpose(*present).values.astype(float)
    values = values.reshape([variable.sizes[dim] if dim in variable.dims else 1 for dim in order])
    return np.where(np.isfinite(values), values, np.nan)


# Reduce (seed, position, member) to middle, low and high at each position.
def _reduce(cube: Array, units: bool) -> tuple[Array, Array, Array]:
    if units:
        pooled = cube.transpose(1, 0, 2).reshape(cube.shape[1], -1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
            low, high = np.nanquantile(pooled, [0.1, 0.9], axis=1)
        return mean(pooled, 1), low, high
    runs = mean(cube, 2)
    return mean(runs, 0), np.fmin.reduce(runs, 0), np.fmax.reduce(runs, 0)


# Return where values stand along the axis, and how many of them share a block.
def _positions(task: _Task, limit: int = MAX_POSITIONS) -> tuple[list[float], int]:
    data, axis = task.data, str(task.axis)
    labels = data[axis].values.astype(float) if axis in data.coords else np.arange(data.sizes[axis], dtype=float)
    size = -(-labels.size // limit)
    return plain(mean(blocks(labels, size), -1)), size


def _lines(name: str, label: str, task: _Task, points: list[reading.Point], members: Array) -> dict[str, Any]:
    x, size = _positions(task)
    series = []
    for point in points:
        middle, low, high = _reduce(_cube(name, task, point)[:, :, members], task.other == "unit")
        if np.isnan(middle).all():
            continue
        line = {"point": point.index, "name": point.label, "y": plain(mean(blocks(middle, size), -1))}
        low, high = np.fmin.reduce(blocks(low, size), -1), np.fmax.reduce(blocks(high, size), -1)
        if not np.array_equal(low, high, equal_nan=True):
            line |= {"low": plain(low), "high": plain(high)}
        series.append(line)
    return {
        "kind": "lines",
        "title": label,
        "x_title": _axis_title(task),
        "x_log": task.axis == "learning_rate" and min(x) > 0 and max(x) > 20 * min(x),
        "y_title": _units(task),
        "x": x,
        "series": series,
    }


def _heat(name: str, label: str, task: _Task, point: reading.Point, parts: list[tuple[str, Array]]) -> dict[str, Any]:
    x, size = _positions(task, MAX_COLUMNS)
    cube = _cube(name, task, point)
    if task.other == "unit":
        rows = np.stack([mean(mean(cube[:, :, members], 2), 0) for _, members in parts])
    else:
        rows = mean(cube, 0).T
    rows = mean(blocks(rows, size), -1)
    step = -(-len(parts) // MAX_ROWS)
    labels = [parts[i][0] + ("" if step == 1 else " …") for i in range(0, len(parts), step)]
    rows = mean(blocks(rows.T, step), -1).T
    return {
        "kind": "heat",
        "point": point.index,
        "title": label,
        "x_title": _axis_title(task),
        "z_title": _units(task),
        "x": x,
        "rows": labels,
        "z": [plain(row) for row in rows],
    }


def _profile(
    name: str, label: str, task: _Task, points: list[reading.Point], parts: list[tuple[str, Array]]
) -> dict[str, Any]:
    series = []
    for point in points:
        cube = _cube(name, task, point)
        reduced = [_reduce(cube[:, :, members], task.other == "unit") for _, members in parts]
        middle, low, high = (np.array([each[i][0] for each in reduced]) for i in range(3))
        labels = [part for part, _ in parts] if task.other else [point.label]
        series.append(
            {
                "point": point.index,
                "name": point.label,
                "x": labels,
                "y": plain(middle),
                "low": plain(low),
                "high": plain(high),
            }
        )
    return {
        "kind": "profile",
        "title": label,
        "x_title": "site" if task.other == "unit" else task.other or "",
        "y_title": _units(task),
        "series": series,
    }


# Give the plots of a family one scale, so that they can be compared by eye.
def _shared(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    values: list[float] = []
    for figure in figures:
        rows = figure.get("z") or [s[key] for s in figure["series"] for key in ("y", "low", "high") if key in s]
        values += [value for row in rows for value in row if value is not None]
    if values:
        low, high = min(values), max(values)
        room = 0.04 * (high - low) or 0.05 * abs(high) or 0.05
        for figure in figures:
            figure["range"] = [low, high] if figure["kind"] == "heat" else [low - room, high + room]
    return figures


def _caption(task: _Task, count: int) -> str:
    attrs = task.variable.attrs
    texts = [str(attrs.get(key, "")).strip() for key in ("long_name", "description")]
    texts = [text[:1].upper() + text[1:].rstrip(".") + "." for text in texts if text]
    if len(task.names) > 1:
        texts = texts[1:]
    if task.axis is not None:
        size = _positions(task)[1]
        texts += [f"Averaged over blocks of {size} {task.axis}s."] if size > 1 else []
    if count > MAX_SERIES:
        texts.append(f"The first {MAX_SERIES} of {count} points of the sweep are drawn.")
    return " ".join(dict.fromkeys(texts))


def _spread(task: _Task, points: list[reading.Point], subject: str) -> str:
    seeds = task.variable.sizes.get(reading.REPEATS, 1)
    if task.other == "unit":
        over = "units and seeds" if seeds > 1 else "units"
        return f"{subject} the mean over {over}, the band holds the middle 80 % of them."
    return f"{subject} the mean over {seeds} seeds, the band goes from the lowest to the highest." if seeds > 1 else ""


def _units(task: _Task) -> str:
    units = str(task.variable.attrs.get("units", ""))
    return "" if units == "1" else units


def _axis_title(task: _Task) -> str:
    axis = str(task.axis)
    units = str(task.data[axis].attrs.get("units", "1")) if axis in task.data.coords else "1"
    return axis.replace("_", " ") + ("" if units in ("1", "") else f" ({units})")


def _joined(*labels: str) -> str:
    return ", ".join(label for label in labels if label)
