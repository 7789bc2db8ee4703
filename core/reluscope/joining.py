"""Joining what a run recorded: by the labels of the dims that grow, and stacked over the points of a sweep."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import SchemaError
from reluscope.joint_axis import UNIT_LABELS, JointAxis, labels_of, rows_of
from reluscope.manifest import canonical
from reluscope.schema import GROWING, RAGGED
from reluscope.sweep import Point, Scalar

Array = np.ndarray[Any, Any]


@dataclasses.dataclass(frozen=True)
class Increment:
    """What one moment of a run adds to a group.

    Attributes:
        group: Path of the group, such as `"/epoch"`.
        point: The point of the sweep: dim to label.
        data: The labelled data.
    """

    group: str
    point: Point
    data: xr.Dataset


def join(records: Iterable[Increment]) -> tuple[dict[str, xr.Dataset], list[str]]:
    """Join all records of a run.

    Records of one point are combined by their labels, a later one wins where two have the same; then the points are
    stacked along dims of their own, in the order of their labels. The result does not depend on the order in which the
    points came. What no record fills is NaN (empty for text), and only then integers and bools become float64. Along a
    ragged dim (`schema.RAGGED`) the shorter ones are filled up with zeros, and numbers keep their type.

    Args:
        records: In the order in which they were recorded.

    Returns:
        Each group's data, and the dims that the sweep added.

    Raises:
        SchemaError: If records of one group do not fit together.
    """
    groups: dict[str, list[Increment]] = {}
    for record in records:
        groups.setdefault(record.group, []).append(record)
    joined: dict[str, xr.Dataset] = {}
    dims: dict[str, None] = {}
    for group in sorted(groups):
        keys = groups[group][0].point.keys()
        for record in groups[group]:
            if record.point.keys() != keys:
                raise SchemaError(
                    f"group {group!r} has points {dict(record.point)} and {dict(groups[group][0].point)}; "
                    "expected the same keys in all points of a group"
                )
        members = sorted(groups[group], key=lambda record: [_rank(record.point[key]) for key in sorted(keys)])
        dims |= dict.fromkeys(members[0].point)
        joined[group] = _Joint(group, members).dataset()
    return joined, list(dims)


def compact(records: Sequence[Increment]) -> list[Increment]:
    """Join records of the same group and point where that changes nothing but their number.

    Args:
        records: In the order in which they were recorded.

    Returns:
        As few records as fill every value of their joint labels, with the same variables in all that are joined.

    Raises:
        SchemaError: If records of one group do not fit together.
    """
    heaps: dict[tuple[str, tuple[Any, ...]], list[Increment]] = {}
    for record in records:
        heaps.setdefault(
            (record.group, tuple((key, _rank(record.point[key])) for key in sorted(record.point))), []
        ).append(record)
    compacted = []
    for heap in heaps.values():
        alike = _alike(heap)
        if len(alike) > 1:
            _joint(heap)  # only for its errors: better now than at the end of the run
        for run in alike:
            data, complete = _joint(run) if len(run) > 1 else (run[0].data, True)
            compacted += [dataclasses.replace(run[0], data=data)] if complete else run
    return compacted


def _joint(records: Sequence[Increment]) -> tuple[xr.Dataset, bool]:
    joint = _Joint(records[0].group, [dataclasses.replace(record, point={}) for record in records])
    return joint.dataset(), joint.complete


def _alike(heap: Sequence[Increment]) -> list[list[Increment]]:
    # records with the same variables; across others only where neither the order nor the later one matters
    sets: dict[frozenset[Hashable], list[Increment]] = {}
    for record in heap:
        sets.setdefault(frozenset(record.data.variables), []).append(record)
    counts = Counter(name for variables in sets for name in variables)
    shared = [name for name, count in counts.items() if count > 1]
    if len({canonical(record.data.attrs) for record in heap}) == 1 and all(_orderless(name, heap) for name in shared):
        return list(sets.values())
    return [list(run) for _, run in itertools.groupby(heap, key=lambda record: frozenset(record.data.variables))]


def _orderless(name: Hashable, heap: Sequence[Increment]) -> bool:
    found = [record.data.variables[name] for record in heap if name in record.data.variables]
    if all(variable.dims == (name,) and variable.dtype.kind in "iuf" for variable in found):
        return len({canonical(variable.attrs) for variable in found}) == 1
    first = xr.Dataset({"": found[0]})
    return all(first.identical(xr.Dataset({"": variable})) for variable in found[1:])


def check(record: Increment) -> None:
    """Check that a record can be joined with others.

    Args:
        record: A record.

    Raises:
        SchemaError: If its labels are not unique or not labels, or its point clashes with its data.
    """
    data, where = record.data, f"group {record.group!r}"
    for key, value in record.point.items():
        if not isinstance(value, (str, int, float)) or value != value or value in {float("inf"), -float("inf")}:
            raise SchemaError(
                f"{where}: the point's {key!r} is {value!r:.60}; expected text, a bool or a finite number"
            )
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise SchemaError(f"{where}: the point's {key!r} is {value}, which does not fit into 64 bits")
        if key in data.dims or key in data.variables:
            raise SchemaError(f"{where}: {key!r} is a dim of the sweep and in the data too; rename one or drop it")
    for dim in map(str, data.dims):
        if dim in GROWING and dim not in data.coords:
            raise SchemaError(f"{where}: the dim {dim!r} has no labels; add the coordinate {dim!r}")
        columns = labels_of(data, dim)
        for column in columns or ():
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise SchemaError(f"{where}: the labels of {dim!r} are not all finite")
        if columns is not None and len(set(rows_of(columns))) < data.sizes[dim]:
            raise SchemaError(f"{where}: the labels of {dim!r} are not unique")
    for name, coordinate in data.coords.items():
        if name in GROWING and not coordinate.ndim:
            raise SchemaError(
                f"{where}: {name!r} is a single label; make it a dim with data.expand_dims({str(name)!r})"
            )


def _rank(label: Scalar) -> tuple[int, Any]:
    # numbers before text, and True apart from 1
    if isinstance(label, str):
        return 2, label
    return (0, label) if isinstance(label, bool) else (1, label)


def _common(place: str, several: Iterable[tuple[Point, Mapping[Any, Any]]]) -> dict[Any, Any]:
    # what one point says of itself, such as its number of samples, must not be said of all
    points: dict[tuple[Any, ...], dict[Any, Any]] = {}
    for point, attrs in several:
        points.setdefault(tuple(point.items()), {}).update(attrs)
    common: dict[Any, Any] = {}
    for key in dict.fromkeys(key for attrs in points.values() for key in attrs):
        values = [attrs[key] for attrs in points.values() if key in attrs]
        if len(values) < len(points) and key not in ("units", "long_name"):
            continue
        if all(type(value) is type(values[0]) and np.array_equal(value, values[0]) for value in values[1:]):
            common[key] = values[0]
        elif key == "units":
            raise SchemaError(
                f"variable {place!r} has units {values[0]!r} at one point of the sweep and others at others"
            )
        elif key == "long_name":
            common[key] = min(map(str, values))
    return common


class _Joint:
    """The records of one group on their joint labels."""

    def __init__(self, group: str, records: Sequence[Increment]) -> None:
        self.group = group
        self.records = records
        self.complete = True
        self.sweep = {key: _sweep_labels(record.point[key] for record in records) for key in records[0].point}
        self.axes: dict[str, JointAxis] = {}
        self._places = [
            tuple(self.sweep[key].index(_rank(record.point[key])) for key in self.sweep) for record in records
        ]
        dims = dict.fromkeys(str(dim) for record in records for dim in record.data.dims)
        for dim in dims:
            having = {index: record.data for index, record in enumerate(records) if dim in record.data.dims}
            found = {index: labels_of(data, dim) for index, data in having.items()}
            self.axes[dim] = JointAxis(group, dim, found, {data.sizes[dim] for data in having.values()}, self._places)

    def dataset(self) -> xr.Dataset:
        """Join.

        Returns:
            The joint data; `complete` then says whether every value was filled by some record.

        Raises:
            SchemaError: If a variable is not of one kind throughout.
        """
        variables: dict[str, xr.Variable] = {}
        coords: dict[str, xr.Variable] = {}
        attrs = _common(self.group, [(record.point, record.data.attrs) for record in self.records])
        names: dict[Hashable, bool] = {}
        for record in self.records:
            for name in record.data.variables:
                is_coordinate = name in record.data.coords
                if names.setdefault(name, is_coordinate) != is_coordinate:
                    raise SchemaError(
                        f"variable {self.group + '/' + str(name)!r} is a coordinate in some records and data in others"
                    )
        for key, labels in self.sweep.items():
            values = _array([label for _, label in labels])
            coords[key] = xr.Variable((key,), values, {"long_name": key.replace("_", " "), "units": "1"})
        for name, is_coordinate in names.items():
            (coords if is_coordinate else variables)[str(name)] = self._variable(str(name), is_coordinate)
        return xr.Dataset(variables, coords, attrs)

    def _variable(self, name: str, is_coordinate: bool) -> xr.Variable:
        having = {
            index: record.data.variables[name]
            for index, record in enumerate(self.records)
            if name in record.data.variables
        }
        dims = tuple(map(str, next(iter(having.values())).dims))
        attrs = _common(f"{self.group}/{name}", [(self.records[i].point, v.attrs) for i, v in having.items()])
        for variable in having.values():
            if set(variable.dims) != set(dims):
                raise SchemaError(
                    f"variable {self.group + '/' + name!r} has the dims {dims} in one record and {variable.dims} in "
                    "another; expected the same in all"
                )
        axis = self.axes.get(dims[0]) if len(dims) == 1 else None
        if is_coordinate and axis is not None and axis.columns is not None:
            if name == dims[0]:
                return xr.Variable(dims, axis.columns[0], attrs)
            if len(axis.columns) > 1 and name in UNIT_LABELS:
                return xr.Variable(dims, axis.columns[UNIT_LABELS.index(name)], attrs)
        values, filled = self._assemble(having, dims)
        if is_coordinate:
            shared = _shared(values, filled, len(self.sweep))
            if shared is not None:
                return xr.Variable(dims, self._fill(*shared), attrs)
        ragged = bool(RAGGED.intersection(dims))
        return xr.Variable((*self.sweep, *dims), self._fill(values, filled, ragged=ragged), attrs)

    def _assemble(self, having: Mapping[int, xr.Variable], dims: tuple[str, ...]) -> tuple[Array, Array]:
        shape = (*(len(labels) for labels in self.sweep.values()), *(self.axes[dim].size for dim in dims))
        kinds = {variable.dtype.kind in "US" for variable in having.values()}
        if len(kinds) > 1:
            raise SchemaError(f"group {self.group!r}: a variable is text in some records and numbers in others")
        values = np.zeros(shape, np.result_type(*(variable.dtype for variable in having.values())))
        filled = np.zeros(shape, bool)
        for index, variable in having.items():
            block, mask = values[self._places[index]], filled[self._places[index]]
            spots = [self.axes[dim].where[index] for dim in dims]
            if not dims:
                values[self._places[index]] = variable.values
                filled[self._places[index]] = True
            elif RAGGED.intersection(dims):
                found = variable.transpose(*dims)
                full = [np.arange(n) if spot is None else spot for spot, n in zip(spots, found.shape, strict=True)]
                whole = [
                    np.arange(self.axes[dim].size) if dim in RAGGED else spot
                    for dim, spot in zip(dims, full, strict=True)
                ]
                block[np.ix_(*whole)] = 0  # of a longer one that was recorded before, nothing stays
                block[np.ix_(*full)] = found.values
                mask[np.ix_(*whole)] = True
            elif all(spot is None for spot in spots):
                block[...] = variable.transpose(*dims).values
                mask[...] = True
            else:
                sizes = [self.axes[dim].size for dim in dims]
                full = [np.arange(size) if spot is None else spot for spot, size in zip(spots, sizes, strict=True)]
                target = np.ix_(*full)
                block[target] = variable.transpose(*dims).values
                mask[target] = True
        return values, filled

    def _fill(self, values: Array, filled: Array, *, ragged: bool = False) -> Array:
        if filled.all():
            return values
        self.complete = False
        if ragged:
            return values
        if values.dtype.kind in "US":
            return values
        if values.dtype.kind != "f":
            values = values.astype(np.float64)
        values[~filled] = np.nan
        return values


def _shared(values: Array, filled: Array, sweep: int) -> tuple[Array, Array] | None:
    # what all points agree on needs no dims of the sweep
    points = int(np.prod(values.shape[:sweep]))
    values = values.reshape(points, *values.shape[sweep:])
    filled = filled.reshape(values.shape)
    first = filled.argmax(axis=0)[None]
    common = np.take_along_axis(values, first, axis=0)
    equal = values == common
    if values.dtype.kind == "f":
        equal |= np.isnan(values) & np.isnan(common)
    return (common[0], np.asarray(filled.any(axis=0))) if (equal | ~filled).all() else None


def _sweep_labels(labels: Iterable[Scalar]) -> list[tuple[int, Any]]:
    return sorted({_rank(label) for label in labels})


def _array(labels: list[Scalar]) -> Array:
    kinds = {type(label) for label in labels}
    if kinds <= {int, float} or len(kinds) == 1:
        return np.array(labels)
    return np.array(list(map(str, labels)))
