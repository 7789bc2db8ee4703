"""Reading an archive for a report: its groups, the points of its sweep, and its provenance, whoever wrote it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from reluscope.schema import RAGGED
from reluscope.verdicts import GROUP as CLAIMS

AXES = ("epoch", "step", "learning_rate")
"""Dims that a quantity is drawn along, the most telling first."""

REPEATS = "seed"
"""The dim over which runs are averaged."""

OUTCOME = "outcome"
"""The group in which the runner says how each run ended."""


@dataclasses.dataclass(frozen=True)
class Point:
    """One point of a sweep, all its seeds together.

    Attributes:
        index: Its number, which decides its colour.
        label: Its name for people.
        selection: Sweep dim to value, without the seed.
    """

    index: int
    label: str
    selection: Mapping[str, Any]


def groups(tree: xr.DataTree) -> Iterator[tuple[str, xr.Dataset]]:
    """Walk over the groups that hold measured variables: all but tables, verdicts, and how the runs ended.

    Args:
        tree: The archive.

    Yields:
        The group's path (empty for the root) and its data; `epoch` comes first, then `step`, then the rest.
    """
    found = [(node.path.strip("/"), node.to_dataset()) for node in tree.subtree if node.data_vars]
    found = [
        (name, data) for name, data in found if name not in (OUTCOME, CLAIMS) and not RAGGED.intersection(data.dims)
    ]
    first = {name: rank for rank, name in enumerate(AXES)}
    yield from sorted(found, key=lambda item: first.get(item[0], len(first)))


def sweep_dims(tree: xr.DataTree) -> tuple[str, ...]:
    """Read which dims are swept.

    Args:
        tree: The archive.

    Returns:
        The names in the root attribute `sweep_dims`; `seed` alone where that is missing or unreadable.
    """
    try:
        names = json.loads(str(tree.attrs.get("sweep_dims", "")))
    except (json.JSONDecodeError, RecursionError):
        names = []
    names = [str(name) for name in names] if isinstance(names, list) else []
    return tuple(dict.fromkeys([*names, REPEATS]))


def points(tree: xr.DataTree) -> list[Point]:
    """List the points of the sweep, all seeds of one point together.

    Args:
        tree: The archive.

    Returns:
        The points in the order of the archive; a single one without a selection where only the seed is swept.
    """
    values: dict[str, list[Any]] = {}
    for dim in sweep_dims(tree):
        for _, data in groups(tree):
            if dim != REPEATS and dim in data.dims:
                values[dim] = data[dim].values.tolist() if dim in data.coords else list(range(data.sizes[dim]))
                break
    found = []
    for index, combination in enumerate(itertools.product(*values.values())):
        selection = dict(zip(values, combination, strict=True))
        if len(selection) == 1:
            label = shown(combination[0]) if isinstance(combination[0], str) else _pair(*next(iter(selection.items())))
        else:
            label = ", ".join(_pair(dim, value) for dim, value in selection.items()) or "all seeds"
        found.append(Point(index, label, selection))
    return found


def _pair(dim: str, value: Any) -> str:
    return f"{dim} = {shown(value)}"


def shown(value: Any) -> str:
    """Write a label for people.

    Args:
        value: A label of a coordinate.

    Returns:
        Text; numbers without trailing digits that say nothing.
    """
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def select(variable: xr.DataArray, point: Point) -> xr.DataArray:
    """Take one point of the sweep out of a variable.

    Args:
        variable: Any variable of the archive.
        point: The point.

    Returns:
        The variable without the dims of the sweep that it has, save the seed.
    """
    index, here = {}, True
    for dim, value in point.selection.items():
        if dim in variable.dims:
            labels = variable[dim].values.tolist() if dim in variable.coords else list(range(variable.sizes[dim]))
            here = here and value in labels
            index[dim] = labels.index(value) if value in labels else 0
    return variable.isel(index) if here else variable.isel(index).where(False)


def distinct(variable: xr.DataArray, found: list[Point]) -> list[Point]:
    """Drop the points that a variable does not tell apart.

    Args:
        variable: Any variable of the archive.
        found: All points.

    Returns:
        The first of each set of points that select the same values.
    """
    seen: dict[str, Point] = {}
    for point in found:
        seen.setdefault(repr([v for dim, v in point.selection.items() if dim in variable.dims]), point)
    return list(seen.values())


def numeric(variable: xr.DataArray) -> bool:
    """Tell whether a variable holds numbers or truth values.

    Args:
        variable: Any variable.

    Returns:
        False for text, times, complex numbers.
    """
    return variable.dtype.kind in "biuf"


def provenance(tree: xr.DataTree) -> dict[str, Any]:
    """Read the provenance.

    Args:
        tree: The archive.

    Returns:
        The decoded JSON object; empty where it is missing or unreadable.
    """
    return _json_object(tree, "provenance")


def _json_object(tree: xr.DataTree, name: str) -> dict[str, Any]:
    try:
        decoded = json.loads(str(tree.attrs.get(name, "{}")))
    except (json.JSONDecodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def recorded(data: xr.Dataset, axis: str, swept: Collection[Hashable]) -> xr.DataArray:
    """Tell which labels of an axis each run has come to.

    Args:
        data: A group.
        axis: The dim along which it grows.
        swept: The dims of the sweep.

    Returns:
        Truth values over the axis and those dims of the sweep that the group has: whether anything was recorded there.
    """
    found = xr.DataArray(np.zeros(data.sizes[axis], bool), dims=axis)
    for variable in data.data_vars.values():
        if axis in variable.dims and numeric(variable) and variable.size:
            found = found | variable.notnull().any([dim for dim in variable.dims if dim != axis and dim not in swept])
    return found


def failures(tree: xr.DataTree) -> dict[str, str]:
    """Read which runs left the finite numbers.

    Args:
        tree: The archive.

    Returns:
        Label of the run, its seed included, to the reason.
    """
    if OUTCOME not in tree.children:
        return {}
    data = tree[OUTCOME].to_dataset()
    if "diverged" not in data or not numeric(data["diverged"]):
        return {}
    diverged = data["diverged"]
    found = {}
    for place in np.argwhere(diverged.fillna(0).values.astype(bool)):
        index = dict(zip(diverged.dims, place.tolist(), strict=True))
        labels = [
            _pair(str(dim), diverged[dim].values[at].item() if dim in diverged.coords else at)
            for dim, at in index.items()
        ]
        reason = data["reason"].isel(index, missing_dims="ignore").values if "reason" in data else "no reason given"
        found[", ".join(labels) or "the run"] = str(reason)
    return found


def incomplete(tree: xr.DataTree) -> list[str]:
    """Say what is missing in the archive of a run that was killed, still runs, or diverged at some points.

    Args:
        tree: The archive.

    Returns:
        A sentence for each thing that is missing; empty where the run came to its end.
    """
    missing = [f"Failed at {label}: {reason}" for label, reason in failures(tree).items()]
    recipe = provenance(tree).get("recipe")
    recipe = recipe if isinstance(recipe, dict) else {}
    sweep = recipe.get("sweep")
    sweep = {key: value for key, value in sweep.items() if isinstance(value, list)} if isinstance(sweep, dict) else {}
    planned = math.prod(len(values) for values in sweep.values())
    dims = sweep_dims(tree)
    for name, data in groups(tree):
        axis = next((axis for axis in ("epoch", "step") if axis in data.dims and axis not in dims), None)
        if axis is None or not data.sizes[axis]:
            continue
        there = recorded(data, axis, dims)
        begun = int(there.any(axis).sum())
        if begun < planned:
            missing.append(f"Only {begun} of {planned} runs have begun.")
        # runs whose lengths the sweep itself varies end where they should
        if not any(key.split(".")[-1] in ("epochs", "steps", "batch_size") for key in sweep):
            short = begun - int(there.isel({axis: -1}).sum())
            if short:
                last = shown(data[axis].values[-1])
                missing.append(f"{short} of {begun} runs stop before {axis} {last} (group {name or '/'}).")
        break
    return missing
