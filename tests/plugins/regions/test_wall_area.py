"""The area of walls by random lines: against areas known otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.plane_regions import plane_regions
from reluscope_plugins.regions.wall_area import random_lines, wall_area

LINES = 200_000


def share_that_crosses(normal: list[float], offset: float, low: torch.Tensor, high: torch.Tensor, seed: int) -> float:
    ends = random_lines(low, high, LINES, np.random.default_rng(seed)).numpy()
    height = ends @ np.array(normal) + offset
    return float((height[:, 0] * height[:, 1] < 0).mean())


@pytest.mark.parametrize(
    ("low", "high", "normal", "offset", "area", "surface"),
    [
        ([-1.0, -1.0], [1.0, 1.0], [1.0, 0.0], 0.9, 2.0, 8.0),
        ([-1.0, -1.0], [1.0, 1.0], [1.0, 1.0], 0.0, 2 * math.sqrt(2), 8.0),
        ([-1.0, -1.0], [1.0, 1.0], [1.0, 1.0], -1.5, math.sqrt(2) / 2, 8.0),
        ([0.0, 0.0], [1.0, 5.0], [1.0, 0.0], -0.2, 5.0, 12.0),
        ([0.0, 0.0], [1.0, 5.0], [0.0, 1.0], -0.2, 1.0, 12.0),
        ([-1.0] * 3, [1.0] * 3, [1.0, 1.0, 1.0], 0.0, 3 * math.sqrt(3), 24.0),  # a hexagon
        ([0.0] * 3, [1.0, 2.0, 3.0], [0.0, 0.0, 1.0], -2.5, 2.0, 22.0),
        ([0.0] * 3, [1.0, 2.0, 3.0], [2.0, -1.0, 0.0], 0.0, 3 * math.sqrt(5), 22.0),
        ([0.0] * 5, [1.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0], -0.5, 1.0, 10.0),
    ],
)
def test_a_plane_is_met_in_proportion_to_its_area(
    low: list[float], high: list[float], normal: list[float], offset: float, area: float, surface: float
) -> None:
    share = share_that_crosses(normal, offset, torch.tensor(low), torch.tensor(high), seed=0)
    # null: the probability is 2 area / surface; 200,000 lines, 1e-6 by Hoeffding's inequality
    assert abs(share - 2 * area / surface) < math.sqrt(math.log(2e6) / (2 * LINES))


@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (2, 2, 3)])
def test_lines_end_on_the_surface(shape: tuple[int, ...]) -> None:
    low, high = -torch.ones(shape), 3 * torch.ones(shape)
    ends = random_lines(low, high, 500, np.random.default_rng(0))
    assert ends.shape == (500, 2, *shape)
    flat = ends.flatten(2).numpy()
    assert ((flat >= -1) & (flat <= 3)).all()
    np.testing.assert_allclose(np.minimum(flat + 1, 3 - flat).min(axis=2), 0.0, atol=1e-12)


def test_walls_of_a_deep_network_in_the_plane() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1)).double()
    exact = plane_regions(model)
    inner = exact.edge_site.values >= 0
    ends = exact.vertex_position.values[exact.edge_vertices.values[inner]]
    length = float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum())
    found = wall_area(model, -torch.ones(2), torch.ones(2), lines=150)
    assert float(found.box_surface) == 8.0
    # null: the mean is the exact length; 150 lines, 1e-6 by the normal law, n is large for numbers up to 32
    assert abs(float(found.wall_area) * 8 - length) < 4.9 * 8 * float(found.wall_area_error)
    assert 8 * float(found.wall_area_error) < 0.15 * length


def test_units_with_one_wall_count_once() -> None:
    model = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
    with torch.no_grad():
        model[0].weight.fill_(1.0)  # type: ignore[operator]
        model[0].bias.fill_(0.5)  # type: ignore[operator]
    found = wall_area(model, -torch.ones(1), torch.ones(1), lines=3)
    assert found.breakpoint_count.values.tolist() == [1, 1, 1]


def test_images_of_many_pixels() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(100, 2))
    found = wall_area(model, torch.zeros(3, 12, 12), torch.full((3, 12, 12), 9.0), lines=4)
    assert math.isinf(float(found.box_surface))  # 9^431 times 864
    assert 0 < float(found.wall_area) < math.inf


@pytest.mark.parametrize("lines", [1, True, 2.0])
def test_bad_input(lines: int) -> None:
    with pytest.raises(ObservationError, match="expected an integer of at least 2"):
        wall_area(nn.Sequential(nn.Linear(1, 1), nn.ReLU()), torch.zeros(1), torch.ones(1), lines=lines)
