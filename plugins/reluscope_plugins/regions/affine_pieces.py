"""Affine functions on faces, evaluated where they are wanted: compiled loops."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, error_model="numpy")
def affine_values(maps, face, points, begin, end):  # type: ignore[no-untyped-def]
    """Evaluate functions at points.

    Args:
        maps: Slopes along x and y, and offset, of each function on each face, `(face, 3, function)`.
        face: The face of each point, `(point,)`.
        points: `(point, 2)`.
        begin: The first function that is wanted.
        end: The first that is not.

    Returns:
        `(point, function)`.
    """
    values = np.empty((len(points), end - begin))
    for point in range(len(points)):
        x, y, here, row = points[point, 0], points[point, 1], maps[face[point]], values[point]
        for function in range(begin, end):
            row[function - begin] = x * here[0, function] + y * here[1, function] + here[2, function]
    return values


@numba.njit(cache=True, error_model="numpy")
def masked_maps(maps, parent, centres, tolerance):  # type: ignore[no-untyped-def]
    """Apply a ReLU to functions on the faces into which their faces were cut.

    Args:
        maps: `(face, 3, function)`.
        parent: Of each new face the old one, `(new face,)`.
        centres: A point in each new face, `(new face, 2)`.
        tolerance: Of each function, up to which it counts as zero, `(function,)`.

    Returns:
        The maps after the ReLU, `(new face, 3, function)`, and which functions are positive there, `(new face,
        function)`.
    """
    functions = maps.shape[2]
    masked = np.empty((len(parent), 3, functions))
    active = np.empty((len(parent), functions), np.bool_)
    for face in range(len(parent)):
        x, y, here = centres[face, 0], centres[face, 1], maps[parent[face]]
        for function in range(functions):
            on = x * here[0, function] + y * here[1, function] + here[2, function] > tolerance[function]
            active[face, function] = on
            for axis in range(3):
                masked[face, axis, function] = here[axis, function] if on else 0.0
    return masked, active
