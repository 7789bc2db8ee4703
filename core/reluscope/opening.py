"""Opening an archive: inspected before anything is read, and checked against its sums."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xarray as xr

from reluscope import manifest, netcdf, schema
from reluscope.bounds import MAX_BYTES
from reluscope.errors import ArchiveError, SchemaError
from reluscope.inspection import inspect
from reluscope.parts import SUFFIX, PartsFolder


def open_archive(path: str | Path, *, verify: bool = False, max_bytes: int | None = MAX_BYTES) -> xr.DataTree:
    """Open an archive, also of a run that was killed or still runs.

    The file is inspected before anything is read: one that reaches outside itself or declares more than `max_bytes` is
    refused. Everything is read into memory and the file is closed.

    Args:
        path: `NAME.nc`, or the folder `NAME.nc.parts` of a run that is not finished, of which all complete parts are
            read. `NAME.nc` finds the folder where the file does not exist yet.
        verify: Compare every variable with its sum in the manifest (parts are always compared).
        max_bytes: How much memory the archive may declare, in bytes; None for no bound.

    Returns:
        The groups.

    Raises:
        ArchiveError: If there is no archive, or it is damaged, too large, or reaches outside itself.
        SchemaError: If it is not labelled as the schema demands, or a newer reluscope wrote it.
    """
    path = Path(path)
    if path.name.endswith(SUFFIX):
        path = path.with_name(path.name.removesuffix(SUFFIX))
        if not path.with_name(path.name + SUFFIX).exists():
            raise ArchiveError(f"{path}{SUFFIX} does not exist; check the path")
        return _open_parts(path, max_bytes)
    try:
        tree = _read(path, max_bytes)
    except FileNotFoundError:
        return _open_parts(path, max_bytes)
    if verify:
        wrong = manifest.mismatches(tree)
        if wrong:
            raise ArchiveError(
                f"{path} is damaged: {', '.join(wrong)} differ from their sums in the manifest; take another copy"
            )
    with _named(path):
        schema.validate(tree)
    return tree


def verify_archive(path: str | Path, *, max_bytes: int | None = MAX_BYTES) -> list[str]:
    """Find out which variables of a finished archive are not what was written.

    Args:
        path: `NAME.nc`.
        max_bytes: How much memory the archive may declare, in bytes; None for no bound.

    Returns:
        Paths such as `"/epoch/train_loss"`; `"/epoch/"` stands for the attributes of a group. Empty where all is well.

    Raises:
        ArchiveError: If it cannot be read at all, is too large, or has no manifest.
    """
    try:
        return manifest.mismatches(_read(Path(path), max_bytes))
    except FileNotFoundError as error:
        raise ArchiveError(
            f"{path} does not exist; expected a finished archive (the parts of an unfinished one are verified whenever "
            "they are opened)"
        ) from error


def _read(path: Path, max_bytes: int | None) -> xr.DataTree:
    with _named(path):
        inspect(path, max_bytes=max_bytes)
    return netcdf.decode(path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise SchemaError(f"{path}: {error}") from error


def _open_parts(path: Path, max_bytes: int | None) -> xr.DataTree:
    folder = PartsFolder(path.with_name(path.name + SUFFIX))
    if folder.path.is_symlink():
        raise ArchiveError(f"{folder.path} is a symbolic link; an archive holds its own data only; open its target")
    try:
        attrs = folder.read_attrs() if folder.path.is_dir() else None
        if attrs is None:
            if path.exists():
                return open_archive(path, max_bytes=max_bytes)
            state = "holds nothing yet" if folder.path.is_dir() else "does not exist, and neither does its .parts"
            raise ArchiveError(f"{folder.path if folder.path.is_dir() else path} {state}; check the path")
        tree = folder.assemble(attrs, max_bytes=max_bytes)
    except FileNotFoundError as error:
        if path.exists():  # the run was finished while its parts were being read
            return open_archive(path, max_bytes=max_bytes)
        raise ArchiveError(f"{folder.path} changed while it was read; open it again") from error
    schema.validate(tree)
    return tree
