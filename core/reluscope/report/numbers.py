"""Numbers for the page: shortened as far as a screen shows them, and averaged in blocks where they are too many."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


def blocks(values: Array, size: int) -> Array:
    """Cut the last axis into blocks of one size.

    Args:
        values: Numbers, of shape `(..., position)`.
        size: Positions of a block.

    Returns:
        The same, of shape `(..., block, position in it)`, filled with NaN.

    Example:
        >>> blocks(np.array([1.0, 2.0, 3.0]), 2)
        array([[ 1.,  2.],
               [ 3., nan]])
    """
    count = -(-values.shape[-1] // size)
    padded = np.full((*values.shape[:-1], count * size), np.nan)
    padded[..., : values.shape[-1]] = values
    return padded.reshape(*values.shape[:-1], count, size)


def plain(values: Array) -> list[Any]:
    """Turn numbers into plain types with five digits, as many as a screen shows.

    Args:
        values: Numbers, of any shape.

    Returns:
        Nested lists; None stands for NaN.

    Example:
        >>> plain(np.array([0.123456789, np.nan]))
        [0.12346, None]
    """
    values = np.asarray(values, float)
    known = (np.abs(values) > 1e-15) & (np.abs(values) < 1e15)
    digits = 4 - np.floor(np.log10(np.abs(values), out=np.zeros_like(values), where=known))
    scale = 10.0 ** np.abs(digits)
    up = digits >= 0  # dividing by an exact power of ten leaves the shortest decimal
    rounded = np.where(up, np.rint(values * np.where(up, scale, 1)) / scale, np.rint(values / scale) * scale)
    listed: list[Any] = _listed(np.where(known, rounded, values).tolist())
    return listed


def _listed(values: Any) -> Any:
    if isinstance(values, list):
        return [_listed(value) for value in values]
    return None if values != values else values
