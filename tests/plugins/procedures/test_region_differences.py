"""The procedure `region_differences`: what it records, against the same networks looked at by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope import random_state
from reluscope.errors import ReluscopeError
from reluscope_plugins.procedures.region_differences import APART, NEAREST, NORM, SPHERES

LAB = rs.Lab()
ADJACENT: dict[str, Any] = {
    "title": "Differences",
    "procedure": "region_differences",
    "architecture": {"name": "mlp", "widths": [3, 8, 4]},
    "networks": 3,
    "samples": 2,
    "directions": 20,
    "variance_constant": 1 / 3,
}
DISTANT: dict[str, Any] = {
    **ADJACENT,
    "architecture": {"name": "mlp", "widths": [1, 8, 1]},
    "distance": 1.0,
}


def run(recipe: dict[str, Any], **changes: Any) -> Any:
    return rs.run({**recipe, **changes}, lab=LAB)


def test_adjacent_regions() -> None:
    tree = run(ADJACENT)
    pairs, means = tree["pairs"].to_dataset(), tree["differences"].to_dataset()
    values = pairs.pair_squared_difference
    assert values.dims == ("bound", "sample")
    assert values.sizes["sample"] == 6
    assert means.bound.values.tolist() == [NEAREST, SPHERES, NORM, "expected squared norm (2.13)"]
    assert means.squared_difference.values[-1] == pytest.approx(1 / 9 * 4 / 8)
    for name in (NEAREST, SPHERES, NORM):
        met = values.sel(bound=name).values
        met = met[~np.isnan(met)]
        assert means.squared_difference.sel(bound=name).item() == pytest.approx(met.mean())
        assert means.standard_error.sel(bound=name).item() == pytest.approx(met.std(ddof=1) / len(met) ** 0.5)
        assert means.pair_count.sel(bound=name).item() == len(met)
    # Mirsky's bound, with rounding of values of order one
    assert (values.sel(bound=NEAREST) <= values.sel(bound=NORM) + 1e-14).all()
    reached = pairs.sphere_radius.notnull()
    assert (pairs.sphere_radius >= pairs.distance * (1 - 1e-12)).values[reached.values].all()


def test_the_same_networks_by_hand() -> None:
    """The singular values on both sides of the nearest line of one hidden layer, from its weights."""
    values = run(ADJACENT, samples=1)["pairs"].to_dataset().pair_squared_difference
    for network in range(3):
        model = LAB.architectures["mlp"].build(seed=random_state.derived_seed(0, 1, network), widths=[3, 8, 4]).double()
        generator = torch.Generator().manual_seed(random_state.derived_seed(0, 21, network, 0))
        x = torch.randn(1, 3, generator=generator, dtype=torch.float64)[0].numpy()
        first, second = (model[i].weight.detach().numpy() for i in (1, 3))
        z = first @ x + model[1].bias.detach().numpy()
        active = z > 0
        flipped = active.copy()
        unit = np.argmin(np.abs(z) / np.linalg.norm(first, axis=1))
        flipped[unit] = ~flipped[unit]
        here, there = (np.linalg.svd(second * mask @ first, compute_uv=False) for mask in (active, flipped))
        assert values.sel(bound=NEAREST).values[network] == pytest.approx(((here - there) ** 2).sum(), abs=1e-13)


def test_regions_at_a_distance() -> None:
    tree = run(DISTANT)
    means = tree["differences"].to_dataset()
    assert means.bound.values.tolist() == [APART, "C^2", "2 C^2 - 2 C^2 / n (2.18)"]
    np.testing.assert_allclose(means.squared_difference.values[1:], [1 / 9, 2 / 9 * (1 - 1 / 8)])
    assert means.pair_count.sel(bound=APART).item() == 6
    assert (tree["pairs"].pair_squared_difference >= 0).all()
    assert run(DISTANT, distance=0.5)["differences"].bound.values.tolist() == [APART, "C^2"]


@pytest.mark.parametrize(
    "changes",
    [
        {"architecture": {"name": "small_cnn", "input_shape": [1, 8, 8]}, "input_shape": [1, 8, 8]},
        {"architecture": {"name": "mlp", "widths": [64, 12, 12, 10]}, "dataset": {"name": "digits"}},
    ],
)
def test_other_networks_and_inputs(changes: dict[str, Any]) -> None:
    recipe = {key: value for key, value in ADJACENT.items() if key != "variance_constant"}
    found = run(recipe, **changes, networks=1)["differences"].to_dataset()
    assert found.bound.values.tolist() == [NEAREST, SPHERES, NORM]
    assert found.pair_count.sel(bound=NEAREST).item() == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radii": [1.0, 0.5, 10]}, "radii = .*expected the least, then the greatest"),
        ({"architecture": {"name": "mlp", "widths": [3, 8, 8, 4]}}, "one hidden layer, and the network has 3 layers"),
        ({"distance": 1.0}, "one input and one output, and the network has 3 and 4"),
        (
            {"architecture": {"name": "small_cnn", "input_shape": [1, 8, 8]}, "variance_constant": None},
            "input_shape is missing",
        ),
    ],
)
def test_what_does_not_fit_together(changes: dict[str, Any], message: str) -> None:
    recipe = {key: value for key, value in {**ADJACENT, **changes}.items() if value is not None}
    with pytest.raises(ReluscopeError, match=message):
        run(recipe)
