"""The seal at a file's end: a sum over all its bytes, so that damage shows before any library parses them.

The NetCDF library can crash on damaged bytes, where it should report them. HDF5 takes no notice of what follows its own
end of file, so the seal stands there, and every other program reads a sealed file as before.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import BinaryIO

from reluscope.errors import ArchiveError

_SEAL = re.compile(rb"\nreluscope-sha256:([0-9a-f]{64})\n")
LENGTH = 1 + 17 + 64 + 1
_CHUNK = 1 << 20
_END_OF_FILE = slice(28, 36)  # in an HDF5 superblock of version 2 or 3 with addresses of 8 bytes
_SUPERBLOCKS = (b"\x89HDF\r\n\x1a\n\x02\x08\x08", b"\x89HDF\r\n\x1a\n\x03\x08\x08")


def seal(content: memoryview) -> tuple[memoryview, bytes]:
    """Seal the bytes of a NetCDF-4 file.

    Args:
        content: The file as made in memory, which may have unused bytes at its end.

    Returns:
        The file without them, and the seal to write after it.
    """
    if bytes(content[:11]) in _SUPERBLOCKS:
        content = content[: int.from_bytes(content[_END_OF_FILE], "little")]
    return content, b"\nreluscope-sha256:" + hashlib.sha256(content).hexdigest().encode() + b"\n"


def check(path: Path) -> None:
    """Compare a file with its seal, if it has one: a file that another program changed or made has none.

    Args:
        path: The file.

    Raises:
        ArchiveError: If the bytes are not those that were sealed.
    """
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LENGTH))
        found = _SEAL.fullmatch(file.read(LENGTH))
        if found is None:
            return
        file.seek(0)
        digest = _digest(file, size - LENGTH)
    if digest != found[1].decode():
        raise ArchiveError(f"{path} is damaged: its bytes differ from the seal at its end; take another copy")


def _digest(file: BinaryIO, size: int) -> str:
    digest = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, _CHUNK))):
        digest.update(chunk)
        size -= len(chunk)
    return digest.hexdigest()
