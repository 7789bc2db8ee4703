"""The headline table: where each quantity ended, for each point of the sweep, over its seeds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

from reluscope.report import reading

_FIRST = ("accuracy", "loss")
_SPLITS = ("test", "validation", "train")


@dataclasses.dataclass(frozen=True)
class Cell:
    """Where one quantity ended at one point of the sweep.

    Attributes:
        mean: Mean over the seeds; NaN where nothing was recorded.
        spread: Sample standard deviation over the seeds; NaN for fewer than two.
        runs: Number of seeds that recorded it.
        at: Where it was last recorded, such as `"epoch 3"`, if that is before the end; else empty.
    """

    mean: float
    spread: float
    runs: int
    at: str = ""

    def __str__(self) -> str:
        text = value_text(self.mean, self.spread)
        return f"{text} ({self.at})" if self.at else text


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity.

    Attributes:
        name: The variable's name.
        group: The group that holds it.
        title: What it is, in words.
        units: Its units.
        over: What the number averages over beside seeds, such as `"units"`; empty where nothing.
        cells: One for each point of the sweep, in order.
    """

    name: str
    group: str
    title: str
    units: str
    over: str
    cells: tuple[Cell, ...]


@dataclasses.dataclass(frozen=True)
class Summary:
    """The headline table.

    Attributes:
        points: The points of the sweep.
        rows: The quantities, accuracy and loss first.
    """

    points: tuple[reading.Point, ...]
    rows: tuple[Row, ...]

    def records(self) -> list[dict[str, Any]]:
        """Return the table as plain types, one object for each point of the sweep.

        Returns:
            Each with `point` (dim to value) and `values` (variable to mean, spread, units); None stands for NaN.
        """
        return [
            {
                "point": dict(point.selection),
                "values": {
                    row.name: {
                        "mean": _plain(row.cells[place].mean),
                        "spread": _plain(row.cells[place].spread),
                        "runs": row.cells[place].runs,
                        "units": row.units,
                    }
                    for row in self.rows
                },
            }
            for place, point in enumerate(self.points)
        ]


def summarise(tree: xr.DataTree) -> Summary:
    """Reduce an archive to where each quantity ended.

    Dims other than those of the sweep are averaged. Where there are quantities recorded at every epoch, only they are
    in the table: what was recorded at every step, or once, is not.

    Args:
        tree: The archive.

    Returns:
        The table.
    """
    found = reading.points(tree)
    swept = reading.sweep_dims(tree)
    per_epoch = any("epoch" in data.dims for _, data in reading.groups(tree))
    rows = []
    for group, data in reading.groups(tree):
        reached = {
            axis: reading.recorded(data, axis, swept)
            for axis in reading.AXES
            if axis in data.dims and axis not in swept
        }
        for name, variable in data.data_vars.items():
            if not reading.numeric(variable) or not variable.size or name == "rate":
                continue
            if per_epoch and "epoch" not in variable.dims:
                continue
            # the mean of a picture says nothing, nor that of the two ends of an interval
            if {"x", "y"} <= set(variable.dims) or {"point", "bound"} & set(variable.dims):
                continue
            over = [str(dim) for dim in variable.dims if dim not in swept and dim not in reading.AXES]
            rows.append(
                Row(
                    name=str(name),
                    group=group,
                    title=title(str(name)),
                    units=str(variable.attrs.get("units", "")),
                    over=" and ".join(f"{dim}es" if dim.endswith("s") else f"{dim}s" for dim in over),
                    cells=tuple(final(variable, point, swept, reached) for point in found),
                )
            )
    rows.sort(key=lambda row: rank(row.name))
    return Summary(tuple(found), tuple(rows))


def final(
    variable: xr.DataArray,
    point: reading.Point,
    swept: Collection[str],
    reached: Mapping[str, xr.DataArray],
    where: Mapping[str, Any] = MappingProxyType({}),
) -> Cell:
    """Find where one variable ended at one point of the sweep.

    Args:
        variable: The variable.
        point: The point.
        swept: The dims of the sweep.
        reached: For each dim along which its group grows, how far each run came: see `reading.recorded`.
        where: Labels of further dims, to look there and not at the end.

    Returns:
        Mean and spread over the seeds.
    """
    chosen = reading.select(variable, point)
    for dim, label in where.items():
        if dim in chosen.coords:
            chosen = chosen.isel({dim: np.flatnonzero(chosen[dim].values == label)})
    if not chosen.size:  # such as an epoch that a smaller scale does not reach
        return Cell(math.nan, math.nan, 0)
    axis = next((axis for axis in reading.AXES if axis in chosen.dims and axis not in swept), None)
    keep = [dim for dim in (reading.REPEATS, axis) if dim in chosen.dims]
    values = chosen.astype(float).transpose(*keep, ...).values
    table = mean(values.reshape(*(chosen.sizes[dim] for dim in keep), -1), -1)
    if reading.REPEATS not in keep:
        table = table[None]
    if axis is None:
        ends, at = list(table), ""
    else:
        there = reading.select(reached[axis], point)
        others = [dim for dim in there.dims if dim != axis]
        furthest = int(np.flatnonzero(there.any(others).values).max(initial=0)) if axis not in where else 0
        ends, lasts = [], []
        for run in table:
            known = np.flatnonzero(~np.isnan(run))
            ends.append(run[known[-1]] if known.size else math.nan)
            lasts.append(int(known[-1]) if known.size else furthest)
        at = ""
        if axis not in where and min(lasts, default=furthest) < furthest:
            at = f"{axis} {reading.shown(chosen[axis].values[min(lasts)])}"
    known_ends = np.array([end for end in ends if not math.isnan(end)], float)
    if not known_ends.size:
        return Cell(math.nan, math.nan, 0)
    if not np.isfinite(known_ends).all():
        return Cell(math.inf, math.nan, known_ends.size, at)
    spread = float(known_ends.std(ddof=1)) if known_ends.size > 1 else math.nan
    return Cell(float(known_ends.mean()), spread, known_ends.size, at)


def mean(values: np.ndarray[Any, Any], axis: int) -> np.ndarray[Any, Any]:
    """Average what is there: like `numpy.nanmean`, but silent where nothing is.

    Args:
        values: Numbers, NaN where missing.
        axis: The axis to average over.

    Returns:
        The means, NaN where all is missing.
    """
    there = ~np.isnan(values)
    count = there.sum(axis)
    total = np.where(there, values, 0.0).sum(axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def rank(name: str) -> tuple[int, int, str]:
    """Give a quantity its place in the table: what training aims at first, the test split before the others.

    Args:
        name: The variable's name.

    Returns:
        A key to sort by.
    """
    kind = next((place for place, word in enumerate(_FIRST) if name.split("_")[-1] == word), len(_FIRST))
    split = next((place for place, word in enumerate(_SPLITS) if name.startswith(f"{word}_")), len(_SPLITS))
    return kind, split, name


def title(name: str) -> str:
    """Turn a variable's name into words.

    Args:
        name: A snake_case name.

    Returns:
        The words, the first with a capital.

    Example:
        >>> title("firing_rate")
        'Firing rate'
    """
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def value_text(value: float, spread: float = math.nan) -> str:
    """Write a mean and its spread with the digits that matter.

    Args:
        value: The mean.
        spread: Its spread; NaN where there is none.

    Returns:
        Text such as `"0.9583 ± 0.0040"`; a dash where there is no value.

    Example:
        >>> value_text(0.95834, 0.00402)
        '0.9583 ± 0.0040'
        >>> value_text(0.95834)
        '0.9583'
    """
    if math.isnan(value):
        return "-"
    if not math.isfinite(value):
        return "not finite"
    if math.isnan(spread) or spread == 0.0:
        text = f"{value:.4g}"
        return text if math.isnan(spread) else f"{text} ± 0"
    if not 1e-6 < spread < 1e6:
        return f"{value:.4g} ± {spread:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(spread)))
    return f"{value:.{decimals}f} ± {spread:.{decimals}f}"


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
