"""Where data are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from reluscope.errors import ReluscopeError

VARIABLE = "RELUSCOPE_DATA"


def data_folder(dataset: str, root: str | Path | None, layout: str = "") -> Path:
    """Return the folder that holds the data.

    Args:
        dataset: The data set's name, for the message.
        root: The folder, None where the environment variable RELUSCOPE_DATA names it.
        layout: What is expected in it, for the message; empty where the data can be downloaded.

    Returns:
        The folder; it need not exist.

    Raises:
        ReluscopeError: If neither names one.

    Example:
        >>> data_folder("mnist", "somewhere").name
        'somewhere'
    """
    named = root if root is not None else os.environ.get(VARIABLE)
    if not named:
        held = layout or "the data (with download = true: that shall hold them)"
        raise ReluscopeError(
            f"dataset {dataset!r}: no folder to look in; set the environment variable {VARIABLE} to the folder that "
            f"holds {held}"
        )
    return Path(named).expanduser()
