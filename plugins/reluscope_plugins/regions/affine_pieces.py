"""Affine functions on faces: evaluated at points, and carried from one layer to the next. Compiled loops.

A function's map on a face is its slope along x, its slope along y and its offset: the three axes of `maps`.
"""

from __future__ import annotations

import numba
import numpy as np

from reluscope.kernels import compiled

OUTSIDE = -1


@compiled
def affine_values(maps, face, points, begin, values):  # type: ignore[no-untyped-def]
    """Evaluate functions at points.

    Args:
        maps: `(face, axis, function)`.
        face: The face of each point, `(point,)`.
        points: `(point, 2)`.
        begin: The first function that is wanted.
        values: `(point, wanted function)`; overwritten.
    """
    end = begin + values.shape[1]
    for point in range(len(points)):
        x, y, here, row = points[point, 0], points[point, 1], face[point], values[point]
        along_x, along_y, offset = maps[here, 0, begin:end], maps[here, 1, begin:end], maps[here, 2, begin:end]
        for function in range(len(row)):
            row[function] = x * along_x[function] + y * along_y[function] + offset[function]


@compiled
def positive(maps, face, points, begin, tolerance, bits):  # type: ignore[no-untyped-def]
    """Say which functions are positive at points, eight a byte.

    Args:
        maps: `(face, axis, function)`.
        face: The face of each point, `(point,)`.
        points: `(point, 2)`.
        begin: The first function that is wanted.
        tolerance: Of each wanted function, up to which it counts as zero, `(wanted function,)`.
        bits: uint8 `(point, byte)` with room for the wanted functions; overwritten.
    """
    end = begin + len(tolerance)
    flags = np.zeros(8 * bits.shape[1], np.uint8)
    eights = flags.view(np.uint64)
    gather, last = np.uint64(0x0102040810204080), np.uint64(56)
    for point in range(len(points)):
        x, y, here = points[point, 0], points[point, 1], face[point]
        along_x, along_y, offset = maps[here, 0, begin:end], maps[here, 1, begin:end], maps[here, 2, begin:end]
        for function in range(len(tolerance)):
            value = x * along_x[function] + y * along_y[function] + offset[function]
            flags[function] = value > tolerance[function]
        for byte in range(bits.shape[1]):
            bits[point, byte] = (eights[byte] * gather) >> last  # the product's top byte is the eight flags' bits


@compiled
def masked_maps(maps, parent, bits, units, masked):  # type: ignore[no-untyped-def]
    """Apply a ReLU to functions on the faces into which their faces were cut.

    Args:
        maps: `(old face, axis, unit)`.
        parent: Of each face the old one, `(face,)`.
        bits: Which units are positive, uint8 `(face, byte)`.
        units: Those that are wanted, `(wanted unit,)`.
        masked: Their maps after the ReLU, `(face, axis, wanted unit)`; overwritten.
    """
    on = np.empty(len(units), np.uint8)
    for face in range(len(parent)):
        for number in range(len(units)):
            on[number] = (bits[face, units[number] >> 3] >> (units[number] & 7)) & 1
        for axis in range(3):
            here, row = maps[parent[face], axis], masked[face, axis]
            for number in range(len(units)):
                row[number] = here[np.uint64(units[number])] if on[number] else 0.0


@numba.njit(cache=True)
def chains(face, following, start, parent, bits, most):  # type: ignore[no-untyped-def]
    """Order faces so that each comes after a neighbour that was cut from the same face.

    Args:
        face: As in `Subdivision`, like the next two.
        following: Likewise.
        start: Likewise.
        parent: Of each face the one that it was cut from, `(face,)`.
        bits: Which units are positive, uint8 `(face, byte)`.
        most: A chain of neighbours ends after so many.

    Returns:
        The faces in that order, `(face,)`; the neighbour of each, -1 where a chain begins, `(face,)`; the units that
        differ between the two, face after face, `(difference,)`, and where those of each face end, `(face,)`.
    """
    count = len(start)
    order, neighbour, ends = np.empty(count, np.int64), np.full(count, -1, np.int64), np.empty(count, np.int64)
    steps, seen = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    units, differences = np.empty(2 * count + 64, np.int64), 0
    filled, head = 0, 0
    for seed in range(count):
        if not seen[seed]:
            seen[seed], order[filled] = True, seed
            filled += 1
        while head < filled:
            here = order[head]
            head += 1
            current = start[here]
            while True:
                other = face[current ^ 1]
                if other != OUTSIDE and not seen[other] and parent[other] == parent[here]:
                    seen[other], order[filled] = True, other
                    filled += 1
                    if steps[here] + 1 < most:
                        neighbour[other], steps[other] = here, steps[here] + 1
                current = following[current]
                if current == start[here]:
                    break
    for face_ in order:
        before = neighbour[face_]
        if before >= 0:
            for byte in range(bits.shape[1]):
                changed = bits[face_, byte] ^ bits[before, byte]
                unit = 8 * byte
                while changed:
                    if changed & 1:
                        if differences == len(units):
                            units = np.append(units, np.empty_like(units))
                        units[differences] = unit
                        differences += 1
                    changed >>= 1
                    unit += 1
        ends[face_] = differences
    return order, neighbour, units[:differences], ends


@compiled
def follow(order, neighbour, units, ends, bits, parent, old, weight, maps, first, last):  # type: ignore[no-untyped-def]
    """Carry maps along the chains: those of neighbours differ by what the units between them contribute.

    Args:
        order: From `chains`, like the next three.
        neighbour: Likewise.
        units: Likewise.
        ends: Likewise.
        bits: As for `chains`.
        parent: Likewise.
        old: Maps of the units, `(parent, axis, unit)`.
        weight: From units to functions, `(unit, function)`.
        maps: `(face, axis, function)`: known where a chain begins, written elsewhere.
        first: The first function that is wanted.
        last: The first that is not.
    """
    done = 0
    for number in range(len(order)):
        here = order[number]
        there = neighbour[here]
        if there < 0:
            continue
        for axis in range(3):
            mine, other = maps[here, axis, first:last], maps[there, axis, first:last]
            for function in range(len(mine)):
                mine[function] = other[function]
            for place in range(done, ends[here]):
                unit = units[place]
                share = old[parent[here], axis, unit]
                if not (bits[here, unit >> 3] >> (unit & 7)) & 1:
                    share = -share
                row = weight[unit, first:last]
                for function in range(len(mine)):
                    mine[function] += share * row[function]
        done = ends[here]
