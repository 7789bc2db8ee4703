"""The folder of a run in progress: small complete files, one checkpoint, and what the root will say."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from reluscope import bounds, durable, manifest, netcdf, schema
from reluscope.bounds import MAX_BYTES
from reluscope.errors import ArchiveError, SchemaError
from reluscope.inspection import inspect
from reluscope.joining import Increment, check, join

SUFFIX = ".parts"
ATTRS = "attrs.json"
CHECKPOINT = "checkpoint.pt"
LOCK = "lock"

_PART = re.compile(r"part-(\d{6,})\.nc")


class PartsFolder:
    """A folder `NAME.nc.parts/`.

    Args:
        path: The folder, whether it exists or not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def part(self, number: int) -> Path:
        """Return the path of a part.

        Args:
            number: Counted from 0.

        Returns:
            Its file.
        """
        return self.path / f"part-{number:06d}.nc"

    def count(self) -> int:
        """Count the complete parts.

        Returns:
            Their number.

        Raises:
            ArchiveError: If one is missing between others, or something is a symbolic link.
        """
        numbers = []
        for entry in self.path.iterdir():
            if entry.is_symlink():
                raise ArchiveError(f"{entry} is a symbolic link; an archive holds its own data only; remove the link")
            found = _PART.fullmatch(entry.name)
            if found:
                numbers.append(int(found[1]))
        for expected, number in enumerate(sorted(numbers)):
            if number != expected:
                raise ArchiveError(
                    f"{self.part(expected)} is missing, but {self.part(number).name} is there; put it back, or remove "
                    "the folder and run again"
                )
        return len(numbers)

    def write_part(self, number: int, records: Sequence[Increment]) -> None:
        """Write one part, whole or not at all.

        Args:
            number: Which.
            records: What it holds: no more than `bounds.split` allows, or it cannot be read.
        """
        groups = {f"/{index}": record.data for index, record in enumerate(records)}
        labels = [[record.group, dict(record.point)] for record in records]
        root: dict[str, Any] = {"schema_version": schema.SCHEMA_VERSION, "records": json.dumps(labels)}
        tree = xr.DataTree.from_dict({"/": xr.Dataset(attrs=root), **groups})
        tree.attrs[manifest.ATTRIBUTE] = json.dumps(manifest.sums(tree))
        durable.write(self.part(number), *netcdf.encode(tree, compress=False))

    def read(self, *, max_bytes: int | None = MAX_BYTES, numbers: Sequence[int] | None = None) -> Iterator[Increment]:
        """Read all complete parts, in the order in which they were written.

        Args:
            max_bytes: How much memory they may declare together; None for no bound.
            numbers: Which parts; None for all.

        Yields:
            What was recorded.

        Raises:
            ArchiveError: If a part is damaged.
        """
        for number in range(self.count()) if numbers is None else numbers:
            path = self.part(number)
            declared = inspect(path, max_bytes=max_bytes)
            max_bytes = None if max_bytes is None else max_bytes - declared
            tree = netcdf.decode(path)
            wrong = manifest.mismatches(tree)
            try:
                labels = schema.load_json(tree.attrs.get("records"), "records")
                records = [
                    Increment(str(group), dict(point), tree.children[str(index)].to_dataset(inherit=False))
                    for index, (group, point) in enumerate(labels)
                ]
                for record in records:
                    check_record(record)
            except (SchemaError, KeyError, ValueError, TypeError) as error:
                raise ArchiveError(f"{path} is not a part of an archive: {error!s:.200}; remove the folder") from error
            if wrong:
                raise ArchiveError(
                    f"{path} is damaged: {', '.join(wrong)} differ from their sums; remove the folder and run again"
                )
            yield from records

    def assemble(self, attrs: Mapping[str, Any], *, max_bytes: int | None) -> xr.DataTree:
        """Join all complete parts.

        Args:
            attrs: What the root says.
            max_bytes: How much memory they may declare together; None for no bound.

        Returns:
            The archive as far as it was recorded.

        Raises:
            SchemaError: If what was recorded does not fit together.
        """
        groups, dims = join(self.read(max_bytes=max_bytes))
        root = xr.Dataset(attrs={**attrs, "sweep_dims": json.dumps(dims)})
        try:
            return xr.DataTree.from_dict({"/": root, **groups})
        except ValueError as error:
            raise SchemaError(f"{self.path}: the groups do not fit together: {error!s:.200}; rename one") from error

    def write_attrs(self, attrs: Mapping[str, Any]) -> None:
        """Write what the root of the archive will say.

        Args:
            attrs: Texts and numbers.
        """
        durable.write(self.path / ATTRS, json.dumps(attrs, indent=1).encode())

    def read_attrs(self) -> dict[str, Any] | None:
        """Read what the root of the archive will say.

        Returns:
            The attributes, or None where the run was killed before it wrote them.

        Raises:
            ArchiveError: If they are damaged.
        """
        path = self.path / ATTRS
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES)
            attrs = json.loads(content)
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError, OSError) as error:
            raise ArchiveError(f"{path} is damaged: {error!s:.200}; remove the folder and run again") from error
        if not isinstance(attrs, dict) or not all(isinstance(value, (str, int, float)) for value in attrs.values()):
            raise ArchiveError(f"{path} is damaged: expected a JSON object; remove the folder and run again")
        return attrs

    def write_checkpoint(self, checkpoint: Mapping[str, Any], parts: int) -> None:
        """Replace the checkpoint.

        Args:
            checkpoint: Plain types and tensors.
            parts: How many parts it covers.
        """
        import torch

        content = io.BytesIO()
        torch.save({"parts": parts, "checkpoint": dict(checkpoint)}, content)
        durable.write(self.path / CHECKPOINT, content.getbuffer())

    def read_checkpoint(self) -> tuple[dict[str, Any], int] | None:
        """Read the checkpoint without unpickling anything but plain types and tensors.

        Returns:
            The checkpoint, with its tensors on the CPU, and how many parts it covers, or None where there is none.

        Raises:
            ArchiveError: If it is damaged.
        """
        path = self.path / CHECKPOINT
        if not path.exists():
            return None
        try:
            return _load_checkpoint(path.read_bytes())
        except Exception as error:  # damaged bytes come out of zipfile and torch as any type
            reason = " ".join(str(error).split())
            raise ArchiveError(
                f"{path} is corrupt: {type(error).__name__}: {reason:.160}; the run cannot go on from it: remove "
                f"{self.path} and run again (open_archive still reads its parts)"
            ) from error

    def clean(self) -> None:
        """Remove what a killed writer left unfinished."""
        for entry in self.path.glob(f"*{durable.TEMPORARY}"):
            entry.unlink()

    def drop_after(self, parts: int) -> None:
        """Remove the parts that a checkpoint does not cover, the newest first.

        Args:
            parts: How many to keep.

        Raises:
            ArchiveError: If there are fewer.
        """
        count = self.count()
        if count < parts:
            raise ArchiveError(
                f"{self.path / CHECKPOINT} covers {parts} parts, only {count} are there; put them back, or remove the "
                "folder and run again"
            )
        for number in range(count - 1, parts - 1, -1):
            self.part(number).unlink()
        durable.sync_folder(self.path)


def _load_checkpoint(content: bytes) -> tuple[dict[str, Any], int]:
    import torch

    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch does not look at the sums that it wrote
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"{broken} differs from its sum")
    loaded = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    checkpoint, parts = loaded["checkpoint"], loaded["parts"]
    if not isinstance(checkpoint, dict) or not isinstance(parts, int) or parts < 0:
        raise ValueError("it holds something else than a checkpoint")
    return checkpoint, parts


def check_record(record: Increment) -> None:
    """Check that a record may go into an archive.

    Args:
        record: A record.

    Raises:
        SchemaError: If its group, point, labels or variables are not as the schema demands.
    """
    pieces = record.group.split("/")[1:]
    if not record.group.startswith("/") or not all(re.fullmatch(r"\w[\w.-]*", piece) for piece in pieces):
        raise SchemaError(f"group {record.group!r}: expected a path of plain names such as 'epoch'")
    own = json.dumps([str(key) for key in record.point])
    try:
        schema.validate(record.data.assign_attrs(sweep_dims=own))
    except SchemaError as error:
        raise SchemaError(f"group {record.group!r}: {error}") from error
    check(record)
    bounds.check({record.group: record.data})


def check_plain(value: object, where: str = "checkpoint") -> None:
    """Check that a checkpoint can be read back without unpickling.

    Args:
        value: The checkpoint, or something in it.
        where: Its name, for the message.

    Raises:
        ArchiveError: If something in it is neither a plain type nor a tensor.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, bool, tuple)):
                raise ArchiveError(f"{where}: the key {key!r:.60} is a {type(key).__name__}, expected text or a number")
            check_plain(item, f"{where}[{key!r}]")
        if type(value).__name__ in {"dict", "OrderedDict", "defaultdict"}:
            return
    elif type(value) in {list, tuple, set}:
        for index, item in enumerate(value):  # type: ignore[arg-type]
            check_plain(item, f"{where}[{index}]")
        return
    elif value is None or type(value) in {bool, int, float, complex, str, bytes, bytearray}:
        return
    else:
        import torch

        if isinstance(value, (torch.Size, torch.dtype, torch.device)):
            return
        if type(value) in {torch.Tensor, torch.nn.Parameter}:
            return
    raise ArchiveError(
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}; a checkpoint holds plain types and tensors "
        "only: convert it (for numpy: .tolist() or torch.from_numpy)"
    )
