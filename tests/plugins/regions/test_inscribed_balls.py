"""Greatest balls of polytopes whose radii are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reluscope_plugins.regions.inscribed_balls import inscribed_balls

Floats = np.ndarray[Any, np.dtype[np.float64]]


def triangle(corners: Floats) -> tuple[Floats, float]:
    """Half-spaces of a triangle, and its inradius: twice the area over the perimeter."""
    sides = np.roll(corners, -1, 0) - corners
    twice = sides[0, 0] * sides[1, 1] - sides[0, 1] * sides[1, 0]
    lengths = np.linalg.norm(sides, axis=1)
    normals = np.column_stack([-sides[:, 1], sides[:, 0]]) / lengths[:, None] * np.sign(twice)
    return np.column_stack([normals, -(normals * corners).sum(1)]), abs(twice) / lengths.sum()


@given(st.integers(0, 2**31), st.integers(1, 60))
def test_triangles(seed: int, count: int) -> None:
    corners = np.random.default_rng(seed).normal(size=(count, 3, 2))
    systems, expected = zip(*map(triangle, corners), strict=True)
    centres, radii = inscribed_balls(systems)
    np.testing.assert_allclose(radii, expected, atol=1e-8)
    for system, centre, radius in zip(systems, centres, radii, strict=True):
        np.testing.assert_allclose(system[:, :2] @ centre + system[:, 2], radius, atol=1e-8)  # it touches all sides


@pytest.mark.parametrize("inputs", [1, 3, 6])
def test_simplices(inputs: int) -> None:
    # x_i >= 0, sum of x_i <= 1: r = 1 / (n + sqrt(n))
    last = np.append(-np.ones(inputs), 1.0) / math.sqrt(inputs)
    system = np.vstack([np.hstack([np.eye(inputs), np.zeros((inputs, 1))]), last])
    centres, radii = inscribed_balls([system] * 3)
    np.testing.assert_allclose(radii, 1 / (inputs + math.sqrt(inputs)))
    np.testing.assert_allclose(centres, np.full((3, inputs), radii[0]))


def test_many_are_solved_in_parts() -> None:
    widths = np.arange(1.0, 5001.0)
    segments = [np.array([[1.0, 0.0], [-1.0, width]]) for width in widths]
    np.testing.assert_allclose(inscribed_balls(segments)[1], widths / 2)


def test_an_empty_polytope_has_a_negative_radius() -> None:
    apart = np.array([[1.0, -1.0], [-1.0, -1.0]])  # x >= 1 and x <= -1
    assert inscribed_balls([apart])[1].tolist() == [-1.0]


def test_none() -> None:
    assert len(inscribed_balls([])[1]) == 0
