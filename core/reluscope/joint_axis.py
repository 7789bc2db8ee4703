"""The joint labels of one dim of many records: in what order they come, and where each record's are."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import SchemaError
from reluscope.schema import RAGGED

Array = np.ndarray[Any, Any]

UNIT_LABELS = ("unit_site", "neuron")
"""The coordinates that label a unit: sites are ragged, so the dim has no index of its own."""


def labels_of(data: xr.Dataset, dim: str) -> tuple[Array, ...] | None:
    """Read the labels along a dim.

    Args:
        data: Labelled data.
        dim: One of its dims.

    Returns:
        The columns that label it: one, or two for units; None where it has no labels.
    """
    if dim in data.coords:
        return (np.asarray(data.coords[dim].values),)
    if dim == "unit" and all(name in data.coords and data.coords[name].dims == (dim,) for name in UNIT_LABELS):
        return tuple(np.asarray(data.coords[name].values) for name in UNIT_LABELS)
    return None


def rows_of(columns: tuple[Array, ...]) -> list[Any]:
    """Turn columns of labels into one label for each place.

    Args:
        columns: As `labels_of` gives them.

    Returns:
        Plain values, or tuples of them.
    """
    lists = [column.tolist() for column in columns]
    return lists[0] if len(lists) == 1 else list(zip(*lists, strict=True))


def _same(a: tuple[Array, ...] | None, b: tuple[Array, ...] | None) -> bool:
    return a is not None and b is not None and all(map(np.array_equal, a, b))


class JointAxis:
    """The joint labels of one dim, and where each record's labels are among them.

    Args:
        group: Path of the group, for messages.
        dim: The dim.
        found: Number of a record to its labels along the dim, None where it has none.
        sizes: Sizes of the dim in the records.
        points: For each record the place of its point in the sweep.

    Attributes:
        where: Number of a record to the place of each of its labels; None where they are all of them in order.
        columns: The joint labels, None where there are none.
        size: Number of joint labels.

    Raises:
        SchemaError: If sizes differ and there are no labels to join by.
    """

    def __init__(
        self,
        group: str,
        dim: str,
        found: Mapping[int, tuple[Array, ...] | None],
        sizes: set[int],
        points: Sequence[tuple[int, ...]],
    ) -> None:
        self.where: dict[int, Array | None] = dict.fromkeys(found)
        columns = list(found.values())
        first = columns[0]
        self.columns = first
        self.size = max(sizes)
        if dim in RAGGED:
            self.columns = None
            return
        if any(column is None for column in columns):
            if len(sizes) > 1 or any(column is not None for column in columns):
                raise SchemaError(
                    f"group {group!r}: the dim {dim!r} has sizes {sorted(sizes)} in different records and no labels to "
                    f"join by; give it a coordinate in all of them"
                )
            return
        if all(_same(first, column) for column in columns):
            return
        known = [column for column in columns if column is not None]
        of_point: dict[Any, dict[Any, None]] = {}
        for record, column in found.items():
            of_point.setdefault(points[record], {}).update(dict.fromkeys(rows_of(column or ())))
        if len(known[0]) > 1:
            of_sites = _interleaved([list(dict.fromkeys(row[0] for row in labels)) for labels in of_point.values()])
            sites = {site: place for place, site in enumerate(of_sites)}
            rows = sorted(set().union(*of_point.values()), key=lambda row: (sites[row[0]], row[1]))
        elif all(column[0].dtype.kind in "iuf" for column in known):
            rows = sorted(set().union(*of_point.values()))
        else:
            rows = _interleaved([list(labels) for labels in of_point.values()])
        place = {row: index for index, row in enumerate(rows)}
        self.size = len(rows)
        parts = [rows] if len(known[0]) == 1 else list(zip(*rows, strict=True))
        self.columns = tuple(
            np.array(part, dtype=np.result_type(*(column[index].dtype for column in known)))
            for index, part in enumerate(parts)
        )
        for record, column in found.items():
            if not _same(self.columns, column):
                self.where[record] = np.array([place[row] for row in rows_of(column or ())], dtype=np.intp)


# What one point has between two labels that another has too stays between them: a deeper network's layers. Of all
# orders that keep every point's own, that in which labels come first that were seen first; where points contradict one
# another, what was seen first goes first.
def _interleaved(lists: Sequence[list[Any]]) -> list[Any]:
    seen = {label: index for index, label in enumerate(dict.fromkeys(label for labels in lists for label in labels))}
    behind: dict[Any, set[Any]] = {label: set() for label in seen}
    for labels in lists:
        for label, following in itertools.pairwise(labels):
            behind[label].add(following)
    before = Counter(following for followings in behind.values() for following in followings)
    order: dict[Any, None] = {}
    free = [(index, label) for label, index in seen.items() if not before[label]]
    waiting = iter(seen)
    while len(order) < len(seen):
        label = heapq.heappop(free)[1] if free else next(label for label in waiting if label not in order)
        order[label] = None
        for following in behind[label]:
            before[following] -= 1
            if not before[following] and following not in order:
                heapq.heappush(free, (seen[following], following))
    return list(order)
