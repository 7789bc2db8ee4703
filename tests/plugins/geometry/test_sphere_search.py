"""Concentric spheres: never nearer than the edge, and as near as the plane lets one come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope_plugins.geometry.sphere_search import sphere_search


def dense(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1]).double()


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance_to_edge(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Least distance to the hyperplane of any unit, from all rows of all maps."""
    observation = rs.observe(model, x, affine=True)
    distances = [
        observation.preactivation[site].abs() / observation.affine(site).weight.norm(dim=2)
        for site in observation.sites
    ]
    return torch.cat(distances, 1).nan_to_num(nan=torch.inf).amin(1)


def half_plane(dims: int) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(dims, 1), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(dims, dtype=torch.float64)[:1])
        model[0].bias.fill_(-1.0)
    return model


@given(
    st.lists(st.integers(1, 8), min_size=3, max_size=4).map(tuple),
    st.integers(0, 2**31),
    st.integers(0, 4),
)
def test_an_upper_bound_with_another_pattern(widths: tuple[int, ...], seed: int, bisections: int) -> None:
    model, x = dense(widths, seed), normal((5, widths[0]), seed)
    found = sphere_search(
        model, x, np.geomspace(1e-3, 10, 12).tolist(), directions=20, bisections=bisections, seed=seed
    )
    exact = distance_to_edge(model, x)
    # of the point's own rounding, and that of the exact distance's quotient
    assert (found.distance >= exact * (1 - 1e-12)).all()
    here = rs.observe(model, x)
    for sample in found.distance.isfinite().nonzero().squeeze(1).tolist():
        there = rs.observe(model, found.point[sample : sample + 1])
        assert any((here.pattern[s][sample] != there.pattern[s][0]).any() for s in here.sites)
        torch.testing.assert_close((found.point[sample] - x[sample]).norm(), found.distance[sample])
    assert found.point[found.distance.isinf()].isnan().all()


def test_in_the_plane_the_bound_is_as_close_as_the_radii() -> None:
    """Each of 1000 directions crosses at 1.02 with probability acos(1 / 1.02) / pi = 6.3 %: none with 1e-28."""
    found = sphere_search(half_plane(2), torch.zeros(1, 2).double(), [0.96, 0.98, 0.999, 1.02, 1.04], directions=1000)
    assert found.distance.item() == pytest.approx(1.02, abs=1e-12)


def test_bisection_comes_to_the_edge_on_the_line() -> None:
    x = torch.zeros(1, 3).double()
    plain, halved = (sphere_search(half_plane(3), x, [2.0], bisections=b, seed=3) for b in (0, 40))
    torch.testing.assert_close(plain.point / plain.distance[:, None], halved.point / halved.distance[:, None])
    assert 1.0 <= halved.point[0, 0] <= 1.0 + 2.0 * 2.0**-40 + 1e-15
    assert plain.distance.item() == pytest.approx(2.0, abs=1e-12)


def test_nothing_in_reach() -> None:
    found = sphere_search(half_plane(4), torch.zeros(2, 4).double(), [0.1, 0.9])
    assert found.distance.tolist() == [torch.inf, torch.inf]
    assert found.point.isnan().all()


@pytest.mark.parametrize("dims", [2, 30])
def test_how_often_a_wall_is_seen(dims: int) -> None:
    """Null: with probability P(B > 1/9) / 2, B Beta(1/2, (n-1)/2), where the wall is at distance 1, the radius 3.

    One direction for each of 20,000 samples; Hoeffding's bound, error at most 1e-6.
    """
    import scipy.stats

    found = sphere_search(half_plane(dims), torch.zeros(20_000, dims).double(), [3.0], directions=1)
    expected = scipy.stats.beta.sf(1 / 9, 0.5, (dims - 1) / 2) / 2
    assert abs(found.distance.isfinite().double().mean() - expected) <= (np.log(2e6) / 40_000) ** 0.5


def test_images_and_the_same_seed_give_the_same() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)).train()
    x = torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    first, again = (sphere_search(model, x, [0.01, 0.1, 1.0], directions=10, batch_size=7, seed=1) for _ in range(2))
    assert first.point.shape == x.shape
    assert first.distance.isfinite().all()
    assert torch.equal(first.point, again.point)
    assert not torch.equal(first.point, sphere_search(model, x, [0.01, 0.1, 1.0], directions=10, seed=2).point)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"radii": []}, "radii are"),
        ({"radii": [0.0, 1.0]}, "radii are"),
        ({"radii": [1.0, 0.5]}, "expected positive numbers in ascending order"),
        ({"directions": 0}, "directions is 0, expected an integer of at least 1"),
        ({"bisections": -1}, "bisections is -1"),
    ],
)
def test_numbers_out_of_range(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        sphere_search(half_plane(2), torch.zeros(1, 2).double(), **{"radii": [1.0], **arguments})


@pytest.mark.parametrize("layer", [nn.Dropout(), nn.BatchNorm1d(3)])
def test_train_mode_is_refused(layer: nn.Module) -> None:
    model = nn.Sequential(nn.Linear(2, 3), layer, nn.ReLU())
    with pytest.raises(ObservationError, match=r"'1' \(.*\) is in train mode"):
        sphere_search(model, torch.zeros(2, 2), [0.1, 1.0])
    assert sphere_search(model.eval(), torch.zeros(2, 2), [0.1, 10.0]).distance.shape == (2,)


def test_one_tensor_is_expected() -> None:
    with pytest.raises(ObservationError, match="x is of class tuple, expected one tensor"):
        sphere_search(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), (torch.zeros(2, 2),), [0.1])  # type: ignore[arg-type]
