"""Sums over what an archive holds, so that a silent bit flip shows."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import ArchiveError

ATTRIBUTE = "manifest"


def sums(tree: xr.DataTree) -> dict[str, str]:
    """Compute the sha256 of each variable and of each group's attributes.

    A variable's sum is over its role, dtype, dims, shape, attributes and values: the bytes in little-endian C order, or
    the UTF-8 of each text with its length. A group's sum, under the group's path with a trailing slash, is over its
    attributes without the manifest.

    Args:
        tree: The groups.

    Returns:
        Path to sum in hexadecimal, such as `"/epoch/train_loss"`.

    Example:
        >>> tree = xr.DataTree.from_dict({"/epoch": xr.Dataset({"loss": ("epoch", [0.5, 0.25])})})
        >>> sorted(sums(tree))
        ['/', '/epoch/', '/epoch/loss']
    """
    found = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False)
        prefix = node.path.rstrip("/") + "/"
        attrs = {key: value for key, value in data.attrs.items() if key != ATTRIBUTE}
        found[prefix] = hashlib.sha256(canonical(attrs)).hexdigest()
        for name, variable in data.variables.items():
            role = "coordinate" if name in data.coords else "variable"
            found[f"{prefix}{name}"] = _sum(variable, role)
    return found


def _sum(variable: xr.Variable, role: str) -> str:
    values = np.asarray(variable.values)
    kind = "text" if values.dtype.kind in "US" else values.dtype.newbyteorder("<").str
    digest = hashlib.sha256()
    digest.update(json.dumps([role, kind, list(map(str, variable.dims)), list(values.shape)]).encode())
    digest.update(canonical(variable.attrs))
    if kind == "text":
        for item in values.ravel().tolist():
            encoded = item if isinstance(item, bytes) else item.encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<q", len(encoded)) + encoded)
    else:
        ordered = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<"))
        digest.update(ordered.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def canonical(attrs: Mapping[Any, Any]) -> bytes:
    """Spell attributes so that they read the same before and after they were in a file.

    Args:
        attrs: Name to text, number or list of them.

    Returns:
        Sorted JSON; a single value and a list of one are the same, as they are in NetCDF.

    Example:
        >>> canonical({"units": "1"}) == canonical({"units": ["1"]})
        True
    """
    spelt = {}
    for key, value in attrs.items():
        array = np.atleast_1d(np.asarray(value))
        kind = "text" if array.dtype.kind in "US" else array.dtype.newbyteorder("<").str
        spelt[str(key)] = [kind, array.ravel().tolist()]
    return json.dumps(spelt, sort_keys=True, default=str).encode()


def mismatches(tree: xr.DataTree) -> list[str]:
    """Compare a tree with the manifest among its attributes.

    Args:
        tree: As it was read.

    Returns:
        The paths that differ, are missing, or are not in the manifest.

    Raises:
        ArchiveError: If there is no manifest, or it is not one.
    """
    stored = tree.attrs.get(ATTRIBUTE)
    try:
        expected = json.loads(stored) if isinstance(stored, str) else None
    except (ValueError, RecursionError):
        expected = None
    if not isinstance(expected, dict) or not all(isinstance(value, str) for value in expected.values()):
        raise ArchiveError(
            f"no manifest that can be read: got {stored!r:.80}, expected a JSON object of sha256 sums; "
            "the archive is damaged or was not written by reluscope"
        )
    found = sums(tree)
    return sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
