"""A planar subdivision into convex polygons, cut along the zeros of functions that are affine on each of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from reluscope_plugins.regions.cutting import around, cut, middles

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

OUTSIDE = -1
"""The face beyond the window."""


@dataclasses.dataclass
class Subdivision:
    """Vertices, edges and faces, linked as half-edges.

    Edge e is the pair of half-edges 2e and 2e + 1, one for each direction. A half-edge has its face on the left.

    Attributes:
        points: Coordinates of the vertices, `(vertex, 2)`.
        origin: Vertex at which each half-edge starts, `(half-edge,)`.
        following: The half-edge after it along the same face, `(half-edge,)`.
        before: The half-edge before it, `(half-edge,)`.
        face: Its face, `OUTSIDE` beyond the window, `(half-edge,)`.
        start: A half-edge of each face, `(face,)`.
        leaving: A half-edge that starts at each vertex, `(vertex,)`.
        maker: Of each edge what it is a zero of: the number of a function, counted over all cuts, or -1 for an edge of
            the window, `(edge,)`.
        functions: How many functions it was cut along.
    """

    points: Floats
    origin: Integers
    following: Integers
    before: Integers
    face: Integers
    start: Integers
    leaving: Integers
    maker: Integers
    functions: int = 0

    @classmethod
    def of(cls, corners: Sequence[Sequence[float]]) -> Subdivision:
        """Begin with one convex polygon.

        Args:
            corners: Its corners, counterclockwise, `(corner, 2)`.

        Returns:
            A subdivision of one face.
        """
        points = np.asarray(corners, dtype=np.float64)
        count = len(points)
        edge = np.arange(count)
        after, ahead = (edge + 1) % count, (edge - 1) % count
        both = np.empty((4, 2 * count), dtype=np.int64)
        both[:, 0::2] = edge, 2 * after, 2 * ahead, np.zeros(count)
        both[:, 1::2] = after, 2 * ahead + 1, 2 * after + 1, np.full(count, OUTSIDE)
        origin, following, before, face = both
        return cls(
            points=points,
            origin=origin,
            following=following,
            before=before,
            face=face,
            start=np.zeros(1, dtype=np.int64),
            leaving=2 * edge,
            maker=np.full(count, -1),
        )

    def cut(self, values: Floats, tolerance: Floats) -> Integers:
        """Cut all faces along the zeros of functions, in place.

        A vertex at which a function is no greater than the tolerance counts as one of its zeros, so that lines that
        meet in one point do not leave slivers there.

        Args:
            values: Of each function at each vertex, `(vertex, function)`; affine on each face.
            tolerance: Of each function, `(function,)`.

        Returns:
            Of each face the one that it was cut from, `(face,)`.
        """
        mine = (self.points, self.origin, self.following, self.before, self.face, self.start, self.leaving, self.maker)
        *grown, parent = cut(*mine, np.ascontiguousarray(values), tolerance, self.functions)
        self.points, self.origin, self.following, self.before, self.face, self.start, self.leaving, self.maker = grown
        self.functions += values.shape[1]
        return parent

    def remove(self, edges: Integers) -> None:
        """Take edges away and join the faces on both sides, in place.

        Args:
            edges: Their numbers, `(edge,)`; none of the window's.
        """
        if not len(edges):
            return
        joined = np.arange(len(self.start))

        def root(face: int) -> int:
            while joined[face] != face:
                joined[face] = joined[joined[face]]
                face = int(joined[face])
            return face

        for edge in edges:
            one, other = 2 * edge, 2 * edge + 1
            for half, twin in ((one, other), (other, one)):
                ahead, behind = self.following[twin], self.before[half]
                self.following[behind], self.before[ahead] = ahead, behind
            joined[root(self.face[one])] = root(self.face[other])
        kept = np.ones(len(self.maker), dtype=bool)
        kept[edges] = False
        halves = np.repeat(kept, 2)
        number = np.cumsum(halves) - 1
        vertices = np.zeros(len(self.points), dtype=bool)
        vertices[self.origin[halves]] = True
        roots = np.array([root(face) for face in range(len(joined))])
        faces, renamed = np.unique(roots, return_inverse=True)
        self.points, self.maker = self.points[vertices], self.maker[kept]
        self.origin = (np.cumsum(vertices) - 1)[self.origin[halves]]
        self.following, self.before = number[self.following[halves]], number[self.before[halves]]
        face = self.face[halves]
        self.face = np.where(face == OUTSIDE, OUTSIDE, renamed[face])
        self.start, self.leaving = np.empty(len(faces), np.int64), np.empty(len(self.points), np.int64)
        half = np.arange(len(self.face))
        inside = self.face != OUTSIDE
        self.start[self.face[inside]] = half[inside]
        self.leaving[self.origin] = half

    def face_of_vertices(self) -> Integers:
        """Return a face at each vertex.

        Returns:
            `(vertex,)`.
        """
        inside = self.face != OUTSIDE
        found = np.empty(len(self.points), dtype=np.int64)
        found[self.origin[inside]] = self.face[inside]
        return found

    def centres(self) -> Floats:
        """Return a point inside each face: the mean of its corners.

        Returns:
            `(face, 2)`.
        """
        return middles(self.points, self.origin, self.following, self.start)

    def polygons(self) -> tuple[Integers, Integers]:
        """Return the corners of each face.

        Returns:
            Vertices counterclockwise, face after face, `(corner,)`, and how many each face has, `(face,)`.
        """
        return around(self.origin, self.following, self.start)

    def areas(self) -> Floats:
        """Return the area of each face.

        Returns:
            `(face,)`.
        """
        inside = (self.face != OUTSIDE).nonzero()[0]
        a = self.points[self.origin[inside]]
        b = self.points[self.origin[self.following[inside]]]
        # about the face's own centre, where products of large coordinates do not cancel
        centre = self.centres()[self.face[inside]]
        a, b = a - centre, b - centre
        twice = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
        return np.bincount(self.face[inside], twice, len(self.start)) / 2
