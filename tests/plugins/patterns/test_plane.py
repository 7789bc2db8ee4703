"""Planes through the input space, and their grids."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.plane import Plane, plane_of, ticks


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(2,), (784,), (3, 8, 8), (1, 100)])
def test_three_points_lie_at_the_corners(shape: tuple[int, ...]) -> None:
    a, b, c = (drawn(*shape, seed=seed) for seed in range(3))
    plane = Plane.through(a, b, c)
    corners = plane.at(torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0]))
    assert corners.shape == (3, *shape)
    assert torch.equal(corners.float(), torch.stack([a, b, c]))


def test_any_real_dtype_is_taken() -> None:
    image = torch.arange(12, dtype=torch.uint8).reshape(3, 2, 2)
    plane = Plane.through(image, image.flip(0), image.flip(1))
    assert torch.equal(plane.at(torch.ones(1), torch.zeros(1))[0], image.flip(0).double())


def test_grid_is_the_formula_point_by_point() -> None:
    plane = Plane(drawn(2, 3), (drawn(2, 3, seed=1), drawn(2, 3, seed=2)))
    grid = plane.grid(resolution=4, extent=2.0)
    assert grid.shape == (4, 4, 2, 3)
    coordinates = [-2.0, -2 / 3, 2 / 3, 2.0]
    for row, y in enumerate(coordinates):
        for column, x in enumerate(coordinates):
            expected = plane.origin + x * plane.directions[0] + y * plane.directions[1]
            torch.testing.assert_close(grid[row, column], expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("resolution", [2, 3, 250, 500, 501])
@pytest.mark.parametrize("extent", [5.0, 1, 1e-3, 0.1])
def test_ticks_are_even_and_symmetric_to_the_last_bit(resolution: int, extent: float) -> None:
    along = ticks(resolution, extent)
    assert along.dtype == torch.float64
    assert len(along) == resolution
    assert along[-1] == extent
    assert torch.equal(along, -along.flip(0))
    torch.testing.assert_close(along.diff(), torch.full((resolution - 1,), 2 * extent / (resolution - 1)).double())


def test_numbers_of_a_recipe() -> None:
    assert torch.equal(plane_of(None, None).grid(3, 1.0), Plane.axes().grid(3, 1.0))
    moved = plane_of([1.0, 2.0], None)
    assert moved.at(torch.ones(1), torch.zeros(1)).tolist() == [[2.0, 2.0]]
    deep = plane_of(None, [[[1.0, 0.0]], [[0.0, 3.0]]])
    assert deep.at(torch.ones(1), torch.ones(1)).tolist() == [[[1.0, 3.0]]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Plane(torch.zeros(2), (torch.ones(2), 2 * torch.ones(2))), "parallel"),
        (lambda: Plane(torch.zeros(2), (torch.zeros(2), torch.ones(2))), "parallel or zero"),
        (lambda: Plane(torch.zeros(2), (torch.ones(2), torch.zeros(2))), "parallel or zero"),
        (lambda: Plane(torch.zeros(2), (torch.ones(2),)), "1 directions, expected two"),
        (lambda: Plane(torch.zeros(2), (torch.ones(3), torch.ones(3))), r"shape \(3,\), expected that of the origin"),
        (lambda: Plane.through(torch.zeros(2), torch.ones(2), torch.ones(3)), r"point c has shape \(3,\)"),
        (lambda: Plane.through(torch.ones(2), torch.ones(2), torch.zeros(2)), "parallel or zero"),
        (lambda: Plane.through(torch.tensor([torch.nan, 0]), torch.ones(2), torch.zeros(2)), "a holds NaN"),
        (lambda: Plane.through([0.0], torch.ones(2), torch.zeros(2)), "a is list, expected a tensor"),
        (lambda: Plane(torch.zeros(2, dtype=torch.complex64), (torch.ones(2), torch.ones(2))), "complex64"),
        (lambda: plane_of([0.0, "x"], None), "expected numbers in lists"),
        (lambda: plane_of(None, [[1.0, 0.0]]), "1 directions, expected two"),
        (lambda: ticks(1), "resolution: got 1"),
        (lambda: ticks(True), "resolution: got True"),
        (lambda: ticks(2.5), "resolution: got 2.5"),
        (lambda: ticks(3, 0.0), "extent: got 0.0"),
        (lambda: ticks(3, -1.0), "extent: got -1.0"),
        (lambda: ticks(3, float("inf")), "extent: got inf"),
        (lambda: ticks(3, "wide"), "extent: got 'wide'"),
    ],
)
def test_bad_planes_say_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        make()
