"""How much one archive file may hold: what the writer keeps to, and what the reader takes from a stranger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import SchemaError

MAX_BYTES = 2 << 30
MAX_GROUPS = 1000
MAX_DEPTH = 16
MAX_VARIABLES = 10_000
MAX_ATTRIBUTES = 1000
MAX_ATTRIBUTE_BYTES = 16 << 20
MAX_TEXTS = 64

OWN_ATTRIBUTES = 8
"""So many attributes of an object are NetCDF's, xarray's and the archive's own."""


def objects(data: xr.Dataset) -> int:
    """Count the HDF5 data sets that a group takes at most.

    Args:
        data: The group.

    Returns:
        One for each variable, for each dim, which has a scale of its own where no coordinate has its name, and for each
        text, whose width is a dim.

    Example:
        >>> objects(xr.Dataset({"loss": (("epoch", "site"), [[0.5]])}, {"site": ["relu#0"]}))
        4
    """
    texts = sum(variable.dtype.kind in "US" for variable in data.variables.values())
    return len(data.variables) + len(set(data.dims) - set(data.variables)) + texts


def split(groups: Sequence[xr.Dataset]) -> list[int]:
    """Share groups out among files that keep to the bounds.

    Args:
        groups: In their order.

    Returns:
        How many each file takes, one after the other.

    Example:
        >>> split([xr.Dataset()] * 1100)
        [999, 101]
    """
    counts: list[int] = []
    room = 0
    for data in groups:
        size = objects(data)
        if not counts or counts[-1] == MAX_GROUPS - 1 or size > room:
            counts.append(0)
            room = MAX_VARIABLES
        counts[-1] += 1
        room -= size
    return counts


def check(groups: Mapping[str, xr.Dataset]) -> None:
    """Check that groups fit into one file.

    Args:
        groups: Path to data.

    Raises:
        SchemaError: If there are too many of them, or too many variables, levels or attributes.
    """
    check_groups(groups)
    variables = sum(map(objects, groups.values()))
    _limit("variables and dims", variables, MAX_VARIABLES, "an archive", "stack what is alike along a dim")
    for path, data in groups.items():
        where = f"group {path!r}"
        _limit("levels", path.count("/") if path != "/" else 0, MAX_DEPTH, where, "choose a shorter path")
        _check_attrs(data.attrs, where)
        for name, variable in data.variables.items():
            _check_attrs(variable.attrs, f"variable {path.rstrip('/') + '/' + str(name)!r}")


def check_groups(paths: Iterable[str]) -> None:
    """Check that one file can have these groups.

    Args:
        paths: Such as `"/a/b"`.

    Raises:
        SchemaError: If they are too many.
    """
    number = len(nodes(paths))
    _limit("groups", number, MAX_GROUPS, "an archive", "give what is alike one group with a dim of its own")


def nodes(paths: Iterable[str]) -> set[str]:
    """List groups with all that lie above them.

    Args:
        paths: Such as `"/a/b"`.

    Returns:
        The paths, of the root too.

    Example:
        >>> sorted(nodes(["/a/b"]))
        ['/', '/a', '/a/b']
    """
    pieces = [path.strip("/").split("/") for path in paths]
    return {"/"} | {"/" + "/".join(piece[: end + 1]) for piece in pieces for end in range(len(piece)) if piece[0]}


def _check_attrs(attrs: Mapping[Any, Any], where: str) -> None:
    _limit("attributes", len(attrs), MAX_ATTRIBUTES - OWN_ATTRIBUTES, where, "make a variable of them")
    for key, value in attrs.items():
        array = np.asarray(value)
        if array.dtype.kind != "U":
            size = array.nbytes
        else:
            _limit(f"texts in attribute {key!r}", array.size, MAX_TEXTS, where, "make a variable of them")
            size = sum(len(text.encode()) for text in array.ravel().tolist())
        _limit(f"bytes in attribute {key!r}", size, MAX_ATTRIBUTE_BYTES, where, "make a variable of them")


def _limit(what: str, number: int, most: int, where: str, advice: str) -> None:
    if number > most:
        raise SchemaError(f"{where} has {number:,} {what}, expected at most {most:,}; {advice}")
