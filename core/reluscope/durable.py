"""Files that are either whole or not there: temporary name, fsync, rename, fsync of the folder; and a lock."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

from reluscope.errors import ArchiveError

Buffer = bytes | bytearray | memoryview

TEMPORARY = ".tmp"


def write(path: Path, *data: Buffer, temporary: Path | None = None) -> None:
    """Replace a file so that a kill at any moment leaves the old one or the new one.

    Args:
        path: The file.
        *data: Its new content, piece by piece.
        temporary: Where to write first, on the same file system; beside the file where none is given.

    Raises:
        OSError: If it cannot be written; the temporary file is removed and the old file is untouched.
    """
    temporary = path.with_name(path.name + TEMPORARY) if temporary is None else temporary
    try:
        with open(temporary, "wb") as file:
            for piece in data:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk.

    Args:
        folder: The folder.
    """
    if sys.platform == "win32":  # a folder cannot be opened there, and renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def explained(what: str, path: Path, kept: str, again: str = "go on with --resume") -> Iterator[None]:
    """Say why a file could not be written, and what to do.

    Args:
        what: What is being done, such as `"write"`.
        path: The file.
        kept: What is safe.
        again: What to do once the cause is gone.

    Yields:
        Nothing.

    Raises:
        ArchiveError: If it could not be written.
    """
    try:
        yield
    except ArchiveError:
        raise
    except (OSError, RuntimeError) as error:
        reason, number = _reason(error), _errno(error)
        if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} or (number is None and _is_full(path)):
            reason, advice = "the disk is full", f"free some space and {again}"
        elif number in {errno.EROFS, errno.EACCES, errno.EPERM}:
            reason, advice = f"the folder is read-only ({reason})", "make it writable or choose another --out"
        else:
            advice = f"mend that and {again}"
        raise ArchiveError(f"cannot {what} {path}: {reason}; {kept}; {advice}") from error


def _errno(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _is_full(path: Path) -> bool:
    # libraries in C say only that writing failed; a disk with next to nothing left is then the likely cause
    with contextlib.suppress(OSError):
        return shutil.disk_usage(path.parent).free < 1 << 16
    return False


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(f"{type(error).__name__}: {error}".split())


class Lock:
    """A lock that the operating system releases when its process ends, however it ends.

    Args:
        path: The lock's file; made if missing.
        busy: What to say if another writer holds it.

    Raises:
        ArchiveError: If another writer holds it.
        OSError: If the file cannot be made.
    """

    def __init__(self, path: Path, busy: str) -> None:
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self.release()
                raise ArchiveError(busy) from error
        if not os.fstat(self._descriptor).st_nlink:  # the writer that held it finished and removed the folder
            self.release()
            raise ArchiveError(busy)
        _held.add(self)

    def release(self) -> None:
        """Let go of the lock; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        if sys.platform != "win32":
            import fcntl

            # closing would not do while a forked child still has a copy of the descriptor
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def forget(self) -> None:
        """Close this process's copy of the lock, and leave the lock to the process that took it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _let_go() -> None:
    # a data loader's worker outlives a killed parent for seconds; its copy of the descriptor would keep the lock
    for lock in list(_held):
        lock.forget()


_register: Callable[..., None] | None = getattr(os, "register_at_fork", None)
if _register is not None:
    _register(after_in_child=_let_go)
