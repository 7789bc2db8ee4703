"""The compiled loop that cuts a planar subdivision.

Functions are taken one after the other. An edge on which one changes its sign is split at its zero, where the values of
all others are interpolated; then each face that has both signs is cut between its two zeros. Which edges a function
cuts is known from when they were made: a new edge is entered at once in the lists of all later functions that change
their sign on it. So the time is proportional to the edges made, times functions.
"""

from __future__ import annotations

import numba
import numpy as np

from reluscope_plugins.regions.sign_words import changes, signs, zeros

OUTSIDE = -1
_ONE = np.uint64(1)


@numba.njit(cache=True)
def _longer(array, size):  # type: ignore[no-untyped-def]
    longer = np.empty((size, *array.shape[1:]), array.dtype)
    longer[: len(array)] = array
    return longer


@numba.njit(cache=True, error_model="numpy")
def _between(one, other, share, new):  # type: ignore[no-untyped-def]
    for function in range(len(one)):
        new[function] = one[function] + share * (other[function] - one[function])


@numba.njit(cache=True)
def cut(points, origin, following, before, face, start, leaving, maker, values, tolerance, first):  # type: ignore[no-untyped-def]
    """Cut all faces along the zeros of functions.

    Args:
        points: As in `Subdivision`, like the next seven.
        origin: Likewise.
        following: Likewise.
        before: Likewise.
        face: Likewise.
        start: Likewise.
        leaving: Likewise.
        maker: Likewise.
        values: `(vertex, function)`.
        tolerance: `(function,)`.
        first: Number of the first function, for `maker`.

    Returns:
        The first eight arguments, grown, and of each face the one that it was cut from, `(face,)`.
    """
    functions = values.shape[1]
    vertices, edges, faces = len(points), len(maker), len(start)
    stamp, parent = np.full(faces, -1, np.int64), np.arange(faces)
    touched = np.empty(16, np.int64)
    # lists of edges that a function cuts, and of vertices that it passes through, by function
    cut_head, zero_head = np.full(functions, -1, np.int64), np.full(functions, -1, np.int64)
    cut_item, cut_next, cuts = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    zero_item, zero_next, zero_count = np.empty(256, np.int64), np.empty(256, np.int64), 0

    # signs of the functions at the vertices, 64 a word
    words = (functions + 63) >> 6
    below, above = np.empty((vertices, words), np.uint64), np.empty((vertices, words), np.uint64)
    flags = np.zeros((2, 64 * words), np.uint8)
    flags[1, functions:] = 1
    for vertex in range(vertices):
        signs(values[vertex], tolerance, flags, below[vertex], above[vertex])

    found = np.empty(functions, np.int64)
    for vertex in range(vertices):
        for later in found[: zeros(below, above, vertex, 0, found)]:
            if zero_count == len(zero_item):
                zero_item, zero_next = _longer(zero_item, 2 * zero_count), _longer(zero_next, 2 * zero_count)
            zero_item[zero_count], zero_next[zero_count], zero_head[later] = vertex, zero_head[later], zero_count
            zero_count += 1
    for edge in range(edges):
        one, other = origin[2 * edge], origin[2 * edge + 1]
        for later in found[: changes(below, above, one, other, 0, found)]:
            if cuts == len(cut_item):
                cut_item, cut_next = _longer(cut_item, 2 * cuts), _longer(cut_next, 2 * cuts)
            cut_item[cuts], cut_next[cuts], cut_head[later] = edge, cut_head[later], cuts
            cuts += 1

    for function in range(functions):
        word, place = function >> 6, np.uint64(function & 63)
        slack = tolerance[function]
        count = 0
        entry = cut_head[function]
        while entry >= 0:
            edge = cut_item[entry]
            entry = cut_next[entry]
            there, back = 2 * edge, 2 * edge + 1
            one, other = origin[there], origin[back]
            a, b = values[one, function], values[other, function]
            if (a < 0) == (b < 0) or abs(a) <= slack or abs(b) <= slack:
                continue  # it was cut meanwhile, and changes its sign on the other part
            if vertices == len(points):
                points, values = _longer(points, 2 * vertices), _longer(values, 2 * vertices)
                leaving = _longer(leaving, 2 * vertices)
                below, above = _longer(below, 2 * vertices), _longer(above, 2 * vertices)
            if edges + 1 >= len(maker):
                size = 2 * (edges + 1)
                maker = _longer(maker, size)
                origin, following = _longer(origin, 2 * size), _longer(following, 2 * size)
                before, face = _longer(before, 2 * size), _longer(face, 2 * size)
            new, half = vertices, edges
            vertices, edges = vertices + 1, edges + 1
            share = a / (a - b)
            points[new] = points[one] + share * (points[other] - points[one])
            _between(values[one], values[other], share, values[new])
            values[new, function] = 0.0
            signs(values[new], tolerance, flags, below[new], above[new])
            # edge: one to new; half: new to other
            ahead, behind = 2 * half, 2 * half + 1
            maker[half] = maker[edge]
            origin[ahead], origin[behind], origin[back] = new, other, new
            face[ahead], face[behind] = face[there], face[back]
            following[ahead], before[following[there]] = following[there], ahead
            following[there], before[ahead] = ahead, there
            before[behind], following[before[back]] = before[back], behind
            following[behind], before[back] = back, behind
            leaving[new] = ahead
            leaving[other] = behind
            for side in (face[there], face[back]):
                if side != OUTSIDE and stamp[side] != function:
                    stamp[side] = function
                    if count == len(touched):
                        touched = _longer(touched, 2 * count)
                    touched[count] = side
                    count += 1
            for later in found[: zeros(below, above, new, function + 1, found)]:
                if zero_count == len(zero_item):
                    zero_item, zero_next = _longer(zero_item, 2 * zero_count), _longer(zero_next, 2 * zero_count)
                zero_item[zero_count], zero_next[zero_count], zero_head[later] = new, zero_head[later], zero_count
                zero_count += 1
            for later in found[: changes(below, above, new, other, function + 1, found)]:
                if cuts == len(cut_item):
                    cut_item, cut_next = _longer(cut_item, 2 * cuts), _longer(cut_next, 2 * cuts)
                cut_item[cuts], cut_next[cuts], cut_head[later] = half, cut_head[later], cuts
                cuts += 1

        entry = zero_head[function]
        while entry >= 0:
            first_half = leaving[zero_item[entry]]
            entry = zero_next[entry]
            current = first_half
            while True:
                side = face[current]
                if side != OUTSIDE and stamp[side] != function:
                    stamp[side] = function
                    if count == len(touched):
                        touched = _longer(touched, 2 * count)
                    touched[count] = side
                    count += 1
                current = following[current ^ 1]
                if current == first_half:
                    break

        for number in range(count):
            side = touched[number]
            # around the face: the last zero before the sign turns negative, and before it turns positive
            falls, rises, seen, zero = -1, -1, np.int64(0), -1
            current = start[side]
            begun = current
            rounds = 0
            while rounds < 2:
                vertex = origin[current]
                sign = np.int64((above[vertex, word] >> place) & _ONE) - np.int64((below[vertex, word] >> place) & _ONE)
                if sign == 0:
                    zero = current
                else:
                    if seen * sign < 0 and zero >= 0:
                        if sign < 0:
                            falls = zero
                        else:
                            rises = zero
                    seen = sign
                    zero = -1
                current = following[current]
                if current == begun:
                    rounds += 1
                    if falls >= 0 and rises >= 0:
                        break
            if falls < 0 or rises < 0:
                continue
            if edges == len(maker):
                size = 2 * edges
                maker = _longer(maker, size)
                origin, following = _longer(origin, 2 * size), _longer(following, 2 * size)
                before, face = _longer(before, 2 * size), _longer(face, 2 * size)
            if faces == len(start):
                start, stamp, parent = _longer(start, 2 * faces), _longer(stamp, 2 * faces), _longer(parent, 2 * faces)
            chord, other_face = edges, faces
            edges, faces = edges + 1, faces + 1
            maker[chord] = first + function
            ahead, behind = 2 * chord, 2 * chord + 1  # from falls to rises, and back
            origin[ahead], origin[behind] = origin[falls], origin[rises]
            last_of_falls, last_of_rises = before[falls], before[rises]
            # the face keeps what follows rises, where the function is positive; the other one gets what follows falls
            following[last_of_falls], before[ahead] = ahead, last_of_falls
            following[ahead], before[rises] = rises, ahead
            following[last_of_rises], before[behind] = behind, last_of_rises
            following[behind], before[falls] = falls, behind
            face[ahead] = side
            start[side], start[other_face] = ahead, behind
            stamp[other_face], parent[other_face] = function, parent[side]
            current = behind
            while True:
                face[current] = other_face
                current = following[current]
                if current == behind:
                    break
            one, other = origin[ahead], origin[behind]
            for later in found[: changes(below, above, one, other, function + 1, found)]:
                if cuts == len(cut_item):
                    cut_item, cut_next = _longer(cut_item, 2 * cuts), _longer(cut_next, 2 * cuts)
                cut_item[cuts], cut_next[cuts], cut_head[later] = chord, cut_head[later], cuts
                cuts += 1

    halves = 2 * edges
    return (
        points[:vertices],
        origin[:halves],
        following[:halves],
        before[:halves],
        face[:halves],
        start[:faces],
        leaving[:vertices],
        maker[:edges],
        parent[:faces],
    )


@numba.njit(cache=True)
def around(origin, following, start):  # type: ignore[no-untyped-def]
    """Walk around each face.

    Args:
        origin: As in `Subdivision`, like the next two.
        following: Likewise.
        start: Likewise.

    Returns:
        Vertices, face after face, `(corner,)`, and how many each has, `(face,)`.
    """
    vertices, counts, total = np.empty(len(origin), np.int64), np.zeros(len(start), np.int64), 0
    for face in range(len(start)):
        current = start[face]
        while True:
            vertices[total] = origin[current]
            total += 1
            counts[face] += 1
            current = following[current]
            if current == start[face]:
                break
    return vertices[:total], counts


@numba.njit(cache=True)
def middles(points, origin, following, start):  # type: ignore[no-untyped-def]
    """Average the corners of each face.

    Args:
        points: As in `Subdivision`, like the next three.
        origin: Likewise.
        following: Likewise.
        start: Likewise.

    Returns:
        `(face, 2)`.
    """
    centres = np.empty((len(start), 2))
    for face in range(len(start)):
        x, y, count = 0.0, 0.0, 0
        current = start[face]
        while True:
            x, y, count = x + points[origin[current], 0], y + points[origin[current], 1], count + 1
            current = following[current]
            if current == start[face]:
                break
        centres[face, 0], centres[face, 1] = x / count, y / count
    return centres
