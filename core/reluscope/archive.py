"""Archives: labelled results that survive a kill at any moment, go on where they stopped, and end as one file."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import xarray as xr

from reluscope import bounds, durable, manifest, netcdf, provenance, schema
from reluscope.errors import ArchiveError, ReproducibilityWarning, SchemaError
from reluscope.joining import Increment, compact, join
from reluscope.opening import open_archive
from reluscope.parts import ATTRS, LOCK, SUFFIX, PartsFolder, check_plain, check_record
from reluscope.sweep import Scalar

CONVENTIONS = "CF-1.12"


class ArchiveWriter:
    """Writes an archive bit by bit.

    Until `finish`, everything lies in the folder `NAME.nc.parts/`, which `open_archive` reads at any time.

    Args:
        path: The archive to make, such as `run.nc`.
        attrs: What the root says: `provenance` (a mapping, or JSON text) and whatever else, as text, numbers, or
            mappings and lists, which become JSON.
        resume: Go on with a run that was stopped; start afresh where there is none.

    Attributes:
        path: The archive.
        finished: Whether the archive was complete already (only with `resume`): then `finish` returns it.

    Raises:
        ArchiveError: If the archive exists, another writer is at it, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> loss = {"loss": ("epoch", [0.5, 0.25], {"long_name": "loss", "units": "1"})}
        >>> epochs = {"epoch": ("epoch", [1, 2], {"long_name": "epoch", "units": "1"})}
        >>> with ArchiveWriter(f"{folder.name}/run.nc", attrs={}) as writer:
        ...     writer.append("epoch", xr.Dataset(loss, epochs), {"seed": 7})
        ...     tree = writer.finish()
        >>> tree["epoch/loss"].sel(seed=7, epoch=2).item()
        0.25
        >>> folder.cleanup()
    """

    def __init__(self, path: str | Path, *, attrs: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(path)
        self.finished = False
        self._folder = PartsFolder(self.path.with_name(self.path.name + SUFFIX))
        self._buffer: list[Increment] = []
        self._lock: durable.Lock | None = None
        self._keys: dict[str, frozenset[str]] = {}
        self._attrs: dict[str, Any] = {}
        self._parts = 0
        self._holds: dict[int, list[tuple[str, Mapping[str, Scalar]]]] = {}
        self._present: str | None = None
        self._fresh = False
        self._refuse_to_overwrite(resume)
        try:
            with durable.explained("make", self._folder.path, "nothing was changed"):
                self._open(_root(attrs), resume)
        except BaseException:
            self._remove_empty()
            self._unlock()
            raise

    def _refuse_to_overwrite(self, resume: bool) -> None:
        if resume:
            return
        for existing in (self.path, self._folder.path):
            if existing.exists() or existing.is_symlink():
                what = "is a finished archive" if existing == self.path else "holds a run that was not finished"
                what = "is a folder" if existing == self.path and existing.is_dir() else what
                go_on = "" if existing == self.path else "go on with it by --resume, "
                raise ArchiveError(
                    f"{existing} exists and {what}; {go_on}choose another name with --out, or remove it first"
                )

    def _open(self, attrs: dict[str, Any], resume: bool) -> None:
        if resume and self.path.exists() and not self._folder.path.exists():
            self._attrs = {str(key): value for key, value in open_archive(self.path, max_bytes=None).attrs.items()}
            self.finished = True
            return
        if self._folder.path.is_symlink():
            raise ArchiveError(f"{self._folder.path} is a symbolic link; an archive holds its own data only; remove it")
        self._folder.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder.path.mkdir(exist_ok=resume)
        busy = f"another process is writing {self._folder.path}; wait for it or stop it, or choose another name"
        self._lock = durable.Lock(self._folder.path / LOCK, busy)
        durable.sync_folder(self._folder.path.parent)
        stored = self._folder.read_attrs()
        self._fresh = stored is None and not self._folder.count()
        if stored is None and self._folder.count():
            raise ArchiveError(f"{self._folder.path} has parts but no attrs.json; put it back or remove the folder")
        if self.path.exists():
            found = open_archive(self.path, max_bytes=None).attrs
            if stored is not None and found.get("archive_id") != stored.get("archive_id"):
                raise ArchiveError(
                    f"{self.path} exists and is not what {self._folder.path} would become; move one of them away"
                )
            self._attrs, self.finished = {str(key): value for key, value in found.items()}, True
            return
        self._folder.clean()
        checkpoint = self._folder.read_checkpoint()
        self._parts = checkpoint[1] if checkpoint else 0
        self._folder.drop_after(self._parts)
        self._attrs = dict(stored or attrs)
        self._present = None if stored is None else attrs["provenance"]
        self._attrs["history"] = "\n".join(
            filter(None, [self._attrs.get("history", ""), provenance.history_line(sys.argv)])
        )
        self._folder.write_attrs(self._attrs)

    @property
    def attrs(self) -> Mapping[str, Any]:
        """What the root says: of the first run, also where this one resumes it."""
        return dict(self._attrs)

    @property
    def checkpoint(self) -> dict[str, Any] | None:
        """The newest checkpoint, with its tensors on the CPU, or None."""
        if self.finished:
            return None
        loaded = self._folder.read_checkpoint()
        return loaded[0] if loaded else None

    def append(self, group: str, data: xr.Dataset, point: Mapping[str, Scalar] | None = None) -> None:
        """Add data to what the next flush writes.

        Args:
            group: Path of the group, such as `"epoch"`.
            data: With labels for the dim that grows. It is copied.
            point: The point of the sweep, dim to label; the same keys for all data of a group.

        Raises:
            SchemaError: If the data is not labelled as the schema demands; nothing is added then.
            ArchiveError: If the writer is closed or the archive finished.
        """
        self._check_open()
        plain = {str(key): getattr(value, "item", lambda value=value: value)() for key, value in (point or {}).items()}
        record = Increment("/" + group.strip("/"), plain, netcdf.in_memory(data))
        check_record(record)
        keys = self._keys.get(record.group, frozenset(plain))
        if keys != frozenset(plain):
            raise SchemaError(
                f"group {record.group!r}: the point {plain} has other keys than before ({sorted(keys)}); "
                "use the same for all data of a group"
            )
        for other in self._keys:
            if other.startswith(record.group + "/") or record.group.startswith(other + "/"):
                raise SchemaError(f"group {record.group!r} and group {other!r} lie in one another; rename one")
        if record.group not in self._keys:
            bounds.check_groups([*self._keys, record.group])
        self._keys[record.group] = keys
        self._buffer.append(record)

    def flush(self, checkpoint: Mapping[str, Any] | None = None) -> None:
        """Write what was appended as one part, or more where one file cannot hold it, then the checkpoint.

        They survive a kill from then on. Where a resumed run goes on with another torch, device, number of threads or
        the like, the first flush puts that into the provenance and warns.

        Args:
            checkpoint: Plain types and tensors, enough to go on from here. A resumed run starts from the newest one,
                and parts after it are dropped.

        Raises:
            ArchiveError: If something cannot be written, or the checkpoint is not plain. Nothing is lost: what was
                appended stays, and the next flush writes it.
        """
        self._check_open()
        if checkpoint is not None:
            check_plain(checkpoint)
        self._compare()
        self._buffer = compact(self._buffer)
        for count in bounds.split([record.data for record in self._buffer]):
            with durable.explained("write", self._folder.part(self._parts), self._kept()):
                self._folder.write_part(self._parts, self._buffer[:count])
            self._holds[self._parts] = [(record.group, record.point) for record in self._buffer[:count]]
            self._parts += 1
            del self._buffer[:count]
        if checkpoint is not None:
            with durable.explained("write the checkpoint of", self._folder.path, self._kept()):
                self._folder.write_checkpoint(checkpoint, self._parts)

    def _compare(self) -> None:
        if self._present is None:
            return
        noted = provenance.resumed(self._attrs["provenance"], self._present)
        if noted is None:
            self._present = None
            return
        text, differences = noted
        with durable.explained("write", self._folder.path / ATTRS, self._kept()):
            self._folder.write_attrs({**self._attrs, "provenance": text})
        self._attrs["provenance"], self._present = text, None
        warnings.warn(
            f"{self.path}: the run goes on with {differences}; it will not come out equal bit for bit; go on where it "
            "began, or start again under another name",
            ReproducibilityWarning,
            stacklevel=3,
        )

    def _kept(self) -> str:
        return f"{self._parts} parts and the last checkpoint are safe in {self._folder.path}"

    def recorded(self, group: str, point: Mapping[str, Scalar] | None = None) -> xr.Dataset:
        """Read back what was appended so far at one point of the sweep.

        Args:
            group: Path of the group.
            point: The point of the sweep.

        Returns:
            The records of that group and point, joined; empty where there is none.
        """
        wanted, labels = "/" + group.strip("/"), dict(point or {})
        found: list[Increment] = []
        for number in range(self._parts):
            if (wanted, labels) in self._holds.get(number, [(wanted, labels)]):  # an earlier run's may hold anything
                records = list(self._folder.read(max_bytes=None, numbers=[number]))
                self._holds[number] = [(record.group, record.point) for record in records]
                found += [record for record in records if (record.group, record.point) == (wanted, labels)]
        found += [record for record in self._buffer if (record.group, record.point) == (wanted, labels)]
        found = [Increment(wanted, {}, record.data) for record in found]
        return join(found)[0][wanted] if found else xr.Dataset()

    def finish(self) -> xr.DataTree:
        """Join everything into one file, which takes the place of the folder.

        Returns:
            The archive, in memory.

        Raises:
            ArchiveError: If it cannot be written, or a part is damaged; the folder is kept then.
            SchemaError: If what was recorded does not fit together; the folder is kept then.
        """
        if not self.finished:
            self.flush()
            self._write()
            self.finished = True
        if self._folder.path.exists():
            # a kill in between leaves what tells that the run is over: the attributes, then an empty folder with a lock
            order = {ATTRS: 1, LOCK: 2}
            for entry in sorted(self._folder.path.iterdir(), key=lambda entry: (order.get(entry.name, 0), entry.name)):
                entry.unlink()
            shutil.rmtree(self._folder.path)
            durable.sync_folder(self.path.parent)
        self._unlock()
        return open_archive(self.path, max_bytes=None)

    def _write(self) -> None:
        if self.path.exists():
            raise ArchiveError(
                f"{self.path} came into being while the run went on; {self._kept()}; move that file away and go on "
                "with --resume"
            )
        tree = self._folder.assemble(self._attrs, max_bytes=None)
        schema.validate(tree)
        bounds.check({node.path: node.to_dataset(inherit=False) for node in tree.subtree})
        tree.attrs[manifest.ATTRIBUTE] = json.dumps(manifest.sums(tree))
        temporary = self._folder.path / f"archive.nc{durable.TEMPORARY}"
        with durable.explained("write", self.path, self._kept()):
            durable.write(self.path, *netcdf.encode(tree, compress=True), temporary=temporary)

    def close(self) -> None:
        """Flush what is left and let go of the folder; a second call does nothing."""
        if self._lock is None:
            return
        try:
            if not self.finished:
                self.flush()
        finally:
            self._unlock()

    def _remove_empty(self) -> None:
        if self._lock is not None and self._fresh:  # nothing is in it, and it would stand in the way of a better start
            shutil.rmtree(self._folder.path, ignore_errors=True)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _check_open(self) -> None:
        if self.finished:
            raise ArchiveError(f"{self.path} is finished; choose another name to record more")
        if self._lock is None:
            raise ArchiveError(f"the writer of {self.path} is closed; make a new one with resume=True")

    def __enter__(self) -> ArchiveWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _root(attrs: Mapping[str, Any]) -> dict[str, Any]:
    plain = {key: value if isinstance(value, (str, int, float)) else json.dumps(value) for key, value in attrs.items()}
    root = {
        "Conventions": CONVENTIONS,
        "provenance": "{}",
        **plain,
        "schema_version": schema.SCHEMA_VERSION,
        "archive_id": uuid.uuid4().hex,
    }
    empty = xr.Dataset(attrs={"history": "", **root})
    schema.validate(xr.DataTree(empty))
    bounds.check({"/": empty})
    return root
