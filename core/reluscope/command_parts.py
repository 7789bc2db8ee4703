"""What commands share: options, refusals, and the files that they read and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from reluscope.errors import ReluscopeError

if TYPE_CHECKING:
    import xarray as xr

FILE = click.Path(dir_okay=True, path_type=Path)
max_bytes_option = click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    metavar="BYTES",
    help="How much memory the archive may declare; raise it for a large one that you trust.  [default: 2 GiB]",
)
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")


def refuse(text: str) -> NoReturn:
    """Say that the words of the command are off.

    Args:
        text: What was got, what was expected, what to do.

    Raises:
        UsageError: Always; exit code 2.
    """
    raise click.UsageError(text, click.get_current_context(silent=True))


def fail(text: str) -> NoReturn:
    """Say that the work failed.

    Args:
        text: What happened, and what to do.

    Raises:
        ReluscopeError: Always; exit code 1.
    """
    raise ReluscopeError(text)


def bound(max_bytes: int | None) -> dict[str, Any]:
    """Pass on how much memory an archive may declare.

    Args:
        max_bytes: In bytes; None where nothing was said.

    Returns:
        The keyword argument, or none.
    """
    return {} if max_bytes is None else {"max_bytes": max_bytes}


def must_exist(path: Path) -> None:
    """Refuse an archive that is not there.

    Args:
        path: The archive.
    """
    parts = path.with_name(f"{path.name}.parts")  # a run that was stopped goes by the name of its archive
    if not path.exists() and not parts.exists():
        refuse(f"{path}: there is no such file; give the path of an archive")


def must_be_a_file(out: Path) -> None:
    """Refuse a folder where a file is to be written.

    Args:
        out: The file.
    """
    if out.is_dir():
        refuse(f"--out {out} is a folder, expected a file; add a file name to it")


def write_page(tree: xr.DataTree, path: Path) -> Path:
    """Draw the page of an archive.

    Args:
        tree: The archive.
        path: Where the page goes.

    Returns:
        The path.
    """
    from reluscope import durable
    from reluscope.report import render

    page = render(tree).encode()
    with durable.explained("write the page", path, "the archive is safe", "draw it with `reluscope report`"):
        if path.is_symlink() or (path.exists() and not path.is_file()):  # such as /dev/stdout, which is to stay
            path.write_bytes(page)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            durable.write(path, page)
    return path
