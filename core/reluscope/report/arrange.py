"""The values of a declared figure in the order in which they are drawn, out of whatever an archive holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import ReluscopeError, nearest
from reluscope.figures import LAST, Figure
from reluscope.report import reading
from reluscope.report.numbers import Array

POOLED = ("filter",)
"""Dims besides the seed whose values one box stands for, unless they are named or selected."""

MAX_VALUES = 50_000_000
"""More values than this are not read for one figure."""


class CannotDraw(ReluscopeError):
    """A figure that this archive does not hold; the message is a sentence for the page."""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Values with the labels of their dims.

    Attributes:
        dims: Names of the dims.
        labels: Dim to its labels, as plain types.
        values: The finite values, NaN where there is none.
    """

    dims: tuple[str, ...]
    labels: dict[str, list[Any]]
    values: Array


@dataclasses.dataclass(frozen=True)
class Panel:
    """What is drawn in one panel.

    Attributes:
        title: The labels of the panel.
        index: Its place in rows and columns.
        values: The values, `(colour, x, y, seed)`.
    """

    title: str
    index: tuple[int, int]
    values: Array


def find(tree: xr.DataTree, figure: Figure) -> xr.DataArray:
    """Find the variable that a figure draws.

    Args:
        tree: The archive.
        figure: The figure.

    Returns:
        The variable.

    Raises:
        CannotDraw: If it is not there, or holds nothing that can be drawn.
    """
    groups = dict(reading.groups(tree))
    group, name = figure.group.strip("/"), figure.variable
    if group not in groups:
        raise CannotDraw(f"The archive has no group {group!r} with values. {nearest(group, groups)}")
    if name not in groups[group].data_vars:
        known = map(str, groups[group].data_vars)
        raise CannotDraw(f"The group {group!r} has no variable {name!r}. {nearest(name, known)}")
    variable = groups[group][name]
    if not reading.numeric(variable):
        raise CannotDraw(f"The variable {name!r} holds {variable.dtype}, not numbers.")
    if not variable.size or variable.size > MAX_VALUES:
        raise CannotDraw(f"The variable {name!r} has {variable.size:,} values; 1 to {MAX_VALUES:,} can be drawn.")
    return variable


def arrange(
    variable: xr.DataArray, figure: Figure, roles: Sequence[str], swept: Collection[Hashable]
) -> tuple[Labelled, list[str]]:
    """Select, number and reorder the values of a variable as a figure says.

    Args:
        variable: The variable, or one that goes with it, such as the points to mark.
        figure: The figure.
        roles: The dims in the order in which they are drawn; an empty name, and a dim that the variable does not have,
            gets the size 1 and no labels.
        swept: The dims of the sweep.

    Returns:
        The values with the dims in the order of `roles`, and sentences for the caption.

    Raises:
        CannotDraw: If a dim is left that has no place in the figure, or nothing is selected or recorded.
    """
    dims = tuple(map(str, variable.dims))
    values = variable.values.astype(float)
    labels = {dim: _labels(variable, dim) for dim in dims}
    found = Labelled(dims, labels, np.where(np.isfinite(values), values, np.nan))
    if figure.align == "number" and "site" in dims:
        found = numbered(found, swept)
    notes = []
    for dim, wanted in figure.select.items():
        if dim not in found.dims:
            raise CannotDraw(f"{_lacks(variable, dim)}, of which the figure selects labels.")
        found, absent = _selected(found, dim, wanted if isinstance(wanted, list) else [wanted], swept)
        if absent:
            notes.append(f"Not in this archive: {', '.join(f'{dim} {reading.shown(label)}' for label in absent)}.")
    named = [dim for dim in roles if dim]
    left = [dim for dim in found.dims if dim not in named and found.values.shape[found.dims.index(dim)] > 1]
    if set(left) - set(pooled(figure)):
        raise CannotDraw(
            f"The variable {variable.name!r} has the {'dim' if len(left) == 1 else 'dims'} {', '.join(left)}, "
            "which the figure neither draws nor selects."
        )
    if np.isnan(found.values).all():
        raise CannotDraw("Nothing of it has been recorded.")
    keep = [dim for dim in named if dim in found.dims]
    drop = [dim for dim in found.dims if dim not in keep]
    order = [found.dims.index(dim) for dim in (*keep, *drop)]
    sizes = [len(found.labels[dim]) if dim in keep else 1 for dim in roles]
    # what is pooled goes with the last role, the repeats
    return Labelled(tuple(roles), found.labels, found.values.transpose(order).reshape(*sizes[:-1], -1)), notes


def pooled(figure: Figure) -> tuple[str, ...]:
    """Return the dims besides the seed that one box stands for.

    Args:
        figure: The figure.

    Returns:
        The dims that it neither names nor selects, whose values it pools; none of a figure of another kind.
    """
    named = {*figure.dims.values(), *figure.select}
    return tuple(dim for dim in POOLED if dim not in named) if figure.kind == "box" else ()


def beside(variable: xr.DataArray, figure: Figure, roles: Sequence[str], swept: Collection[Hashable]) -> Labelled:
    """Arrange a variable that is drawn on top of a figure's own.

    Args:
        variable: The variable.
        figure: The figure; of what it selects, dims that the variable does not have are left out.
        roles: The dims in the order in which they are drawn, as `arrange` takes them.
        swept: The dims of the sweep.

    Returns:
        Its values with the dims in the order of `roles`.

    Raises:
        CannotDraw: As `arrange` has it.
    """
    select = {dim: labels for dim, labels in figure.select.items() if dim in variable.dims}
    align = figure.align if "site" in variable.dims else "name"
    return arrange(variable, figure.model_copy(update={"select": select, "align": align}), roles, swept)[0]


def numbered(found: Labelled, swept: Collection[Hashable]) -> Labelled:
    """Count the sites of each network from its input: the first that it has is number 1.

    Networks of a sweep that differ have sites of different names; each point of the sweep counts those at which it
    recorded something, in the order of the archive.

    Args:
        found: Values with the dim `site`.
        swept: The dims of the sweep.

    Returns:
        The same, with as many sites as the network with most of them, labelled 1, 2, ...

    Example:
        >>> values = np.array([[1.0, np.nan, 2.0], [np.nan, 3.0, np.nan]])
        >>> two = Labelled(("depth", "site"), {"depth": [1, 2], "site": ["a", "b", "c"]}, values)
        >>> numbered(two, ["depth"]).values
        array([[ 1.,  2.],
               [ 3., nan]])
    """
    axis = found.dims.index("site")
    here = _recorded(found, "site", swept)
    order = np.argsort(~here, axis=axis, kind="stable")
    most = max(1, int(here.sum(axis).max()))
    moved = np.take_along_axis(found.values, np.broadcast_to(order, found.values.shape), axis)
    labels = {**found.labels, "site": list(range(1, most + 1))}
    return Labelled(found.dims, labels, np.take(moved, np.arange(most), axis))


# Tell at which labels of a dim each point of the sweep recorded anything; the other dims get the size 1.
def _recorded(found: Labelled, dim: str, swept: Collection[Hashable]) -> Array:
    points = {dim, *(name for name in swept if name != reading.REPEATS)}
    others = tuple(axis for axis, name in enumerate(found.dims) if name not in points)
    return np.asarray((~np.isnan(found.values)).any(others, keepdims=True))


def _selected(
    found: Labelled, dim: str, wanted: Sequence[Any], swept: Collection[Hashable]
) -> tuple[Labelled, list[Any]]:
    axis = found.dims.index(dim)
    parts: dict[Any, Array] = {}
    absent = []
    for label in wanted:
        place = next((at for at, other in enumerate(found.labels[dim]) if _equal(label, other)), None)
        if place is not None:
            parts.setdefault(found.labels[dim][place], np.take(found.values, [place], axis))
        elif label == LAST:
            here = _recorded(found, dim, swept)
            size = here.shape[axis]
            places = size - 1 - np.flip(here, axis).argmax(axis, keepdims=True)
            ends = np.unique(places[here.any(axis, keepdims=True)])
            values = np.take_along_axis(
                found.values,
                np.broadcast_to(places, [*found.values.shape[:axis], 1, *found.values.shape[axis + 1 :]]),
                axis,
            )
            parts.setdefault(found.labels[dim][ends[0]] if ends.size == 1 else LAST, values)
        else:
            absent.append(label)
    if not parts:
        raise CannotDraw(f"The archive has no {dim} {', '.join(map(reading.shown, absent))}, which the figure selects.")
    return Labelled(found.dims, {**found.labels, dim: list(parts)}, np.concatenate(list(parts.values()), axis)), absent


def _equal(label: Any, other: Any) -> bool:
    if isinstance(label, str) or isinstance(other, str):
        return bool(label == other)
    return math.isclose(label, other, rel_tol=1e-6)  # labels may have been float32


def _labels(variable: xr.DataArray, dim: str) -> list[Any]:
    if dim not in variable.coords or variable.coords[dim].dims != (dim,):
        return list(range(variable.sizes[dim]))
    labels = variable.coords[dim]
    return list(labels.values.tolist()) if labels.dtype.kind in "biufU" else list(map(str, labels.values.tolist()))


def _lacks(variable: xr.DataArray, dim: str) -> str:
    has = ", ".join(map(str, variable.dims)) or "none"
    return f"The variable {variable.name!r} has no dim {dim!r} (its dims: {has})"


def need(variable: xr.DataArray, dims: Sequence[str]) -> None:
    """See to it that a variable has the dims along the axes of its figure.

    Args:
        variable: The variable.
        dims: The dims.

    Raises:
        CannotDraw: If it lacks one.
    """
    for dim in dims:
        if dim not in variable.dims:
            raise CannotDraw(f"{_lacks(variable, dim)}, along which the figure draws it.")
