"""A table of distinct patterns and how often each was seen: exact, sorted, merged; 12 bytes a pattern.

A table is plain data, so that it can be sent, kept and merged anywhere:

- `bits` of a pattern, `limit`: the logarithm to base 2 of how many patterns there can be, `seed` of the hash, `exact`:
  whether longer patterns are kept whole, `rows`: how many were counted;
- `words` and `counts`: lists of chunks. Chunks hold ascending, disjoint ranges of words, and are never changed, only
  replaced: two tables may share them. Where the possible words are few, `words` is empty, and `counts` holds one chunk
  with a place for each of them;
- `unsorted`: words of the last batches, as they came;
- `new_words` and `new_counts`: sorted runs that wait to be merged, together at most `WAITING` of the chunks, in a small
  table as much as these.

A word is a 64-bit key (see `reluscope_plugins.patterns.keys`), or in an exact table of more than 64 bits a row of
64-bit words.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.keys import row_keys
from reluscope_plugins.patterns.runs import combined, inserted, raised, runs_of

Array = np.ndarray[Any, Any]
Table = dict[str, Any]

CHUNK = 1 << 17
"""Entries of a chunk; one of twice as many is cut in two."""

WAITING = 1 / 5
"""Entries that may wait to be merged, as a share of those in the chunks."""

DENSE_BITS = 16
"""Patterns of so many bits or fewer are counted in places, once that takes no more memory than listing them."""

BATCHES = 8
"""Batches whose words may wait unsorted: a word takes a thirty-second of its pre-activations."""

_FEW = 1 << 12


def empty(bits: int, *, limit: float | None = None, seed: int = 0, exact: bool = False) -> Table:
    """Make a table of nothing.

    Args:
        bits: Bits of a pattern.
        limit: Logarithm to base 2 of how many patterns there can be; None for `bits`.
        seed: Seed of the hash.
        exact: Whether patterns of more than 64 bits are kept whole.

    Returns:
        The table.
    """
    lists: Table = {name: [] for name in ("words", "counts", "new_words", "new_counts", "unsorted")}
    limit = float(bits if limit is None else limit)
    return {"bits": bits, "limit": limit, "seed": seed, "exact": exact, "rows": 0, **lists}


def counted(
    packed: torch.Tensor, bits: int, *, limit: float | None = None, seed: int = 0, exact: bool = False
) -> Table:
    """Count the patterns of one batch.

    Args:
        packed: uint8 `(row, byte)`, as `Observation.packed` has it.
        bits: Bits of a pattern.
        limit: Logarithm to base 2 of how many patterns there can be; None for `bits`.
        seed: Seed of the hash.
        exact: Whether patterns of more than 64 bits are kept whole.

    Returns:
        The table.

    Example:
        >>> table = counted(torch.tensor([[5], [4], [5]], dtype=torch.uint8), bits=3)
        >>> entries(table)[0].tolist(), entries(table)[1].tolist()
        ([4, 5], [1, 2])
    """
    table = empty(bits, limit=limit, seed=seed, exact=exact)
    return of_words(_words(packed, table), bits, limit=limit, seed=seed, exact=exact)


def count(table: Table, packed: torch.Tensor) -> None:
    """Count the patterns of one batch into a table, in place.

    The batch waits, and is sorted together with those that follow, which is faster than each alone.

    Args:
        table: Changed.
        packed: uint8 `(row, byte)`, as `Observation.packed` has it, of patterns of the table's kind.
    """
    words = _words(packed, table)
    table["rows"] += len(words)
    table["unsorted"].append(words)
    if sum(map(len, table["unsorted"])) >= BATCHES * len(words):
        _sort(table)
        _settle_if_due(table)


def of_words(words: Array, bits: int, *, limit: float | None = None, seed: int = 0, exact: bool = False) -> Table:
    """Count words, each once for every time it stands there.

    Args:
        words: `(row,)` of unsigned integers, or `(row, word)` uint64 where patterns are kept whole.
        bits: Bits of a pattern.
        limit: Logarithm to base 2 of how many patterns there can be; None for `bits`.
        seed: Seed of the hash that made them.
        exact: Whether patterns of more than 64 bits are kept whole.

    Returns:
        The table.
    """
    table = empty(bits, limit=limit, seed=seed, exact=exact)
    table["rows"] = len(words)
    if len(words):
        table["words"], table["counts"] = _cut(*runs_of(words))
    return table


def add(table: Table, other: Table) -> None:
    """Add a table to another, in place.

    Args:
        table: Changed.
        other: Left as it is; its chunks may be shared from then on.

    Raises:
        ObservationError: If they do not count patterns of the same kind.
    """
    for name in ("bits", "seed", "exact"):
        if table[name] != other[name]:
            raise ObservationError(
                f"pattern tables differ in {name}: {table[name]} and {other[name]}, expected the same; count both with "
                "the same network and parameters"
            )
    table["rows"] += other["rows"]
    other = _sorted(other)
    runs = {name: other[name] for name in ("words", "counts")}
    if _is_dense(other):
        runs = dict(zip(runs, ([listed] for listed in _listed(other["counts"][0])), strict=True))
    for name, chunks in runs.items():
        table[f"new_{name}"] += [*chunks, *other[f"new_{name}"]]
    _settle_if_due(table)


def merged(first: Table, second: Table) -> Table:
    """Add two tables.

    Args:
        first: A table, left as it is.
        second: Another, left as it is.

    Returns:
        The table of both.

    Raises:
        ObservationError: If they do not count patterns of the same kind.
    """
    table = copied(first)
    add(table, second)
    return table


def copied(table: Table) -> Table:
    """Copy a table, so that adding to one leaves the other.

    Args:
        table: Left as it is.

    Returns:
        A table that counts the same; they share their chunks.
    """
    return {name: list(value) if isinstance(value, list) else value for name, value in table.items()}


def settled(table: Table) -> Table:
    """Merge what waits.

    Args:
        table: Left as it is.

    Returns:
        A table that counts the same, in which nothing waits.
    """
    if not table["new_words"] and not table["unsorted"]:
        return table
    copy = copied(table)
    settle(copy)
    return copy


def settle(table: Table) -> None:
    """Merge what waits, in place.

    Args:
        table: Changed, but it counts the same.
    """
    _sort(table)
    if not table["new_words"]:
        return
    words, counts = combined(table["new_words"], table["new_counts"], table["rows"])
    table["new_words"], table["new_counts"] = [], []
    if _is_dense(table):
        table["counts"] = [raised(table["counts"][0], words, counts)]
        return
    if not table["words"] or words.ndim == 2:
        if table["words"]:
            words, counts = combined([*table["words"], words], [*table["counts"], counts], table["rows"])
        table["words"], table["counts"] = _cut(words, counts)
        _densify(table)
        return
    pieces = _pieces(table, words)
    for place in range(len(pieces) - 1, -1, -1):  # from the end: a chunk that is cut in two moves those behind it
        piece = pieces[place]
        if piece.start < piece.stop:
            into = inserted(table["words"][place], table["counts"][place], words[piece], counts[piece])
            table["words"][place : place + 1], table["counts"][place : place + 1] = _cut(*into)
    _densify(table)


def chunks(table: Table) -> Iterator[tuple[Array, Array]]:
    """Go through what a table holds; no more than a chunk of it is in memory twice.

    Args:
        table: Left as it is.

    Yields:
        Distinct words and how often each was seen, as `entries` gives them, one chunk after the other.
    """
    table = _sorted(table)
    if not table["new_words"] or not table["words"] or table["words"][0].ndim == 2:
        table = settled(table)
        yield from (
            [_listed(table["counts"][0])] if _is_dense(table) else zip(table["words"], table["counts"], strict=True)
        )
        return
    words, counts = combined(table["new_words"], table["new_counts"], table["rows"])
    for place, piece in enumerate(_pieces(table, words)):
        chunk = table["words"][place], table["counts"][place]
        yield inserted(*chunk, words[piece], counts[piece]) if piece.start < piece.stop else chunk


def entries(table: Table) -> tuple[Array, Array]:
    """Return what a table holds.

    Args:
        table: Left as it is.

    Returns:
        The distinct words in ascending order, uint64 `(pattern,)` or `(pattern, word)`, and how often each was seen,
        `(pattern,)`.
    """
    table = settled(table)
    if not table["counts"]:
        shape = (0, -(-table["bits"] // 64)) if table["exact"] and table["bits"] > 64 else (0,)
        return np.zeros(shape, np.uint64), np.zeros(0, np.uint32)
    if _is_dense(table):
        return _listed(table["counts"][0])
    if len(table["words"]) == 1:
        return table["words"][0], table["counts"][0]
    return np.concatenate(table["words"]), np.concatenate(table["counts"])


def shared(first: Table, second: Table) -> tuple[Array, Array]:
    """Look up the patterns that two tables have in common.

    Args:
        first: A table.
        second: Another.

    Returns:
        How often the first and the second saw each of them, unsigned integers `(pattern,)`.

    Raises:
        ObservationError: If they do not count patterns of the same kind.
    """
    for name in ("bits", "seed", "exact"):
        if first[name] != second[name]:
            raise ObservationError(
                f"pattern tables differ in {name}: {first[name]} and {second[name]}, expected the same; compare "
                "moments of one network, counted with the same parameters"
            )
    if first["exact"] and first["bits"] > 64:
        (words, counts), (others, other_counts) = entries(first), entries(second)
        both = np.concatenate([words, others])
        order = np.lexsort(both.T[::-1])
        twice = np.flatnonzero((both[order[1:]] == both[order[:-1]]).all(1))
        pair = np.sort(np.stack([order[twice], order[twice + 1]]), axis=0)
        return counts[pair[0]], other_counts[pair[1] - len(words)]
    found: tuple[list[Array], list[Array]] = ([np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)])
    left, right = chunks(first), chunks(second)
    one, other = next(left, None), next(right, None)
    while one is not None and other is not None:
        place = np.searchsorted(one[0], other[0])
        hit = one[0][np.minimum(place, len(one[0]) - 1)] == other[0]
        found[0].append(one[1][place[hit]])
        found[1].append(other[1][hit])
        if one[0][-1] <= other[0][-1]:
            one = next(left, None)
        else:
            other = next(right, None)
    return np.concatenate(found[0]), np.concatenate(found[1])


# Which of ascending words belong to which chunk.
def _pieces(table: Table, words: Array) -> list[slice]:
    starts = np.array([chunk[0] for chunk in table["words"][1:]], np.uint64)
    cuts = [0, *np.searchsorted(words, starts).tolist(), len(words)]
    return [slice(start, stop) for start, stop in itertools.pairwise(cuts)]


# One run as chunks: copies, for a view keeps the whole run in memory when the chunks beside it are long replaced.
def _cut(words: Array, counts: Array) -> tuple[list[Array], list[Array]]:
    parts = len(words) // CHUNK
    if parts < 2 or words.ndim == 2:
        return [words], [counts]
    split = (np.array_split(run, parts) for run in (words, counts))
    first, second = ([part.copy() for part in run] for run in split)
    return first, second


# Copies, or what waits would be what the caller may change.
def _words(packed: torch.Tensor, table: Table) -> Array:
    if table["exact"] and table["bits"] > 64:
        whole: Array = packed.cpu().numpy().copy().view(np.uint64)
        return whole
    return row_keys(packed, seed=table["seed"]).copy()


def _sort(table: Table) -> None:
    if table["unsorted"]:
        words = np.concatenate(table["unsorted"])
        table["unsorted"] = []
        if len(words):
            for name, run in zip(("new_words", "new_counts"), _cut(*runs_of(words)), strict=True):
                table[name] += run


def _sorted(table: Table) -> Table:
    if not table["unsorted"]:
        return table
    copy = copied(table)
    _sort(copy)
    return copy


def _settle_if_due(table: Table) -> None:
    waiting, settled_entries = (sum(map(len, table[name])) for name in ("new_counts", "counts"))
    # in a small table as many may wait as are there: what waits never takes more memory, but for a few
    if waiting > max(_FEW, min(CHUNK, settled_entries), WAITING * settled_entries):
        settle(table)


def _is_dense(table: Table) -> bool:
    return bool(table["counts"]) and not table["words"]


def _listed(places: Array) -> tuple[Array, Array]:
    found = np.flatnonzero(places)
    return found.astype(np.uint64), places[found]


def _densify(table: Table) -> None:
    bits, entries = table["bits"], sum(map(len, table["counts"]))
    if bits <= DENSE_BITS and 2**bits <= 6 * entries:  # 4 bytes a place: no more than 24 for each entry
        counts = np.zeros(2**bits, table["counts"][0].dtype)
        for words, seen in zip(table["words"], table["counts"], strict=True):
            counts[words] = seen
        table["words"], table["counts"] = [], [counts]
