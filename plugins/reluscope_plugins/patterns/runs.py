"""Sorted runs: distinct words in ascending order, and how often each was seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from reluscope.kernels import frequencies, merge

Array = np.ndarray[Any, Any]


def runs_of(words: Array) -> tuple[Array, Array]:
    """Count words.

    Args:
        words: Unsigned integers `(row,)`, or uint64 `(row, word)`; at least one.

    Returns:
        The distinct words in ascending order as uint64, and how often each stands there.

    Example:
        >>> [part.tolist() for part in runs_of(np.array([7, 3, 7], np.uint64))]
        [[3, 7], [1, 2]]
    """
    dtype = _dtype(len(words))
    if words.dtype.itemsize <= 2:
        counts = np.zeros(256**words.dtype.itemsize, dtype)
        frequencies(words, counts)
        found = np.flatnonzero(counts)
        return found.astype(np.uint64), counts[found]
    if words.ndim == 2:
        ordered = words[np.lexsort(words.T[::-1])]
        changes = (ordered[1:] != ordered[:-1]).any(1)
    else:
        ordered = np.sort(words)
        changes = ordered[1:] != ordered[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    counts = np.diff(starts, append=len(ordered)).astype(dtype)
    return ordered[starts].astype(np.uint64), counts


def combined(words: list[Array], counts: list[Array], rows: int) -> tuple[Array, Array]:
    """Make one sorted run out of several, whose words may repeat.

    Args:
        words: Of each run, ascending.
        counts: Of each run.
        rows: Number of rows that all tables together counted, which decides the type of the counts.

    Returns:
        Distinct words in ascending order, and their counts.
    """
    dtype = _dtype(rows)
    if len(words) == 1:
        return words[0], counts[0].astype(dtype, copy=False)
    joined, weights = np.concatenate(words), np.concatenate(counts)
    order = np.lexsort(joined.T[::-1]) if joined.ndim == 2 else np.argsort(joined)
    joined, weights = joined[order], weights[order]
    changes = (joined[1:] != joined[:-1]).any(1) if joined.ndim == 2 else joined[1:] != joined[:-1]
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    if len(starts) == len(joined):
        return joined, weights.astype(dtype, copy=False)
    return joined[starts], np.add.reduceat(weights, starts, dtype=dtype)


def inserted(words: Array, counts: Array, others: Array, other_counts: Array) -> tuple[Array, Array]:
    """Merge one run into another.

    Args:
        words: Distinct and ascending `(pattern,)`, at least one; not changed.
        counts: How often each was seen; not changed.
        others: Distinct and ascending.
        other_counts: How often each was seen.

    Returns:
        The run of both.
    """
    most = len(words) + len(others)
    both, sums = np.empty(most, np.uint64), np.empty(most, other_counts.dtype)
    size = int(merge(words, counts, others, other_counts, both, sums))
    if size == most:
        return both, sums
    # copies, for a view keeps all of it in memory
    return (words if size == len(words) else both[:size].copy()), sums[:size].copy()


def raised(counts: Array, place: Array, by: Array) -> Array:
    """Raise some counts.

    Args:
        counts: Not changed.
        place: Which, each once.
        by: By how much.

    Returns:
        The new counts, in the type of `by`.
    """
    counts = counts.astype(by.dtype)  # a copy: chunks are shared
    counts[place] += by
    return counts


def _dtype(rows: int) -> type[np.unsignedinteger[Any]]:
    return np.uint32 if rows < 2**32 else np.uint64
