"""Networks that bend at max-pools and nowhere else: no sites, but maps, walls and regions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.plane_regions import plane_regions
from reluscope_plugins.regions.trajectories import trajectory_lengths, trajectory_projection


def convolutional(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)).double().eval()


def flat(seed: int = 0) -> nn.Module:
    """Four units, each the greatest of three affine functions of the plane."""
    torch.manual_seed(seed)
    pooled = nn.Sequential(nn.Linear(2, 12), nn.Unflatten(1, (1, 12)), nn.MaxPool1d(3), nn.Flatten(), nn.Linear(4, 1))
    return pooled.double().eval()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 1, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def winners(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    values = model[1](model[0](x)) if isinstance(model[1], nn.Unflatten) else model[0](x)  # type: ignore[index]
    pool = nn.functional.max_pool1d if values.dim() == 3 else nn.functional.max_pool2d
    return pool(values, 3 if values.dim() == 3 else 2, return_indices=True)[1].flatten(1)


def test_it_has_pools_and_no_sites() -> None:
    model, x = convolutional(), images(3)
    observation = rs.observe(model, x, affine=True)
    assert (observation.sites, observation.pools) == ((), ("1#0",))
    expected = winners(model, x).reshape(3, 2, 4).mT  # of each image, positions as rows and channels as units
    assert torch.equal(observation.pattern["1#0"], expected.reshape(12, 2))
    assert torch.equal(observation.output, model(x))


def test_its_map_is_exact_and_its_walls_are_where_winners_change() -> None:
    model, x = convolutional(), images(3)
    observation = rs.observe(model, x, affine=True)
    weight, bias = observation.affine()
    for sample, jacobian, offset in zip(x, weight, bias, strict=True):
        expected = torch.autograd.functional.jacobian(model, sample[None]).reshape(2, -1)
        torch.testing.assert_close(jacobian, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(jacobian @ sample.flatten() + offset, model(sample[None])[0], rtol=1e-12, atol=1e-12)
    # of each window the winner less all of its places, itself included
    before = model[0](x).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # type: ignore[index]
    gaps = (before.amax(-1, keepdim=True) - before).flatten(1).sort(1).values
    found = observation.walls().value.flatten(1).sort(1).values
    torch.testing.assert_close(found, gaps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_its_regions_are_those_of_sampled_winners(seed: int) -> None:
    model, grid = flat(seed), torch.linspace(-1, 1, 401, dtype=torch.float64)
    seen = torch.unique(winners(model, torch.cartesian_prod(grid, grid)), dim=0)
    found = plane_regions(model)
    inside = box_regions(model, -torch.ones(2), torch.ones(2))
    assert found.sizes["region"] == inside.sizes["region"] >= len(seen)
    here = winners(model, torch.from_numpy(inside.region_point.values))
    assert len(torch.unique(here, dim=0)) == len(here)
    assert {tuple(row) for row in seen.tolist()} <= {tuple(row) for row in here.tolist()}


def test_its_regions_along_lines_and_in_slices() -> None:
    model, x = convolutional(), images(3)
    t = torch.linspace(0, 1, 10_001, dtype=torch.float64)[:, None, None, None]
    along = torch.unique_consecutive(winners(model, torch.lerp(x[:1], x[1:2], t)), dim=0)
    assert int(line_regions(model, x[:2]).region_count) >= len(along) > 1
    lengths = trajectory_lengths(model, x[:2])
    sampled = model(torch.lerp(x[:1], x[1:2], t)).detach().diff(dim=0).norm(dim=1).sum()
    assert lengths.sizes["site"] == 0
    # a step of the sampled sum that crosses a breakpoint is too short, by less than a step
    assert float(sampled) <= float(lengths.output_length) * (1 + 1e-12) < float(sampled) * 1.01
    found = plane_regions(model, Plane.through(*x), window=((0, 0), (1, 0), (0, 1)))
    assert float(found.region_area.sum()) == pytest.approx(0.5, abs=1e-9)
    with pytest.raises(ObservationError, match="bends at max-pools alone, expected an activation site"):
        trajectory_projection(model, x[:2])


def test_what_is_about_patterns_is_refused() -> None:
    model, x = convolutional(), images(3)
    with pytest.raises(ObservationError, match="called no activation function"):
        rs.observe(model, x, patterns_only=True)
    for metrics in (["firing_rate"], ["pattern_entropy", "affine_rank"]):
        with pytest.raises(ObservationError, match=r"no activation function|needs patterns of activation functions"):
            rs.measure(model, [x], metrics)
    assert float(rs.measure(model, [x], "affine_rank").affine_rank) == 2
