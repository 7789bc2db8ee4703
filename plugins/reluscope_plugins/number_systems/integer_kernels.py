"""Integer arithmetic as a circuit does it: shifts and additions into an accumulator of 32 bits that wraps.

No number is multiplied here, not even by a count.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reluscope.kernels import compiled

Array = np.ndarray[Any, Any]

LEAST, GREATEST = -(1 << 31), (1 << 31) - 1


@compiled
def _shifted(x: Any, places: Any) -> Any:
    # Before it is cut to 32 bits: 16 bits by at most 32 places fit 64 bits, and 32 places leave none of the lower 32.
    if places >= 0:
        return np.int64(x) << np.int64(min(places, 32))
    return np.int64(x) >> np.int64(min(-places, 63))


@compiled
def _added(total: Any, value: Any, times: Any) -> Any:
    # Adds a value so often; the new total, and how many of these additions overflowed. The partial totals are
    # monotone: if the last one fits, so do all, and the additions may be grouped by the bits of `times`.
    last, doubled, left = np.int64(total), np.int64(value), np.int64(times)
    while left:
        if left & 1:
            last += doubled
        doubled <<= np.int64(1)
        left >>= np.int64(1)
    if LEAST <= last <= GREATEST:
        return last, np.int64(0)
    overflows = np.int64(0)
    for _ in range(times):
        wide = np.int64(total) + np.int64(value)
        total = np.int64(np.int32(wide))
        overflows += np.int64(total != wide)
    return np.int64(total), overflows


@compiled
def accumulate(
    rows: Array,
    sign: Array,
    exponent: Array,
    counts: Array,
    samples: int,
    guard_bits: int,
    sums: Array,
    overflows: Array,
) -> None:
    """Add up stochastic products, each of them n times a shifted input.

    Of the n samples of one product K have B = 1. To the accumulator `x << (e + G)` is added n - K times and then
    `x << (e + 1 + G)` K times, or where the sign is negative they are subtracted. A shift by a negative number is an
    arithmetic shift to the right, which rounds down. Shifted values and the accumulator have 32 bits and wrap. Inputs
    are taken in order.

    The additions of one value are grouped by the bits of their number (shifts and additions again) where none of them
    overflows, and made one by one where one does. Both give the same total and the same number of overflows.

    Args:
        rows: int16 `(row, group, input)`.
        sign: int8 `(group, output, input)`, -1, 0 or 1; a product with 0 takes no addition.
        exponent: int16 `(group, output, input)`.
        counts: Integers K `(row, group, output, input)`, within 0..n.
        samples: n.
        guard_bits: G.
        sums: int32 `(row, group, output)`; overwritten.
        overflows: int64 `(row, group, output)`; overwritten with how many additions and shifts to the left gave a
            number that does not fit 32 bits. A shift is made for each sample.
    """
    for row in range(rows.shape[0]):
        for group in range(rows.shape[1]):
            for output in range(sign.shape[1]):
                total, lost = np.int64(0), np.int64(0)
                for place in range(rows.shape[2]):
                    factor = sign[group, output, place]
                    if factor == 0:
                        continue
                    x = np.int64(rows[row, group, place])
                    ones = np.int64(counts[row, group, output, place])
                    for above, times in ((0, np.int64(samples) - ones), (1, ones)):
                        exact = _shifted(x, np.int64(exponent[group, output, place]) + guard_bits + above)
                        value = np.int64(np.int32(exact))
                        if value != exact:
                            lost += times
                        total, more = _added(total, -value if factor < 0 else value, times)
                        lost += more
                sums[row, group, output] = total
                overflows[row, group, output] = lost


def round_shift(values: Array, places: int) -> Array:
    """Shift to the right and round half to even, in integers.

    Args:
        values: int32, any shape.
        places: By how many bits, 0 or more.

    Returns:
        `values / 2^places`, rounded to the nearest integer, int32.

    Example:
        >>> round_shift(np.array([5, 6, 7, -5, -6, -7], dtype=np.int32), 2)
        array([ 1,  2,  2, -1, -2, -2], dtype=int32)
        >>> round_shift(np.array([2, 6, -2, -6], dtype=np.int32), 2)
        array([ 0,  2,  0, -2], dtype=int32)
    """
    if places == 0:
        return values.astype(np.int32)
    if places > 31:
        return np.zeros_like(values, dtype=np.int32)
    below = values >> np.int32(places)
    rest = values & np.int32((1 << places) - 1)
    half = np.int32(1 << (places - 1))
    up = (rest > half) | ((rest == half) & ((below & np.int32(1)) == 1))
    return (below + up.astype(np.int32)).astype(np.int32)


def saturate(values: Array, places: int) -> tuple[Array, Array]:
    """Shift, round half to even, and take what does not fit 16 bits for the nearest number that does.

    Args:
        values: int32, any shape.
        places: Shift to the right by so many bits; to the left if negative.

    Returns:
        int16, and which of them were saturated.

    Example:
        >>> saturate(np.array([3, 100_000, -100_000], dtype=np.int32), 0)
        (array([     3,  32767, -32768], dtype=int16), array([False,  True,  True]))
        >>> saturate(np.array([3, 9_000], dtype=np.int32), -2)
        (array([   12, 32767], dtype=int16), array([False,  True]))
    """
    left = min(max(-places, 0), 16)
    rounded = round_shift(values, max(places, 0))
    # before a shift to the left, what stays within 16 bits after it
    kept = np.clip(rounded, -((1 << 15) >> left), ((1 << 15) - 1) >> left).astype(np.int32)
    outside = kept != rounded
    shifted = kept << np.int32(left)
    return np.where(outside, np.where(rounded > 0, 32767, -32768), shifted).astype(np.int16), outside
