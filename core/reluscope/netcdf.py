"""The NetCDF dialect of archives: fixed-width text, no fill values, no dates; everything is read into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from reluscope import seal
from reluscope.errors import ArchiveError

COMPRESSED_FROM = 1 << 14
"""Numeric variables of so many bytes or more are compressed."""


def encode(tree: xr.DataTree, *, compress: bool) -> tuple[memoryview, bytes]:
    """Turn a tree into the bytes of a NetCDF-4 file.

    In memory, so that every byte reaches the disk through Python: a full disk is then an ordinary `OSError`, and the
    NetCDF library never holds a file that it cannot close.

    Args:
        tree: Valid groups.
        compress: Whether large numeric variables are compressed.

    Returns:
        The file's bytes, and the seal to write after them.
    """
    groups = {}
    encoding: dict[str, dict[str, Any]] = {}
    for node in tree.subtree:
        data = node.to_dataset(inherit=False).drop_encoding()
        groups[node.path] = data
        encoding[node.path] = {str(name): _encoding(variable, compress) for name, variable in data.variables.items()}
    content = xr.DataTree.from_dict(groups).to_netcdf(None, engine="netcdf4", encoding=encoding)
    return seal.seal(memoryview(content))


def _encoding(variable: xr.Variable, compress: bool) -> dict[str, Any]:
    if variable.dtype.kind in "US":
        return {"dtype": "S1"}
    settings: dict[str, Any] = {"_FillValue": None}
    if compress and variable.ndim and variable.nbytes >= COMPRESSED_FROM:
        settings |= {"zlib": True, "complevel": 4, "shuffle": True}
    return settings


def decode(path: Path) -> xr.DataTree:
    """Read a NetCDF-4 file that was inspected.

    Args:
        path: The file.

    Returns:
        Its groups, in memory, with the file closed.

    Raises:
        ArchiveError: If it cannot be read.
        FileNotFoundError: If it is not there any more.
    """
    try:
        with xr.open_datatree(
            path, engine="netcdf4", decode_times=False, decode_timedelta=False, mask_and_scale=False
        ) as tree:
            groups = {node.path: _plain(node.to_dataset(inherit=False).load()) for node in tree.subtree}
        return xr.DataTree.from_dict(groups)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged bytes come out of the libraries as any type
        reason = " ".join(str(error).split())
        raise ArchiveError(
            f"{path} is damaged: {type(error).__name__}: {reason:.200}; expected an archive as reluscope wrote it; "
            "take another copy or run again"
        ) from error


def _plain(data: xr.Dataset) -> xr.Dataset:
    variables: dict[str, xr.Variable] = {}
    for name, variable in data.variables.items():
        values = variable.values
        if values.dtype.kind in "OS":
            values = text(values)
        elif not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        attrs = {key: value for key, value in variable.attrs.items() if key != "_FillValue"}
        variables[str(name)] = xr.Variable(variable.dims, values, attrs)
    coords = {name: variables.pop(str(name)) for name in data.coords}
    return xr.Dataset(variables, coords, dict(data.attrs))


def in_memory(data: xr.Dataset) -> xr.Dataset:
    """Copy data, with their text in fixed width.

    Args:
        data: Any data set.

    Returns:
        The copy, which no change of the original reaches.
    """
    data = data.copy(deep=True).load().drop_encoding()
    for name, variable in data.variables.items():
        if (
            variable.dtype.kind in "OST"
            and variable.size
            and all(isinstance(item, (str, bytes)) for item in variable.values.ravel().tolist())
        ):
            data[name] = (variable.dims, text(variable.values), variable.attrs)
    return data


def text(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Turn text of any kind into fixed-width Unicode.

    Args:
        values: Of str, bytes or both.

    Returns:
        The same text as `U`, no wider than needed.

    Raises:
        ValueError: If something is not text.
    """
    flat = [item.decode("utf-8") if isinstance(item, bytes) else item for item in values.ravel().tolist()]
    if not all(isinstance(item, str) for item in flat):
        raise ValueError("expected text")
    return np.array(flat, dtype=str).reshape(values.shape)
