"""Loops compiled to machine code, where numpy and torch would go through memory several times.

They run without the interpreter's lock, in the thread that calls them; `shared_out` calls them in several. What is
compiled is kept on disk beside this file, or where that cannot be written in the user's cache.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numba.core.dispatcher
import numpy as np
import torch

Array = np.ndarray[Any, Any]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

ALONE = 1 << 26
"""Bytes that one thread reads alone: torch's own threads wait busily for some milliseconds after each of its calls, and
for no longer than that another thread beside them is in their way."""


def compiled(function: Kernel) -> Kernel:
    """Compile a function when it is first called.

    Args:
        function: On arrays and numbers, in what numba understands. Sums may be taken in any order.

    Returns:
        The function, compiled. It is compiled anew when its file, or that of a compiled function that it calls by a
        global name, was changed.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc"}, "error_model": "numpy"}
    known = [function.__globals__.get(name) for name in function.__code__.co_names]
    called = [value for value in known if isinstance(value, numba.core.dispatcher.Dispatcher)]
    compiler: Any = numba.njit
    try:
        kept: Kernel = compiler(cache=True, **options)(function)
        # numba itself looks at the function's own file alone
        own, *others = (vars(one)["_cache"]._cache_file for one in (kept, *called))
        own._source_stamp = (own._source_stamp, *(other._source_stamp for other in others))
    except (RuntimeError, AttributeError, KeyError):  # nowhere to keep it, or no stamp: compiled in each process
        kept = compiler(**options)(function)
    return kept


def shared_out(count: int, work: Callable[[slice], bool], size: int) -> bool:
    """Share work on rows among as many threads as torch uses.

    Args:
        count: Number of rows.
        work: On a range of rows, and without the interpreter's lock; says whether all is well.
        size: Bytes to be read; few are read by the calling thread alone.

    Returns:
        Whether all is well with all of them.

    Raises:
        Exception: What `work` raises.
    """
    parts = max(1, min(torch.get_num_threads(), count, 1 + size // ALONE))
    edges = [count * part // parts for part in range(parts + 1)]
    found: list[bool | BaseException] = []

    def part(rows: slice) -> None:
        try:
            found.append(work(rows))
        except BaseException as error:  # raised below, in the calling thread
            found.append(error)

    threads = [threading.Thread(target=part, args=(slice(*pair),)) for pair in itertools.pairwise(edges[1:])]
    for thread in threads:
        thread.start()
    part(slice(edges[0], edges[1]))
    for thread in threads:
        thread.join()
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    return all(found)


@compiled
def pack_planes(values: Array, threshold: Any, above: bool, places: Array, out: Array) -> bool:
    """Compare planes of values with a threshold, and pack the outcomes of all units at a position into words.

    Args:
        values: float32, float64 or uint8 `(sample, unit, position)`; read once.
        threshold: Of the same type.
        above: Whether a unit's bit is set above the threshold; else below.
        places: `(bit,)`, one after the other the bits of a word, in its type.
        out: Unsigned integers `(sample, position, word)`; overwritten.

    Returns:
        Whether all values are finite.
    """
    samples, units, positions = values.shape
    width = len(places)
    none = places[0] ^ places[0]
    nothing = np.float32(0)
    total = np.float32(0)
    line = np.empty(positions, places.dtype)
    for sample in range(samples):
        for word in range(out.shape[2]):
            line[:] = none
            for unit in range(word * width, min(units, (word + 1) * width)):
                place = places[unit - word * width]
                if above:
                    for position in range(positions):
                        value = values[sample, unit, position]
                        line[position] |= place if value > threshold else none
                        total += value * nothing  # NaN for what is not finite
                else:
                    for position in range(positions):
                        value = values[sample, unit, position]
                        line[position] |= place if value < threshold else none
                        total += value * nothing
            for position in range(positions):
                out[sample, position, word] = line[position]
    return bool(total == total)


@compiled
def pack_rows(values: Array, threshold: Any, above: bool, out: Array) -> bool:
    """Compare rows of values with a threshold, and pack the outcomes eight a byte.

    Args:
        values: float32, float64 or uint8 `(row, unit)`; read once.
        threshold: Of the same type.
        above: Whether a unit's bit is set above the threshold; else below.
        out: uint8 `(row, byte)` with room for all units; overwritten, with zeros behind them.

    Returns:
        Whether all values are finite.
    """
    rows, units = values.shape
    nothing = np.float32(0)
    total = np.float32(0)
    flags = np.zeros(8 * out.shape[1], np.uint8)
    eights = flags.view(np.uint64)
    gather, last = np.uint64(0x0102040810204080), np.uint64(56)
    for row in range(rows):
        if above:
            for unit in range(units):
                value = values[row, unit]
                flags[unit] = value > threshold
                total += value * nothing  # NaN for what is not finite
        else:
            for unit in range(units):
                value = values[row, unit]
                flags[unit] = value < threshold
                total += value * nothing
        for byte in range(out.shape[1]):
            out[row, byte] = (eights[byte] * gather) >> last  # the product's top byte is the eight flags' bits
    return bool(total == total)


@compiled
def hash_rows(pieces: Array, factors: Array, sums: Array) -> None:
    """Add to each row's two sums its pieces times two factors each, modulo 2^64.

    Args:
        pieces: uint32 `(row, piece)`.
        factors: uint64 `(2, piece)`.
        sums: uint64 `(row, 2)`, raised in place.
    """
    for row in range(len(pieces)):
        first, second = np.uint64(0), np.uint64(0)
        for piece in range(pieces.shape[1]):
            value = np.uint64(pieces[row, piece])
            first += value * factors[0, piece]
            second += value * factors[1, piece]
        sums[row, 0] += first
        sums[row, 1] += second


@compiled
def frequencies(words: Array, counts: Array) -> None:
    """Count how often each word stands there.

    Args:
        words: Unsigned integers `(row,)`.
        counts: `(word,)`, raised in place; has a place for each word.
    """
    for row in range(len(words)):
        counts[words[row]] += 1


@compiled
def merge(words: Array, counts: Array, others: Array, other_counts: Array, both: Array, sums: Array) -> int:
    """Merge two runs of distinct words and add up the counts of those in both.

    Args:
        words: Distinct and ascending, uint64 `(word,)`; the longer run.
        counts: Of each word.
        others: As `words`.
        other_counts: Of each word.
        both: At least as long as both runs together; its beginning is overwritten with their words in ascending order.
        sums: As long, overwritten with their counts.

    Returns:
        How many distinct words there are.
    """
    # unsigned, for which numba need not ask whether an index counts from the end
    one, size = np.uint64(1), np.uint64(len(words))
    first, place = np.uint64(0), np.uint64(0)
    for second in range(len(others)):
        word = others[second]
        while first < size and words[first] < word:
            both[place] = words[first]
            sums[place] = counts[first]
            first += one
            place += one
        both[place] = word
        sums[place] = other_counts[second]
        if first < size and words[first] == word:
            sums[place] += counts[first]
            first += one
        place += one
    while first < size:
        both[place] = words[first]
        sums[place] = counts[first]
        first += one
        place += one
    return int(place)
