"""A look at an archive from a stranger before any library reads its data: it may not reach outside itself, nor be huge.

Both NetCDF engines follow external links, external storage and virtual data sets in silence, and allocate whatever a
file declares. So the file is walked with h5py's low-level calls, which open objects without reading their data.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from reluscope import seal
from reluscope.bounds import (
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTES,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_GROUPS,
    MAX_TEXTS,
    MAX_VARIABLES,
)
from reluscope.errors import ArchiveError, SchemaError
from reluscope.schema import check_version

SIGNATURE = b"\x89HDF\r\n\x1a\n"
FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32}
LINKS = {
    h5l.TYPE_SOFT: "a soft link",
    h5l.TYPE_EXTERNAL: "a link to another file",
}


def inspect(path: Path, *, max_bytes: int | None = MAX_BYTES) -> int:
    """Check that a file is a NetCDF-4 file which is safe to read.

    Args:
        path: The file.
        max_bytes: How much memory all variables together may declare, in bytes; None for no bound.

    Returns:
        How much they declare, in bytes.

    Raises:
        ArchiveError: If it is cut short, damaged, no NetCDF-4 file, too large, or reaches outside itself.
        SchemaError: If a newer reluscope wrote it, or none.
    """
    _check_signature(path)
    seal.check(path)
    try:
        with h5py.File(path, "r") as file:
            return _Inspection(path, max_bytes).walk(file)
    except (ArchiveError, SchemaError):
        raise
    except Exception as error:  # damaged bytes come out of h5py as any type
        reason = " ".join(str(error).split())
        if "truncated" in reason:
            raise ArchiveError(
                f"{path} is cut short: it holds {path.stat().st_size} bytes and declares more; copy it again"
            ) from error
        raise ArchiveError(f"{path} is damaged: {reason:.200}; take another copy or run again") from error


def _check_signature(path: Path) -> None:
    if path.is_dir():
        raise ArchiveError(f"{path} is a folder; expected a file NAME.nc or a folder NAME.nc.parts")
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            offset = 0
            while offset < max(size, 1):
                file.seek(offset)
                if file.read(8) == SIGNATURE:
                    return
                offset = max(512, 2 * offset)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ArchiveError(
            f"cannot read {path}: {error.strerror or error}; check that it is a readable file"
        ) from error
    if size < 512:
        raise ArchiveError(f"{path} is not a NetCDF-4 file, or is cut short: it holds {size} bytes; copy it again")
    raise ArchiveError(f"{path} is not a NetCDF-4 file; expected an archive that reluscope wrote")


class _Inspection:
    def __init__(self, path: Path, max_bytes: int | None) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.declared = 0
        self.groups = 0
        self.variables = 0
        self.seen: set[tuple[int, int]] = set()

    def walk(self, file: h5py.File) -> int:
        """Visit every object once.

        Args:
            file: The open file.

        Returns:
            The declared bytes of all variables.
        """
        root = file["/"].id
        self._attributes(root, "/")
        check_version(_version(root))
        self._first_visit(root, "/")
        waiting: list[tuple[Any, str, int]] = [(root, "/", 0)]
        while waiting:
            group, name, depth = waiting.pop()
            self.groups += 1
            self._limit("groups", self.groups, MAX_GROUPS)
            self._limit("levels of groups", depth, MAX_DEPTH)
            self._limit("objects in one group", group.get_num_objs(), MAX_GROUPS + MAX_VARIABLES)
            for link in list(group):
                if isinstance(link, bytes):
                    link = self._text(link, name)
                path = f"{name.rstrip('/')}/{link}"
                child = self._open(group, link.encode(), path)
                self._first_visit(child, path)
                self._attributes(child, path)
                if isinstance(child, h5g.GroupID):
                    waiting.append((child, path, depth + 1))
                elif isinstance(child, h5d.DatasetID):
                    self._variable(child, path)
                else:
                    self._refuse(path, "a user-defined type")
        return self.declared

    def _refuse(self, name: str, what: str) -> None:
        raise ArchiveError(
            f"{self.path}: {name!r} is {what}; an archive holds its own plain data only; do not trust this file"
        )

    def _limit(self, what: str, number: int, most: int) -> None:
        if number > most:
            raise ArchiveError(f"{self.path} has {number} {what}, expected at most {most}; do not trust this file")

    def _text(self, name: bytes, group: str) -> str:
        try:
            return name.decode("utf-8")
        except UnicodeDecodeError:
            raise ArchiveError(f"{self.path}: group {group!r} has a name that is not UTF-8: {name!r:.80}") from None

    def _open(self, group: Any, link: bytes, path: str) -> Any:
        kind = group.links.get_info(link).type
        if kind != h5l.TYPE_HARD:
            self._refuse(path, LINKS.get(kind, "a user-defined link"))
        return h5o.open(group, link)

    def _first_visit(self, child: Any, path: str) -> None:
        info = h5o.get_info(child)
        key = (info.fileno, info.addr)
        if key in self.seen:
            self._refuse(path, "a second link to an object that has one already")
        self.seen.add(key)

    def _variable(self, dataset: Any, path: str) -> None:
        self.variables += 1
        self._limit("variables", self.variables, MAX_VARIABLES)
        plist = dataset.get_create_plist()
        if plist.get_external_count():
            self._refuse(path, "stored in another file")
        if plist.get_layout() == h5d.VIRTUAL:
            self._refuse(path, "a virtual data set, which reads other files")
        for index in range(plist.get_nfilters()):
            if plist.get_filter(index)[0] not in FILTERS:
                self._refuse(path, f"compressed by the filter {plist.get_filter(index)[0]}, not by deflate")
        kind = dataset.get_type()
        if kind.get_class() not in {h5t.INTEGER, h5t.FLOAT, h5t.STRING} or _is_variable_text(kind):
            self._refuse(path, "neither numbers nor fixed-width text")
        space = dataset.get_space()
        shape = space.get_simple_extent_dims() if space.get_simple_extent_type() != h5s.NULL else (0,)
        self._declare(kind, shape, plist.get_chunk() if plist.get_layout() == h5d.CHUNKED else (), path)

    def _declare(self, kind: Any, shape: tuple[int, ...], chunk: tuple[int, ...], path: str) -> None:
        size = kind.get_size()
        declared = max(math.prod(shape), math.prod(chunk) if chunk else 0) * size
        if kind.get_class() == h5t.STRING:  # each text becomes a Python string, then fixed-width Unicode
            declared = declared * 8 + math.prod(shape[:-1]) * 64
        self.declared += declared
        if self.max_bytes is not None and self.declared > self.max_bytes:
            raise ArchiveError(
                f"{self.path}: variable {path!r} declares {declared:,} bytes, all so far {self.declared:,}; the bound "
                f"is {self.max_bytes:,}; if you trust the file, raise it: --max-bytes on the "
                "command line, max_bytes= in Python"
            )

    def _attributes(self, owner: Any, path: str) -> None:
        number = h5a.get_num_attrs(owner)
        self._limit(f"attributes on {path!r}", number, MAX_ATTRIBUTES)
        for index in range(number):
            attribute = h5a.open(owner, index=index)
            name = self._text(attribute.name, path) if isinstance(attribute.name, bytes) else attribute.name
            kind = attribute.get_type()
            space = attribute.get_space()
            points = space.get_simple_extent_npoints() if space.get_simple_extent_type() != h5s.NULL else 0
            where = f"{path}@{name}"
            if points * kind.get_size() > MAX_ATTRIBUTE_BYTES:
                self._refuse(
                    where, f"an attribute of {points * kind.get_size():,} bytes (at most {MAX_ATTRIBUTE_BYTES:,})"
                )
            if _is_variable_text(kind):
                self._limit(f"texts in {where!r}", points, MAX_TEXTS)
                continue
            known = kind.get_class()
            scale = (name == "DIMENSION_LIST" and known == h5t.VLEN) or (
                name == "REFERENCE_LIST" and known == h5t.COMPOUND
            )
            if not scale and known not in {h5t.INTEGER, h5t.FLOAT, h5t.STRING}:
                self._refuse(where, "an attribute that is neither numbers nor text")
            if name == "DIMENSION_LIST" and known == h5t.VLEN and kind.get_super().get_class() != h5t.REFERENCE:
                self._refuse(where, "a dimension list without references")


def _is_variable_text(kind: Any) -> bool:
    return kind.get_class() == h5t.STRING and bool(kind.is_variable_str())


def _version(root: Any) -> object:
    if not h5a.exists(root, b"schema_version"):
        return None
    attribute = h5a.open(root, b"schema_version")
    if attribute.get_type().get_class() != h5t.INTEGER or attribute.get_space().get_simple_extent_npoints() != 1:
        return "not one number"
    value = np.zeros(attribute.shape, dtype=attribute.dtype)
    attribute.read(value)
    return int(value.reshape(-1)[0])
