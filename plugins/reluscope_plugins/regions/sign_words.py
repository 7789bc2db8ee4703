"""Signs of functions at vertices, 64 a word: compiled loops."""

from __future__ import annotations

import numba
import numpy as np

_GATHER, _LAST = np.uint64(0x0102040810204080), np.uint64(56)
"""Eight flags, one a byte, times `_GATHER` have their bits in the product's top byte."""


@numba.njit(cache=True)
def signs(row, tolerance, flags, below, above):  # type: ignore[no-untyped-def]
    """Pack the signs of functions at a vertex into words.

    Args:
        row: Values of the functions, `(function,)`.
        tolerance: Of each function, up to which it counts as zero, `(function,)`.
        flags: uint8 `(2, bit)`, for as many bits as the words have; its beginning is overwritten. Behind the functions
            flags[1] has to be 1.
        below: Which functions are below zero, uint64 `(word,)`; overwritten.
        above: Which are above; overwritten.
    """
    for function in range(len(row)):
        flags[0, function] = row[function] < -tolerance[function]
        flags[1, function] = row[function] > tolerance[function]
    eights = flags.view(np.uint64)
    for word in range(len(below)):
        low, high = np.uint64(0), np.uint64(0)
        for byte in range(8):
            place = np.uint64(8 * byte)
            low |= ((eights[0, 8 * word + byte] * _GATHER) >> _LAST) << place
            high |= ((eights[1, 8 * word + byte] * _GATHER) >> _LAST) << place
        below[word], above[word] = low, high


@numba.njit(cache=True)
def _listed(bits, begin, word, found, count):  # type: ignore[no-untyped-def]
    # Appends the functions from `begin` on that have a bit.
    function = 64 * word
    if begin > function:
        bits = (bits >> np.uint64(begin - function)) << np.uint64(begin - function)
    while bits != np.uint64(0):
        if bits & np.uint64(255) == np.uint64(0):
            bits, function = bits >> np.uint64(8), function + 8
        else:
            if bits & np.uint64(1) != np.uint64(0):
                found[count] = function
                count += 1
            bits, function = bits >> np.uint64(1), function + 1
    return count


@numba.njit(cache=True)
def changes(below, above, one, other, begin, found):  # type: ignore[no-untyped-def]
    """List the functions that change their sign between two vertices, zero at neither.

    Args:
        below: From `signs`, `(vertex, word)`.
        above: Likewise.
        one: A vertex.
        other: Another.
        begin: The first function that is wanted.
        found: Integers with room for all functions; its beginning is overwritten with them, ascending.

    Returns:
        How many they are.
    """
    count = 0
    for word in range(begin >> 6, below.shape[1]):
        bits = (below[one, word] & above[other, word]) | (above[one, word] & below[other, word])
        count = _listed(bits, begin, word, found, count)
    return count


@numba.njit(cache=True)
def zeros(below, above, vertex, begin, found):  # type: ignore[no-untyped-def]
    """List the functions that are zero at a vertex.

    Args:
        below: As for `changes`, like the next.
        above: Likewise.
        vertex: The vertex.
        begin: As for `changes`, like the next.
        found: Likewise.

    Returns:
        How many they are.
    """
    count = 0
    for word in range(begin >> 6, below.shape[1]):
        count = _listed(~(below[vertex, word] | above[vertex, word]), begin, word, found, count)
    return count
