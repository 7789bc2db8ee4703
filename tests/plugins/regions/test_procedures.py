"""The procedures about regions: what they record, against the same networks looked at by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope import random_state
from reluscope.errors import ReluscopeError
from reluscope_plugins import architectures, datasets, performance, procedures, regions, schedulers
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.random_networks import random_network
from reluscope_plugins.regions.trajectories import circle
from reluscope_plugins.regions.trajectory_bounds import expected_length

LAB = rs.Lab(plugins=[architectures, datasets, performance, procedures, regions, schedulers])
LINES: dict[str, Any] = {
    "title": "Regions along lines",
    "procedure": "line_regions",
    "architecture": {"name": "mlp", "widths": [4, 8, 8, 2]},
    "inputs": 4,
    "lines": 3,
}
TRAINED: dict[str, Any] = {
    "title": "Regions along lines through training",
    "procedure": "line_regions",
    "dataset": {"name": "digits"},
    "architecture": {"name": "mlp", "widths": [64, 12, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
    "epochs": 2,
    "lines": 3,
}
CURVES: dict[str, Any] = {
    "title": "Growth",
    "procedure": "trajectories",
    "inputs": 3,
    "width": 10,
    "depth": 3,
    "networks": 5,
    "vertices": 12,
}


def run(recipe: dict[str, Any], **changes: Any) -> Any:
    return rs.run({**recipe, **changes}, lab=LAB)


def test_regions_of_a_drawn_network_by_hand() -> None:
    found = run(LINES)["line_regions"].to_dataset()
    model = LAB.architectures["mlp"].build(seed=random_state.derived_seed(0, 1), widths=[4, 8, 8, 2])
    generator = torch.Generator().manual_seed(random_state.derived_seed(0, 33))
    ends = torch.randn(3, 2, 4, generator=generator, dtype=torch.float64)
    expected = [int(line_regions(model, pair).region_count) for pair in ends]
    assert found.region_count.values[0].tolist() == expected
    assert int(found.unit_count[0]) == 16
    assert found.mean_region_count.item() == pytest.approx(np.mean(expected))
    assert found.mean_region_count_error.item() == pytest.approx(np.std(expected, ddof=1) / 3**0.5)
    assert found.breakpoints_per_unit.item() == pytest.approx((np.mean(expected) - 1) / 16)
    assert float(found.site_breakpoint_count.sum()) == pytest.approx(np.mean(expected) - 1)


def test_regions_are_counted_through_training() -> None:
    tree = run(TRAINED)
    found = tree["line_regions"].to_dataset()
    assert found.epoch.values.tolist() == [0, 1, 2]
    assert (found.region_count >= 1).all()
    assert tree["epoch"].epoch.values.tolist() == [0, 1, 2]
    untrained = run({key: value for key, value in TRAINED.items() if key not in ("optimizer", "scheduler", "epochs")})
    assert untrained["line_regions/region_count"].values.tolist() == found.region_count.values[:1].tolist()


@pytest.mark.parametrize("changes", [{"inputs": None}, {"dataset": {"name": "digits"}}])
def test_points_come_from_one_place(changes: dict[str, Any]) -> None:
    recipe = {key: value for key, value in {**LINES, **changes}.items() if value is not None}
    with pytest.raises(ReluscopeError, match="inputs"):
        rs.run(recipe, lab=LAB)


@pytest.mark.parametrize("curve", ["circle", "line"])
def test_growth_is_recorded_beside_its_bounds(curve: str) -> None:
    tree = run(CURVES, curve=curve)
    layers, growth = tree["layers"].to_dataset(), tree["growth"].to_dataset().growth
    assert layers.layer.values.tolist() == [1, 2, 3]
    assert (layers.length > 0).all()
    assert float(growth.sel(bound="expected")) == pytest.approx(expected_length([10, 10], weight_std=2.0))
    error = float(growth.sel(bound="one error more") - growth.sel(bound="measured"))
    assert error > 0
    assert float(growth.sel(bound="lower bound")) < float(growth.sel(bound="upper bound"))


def test_sparse_networks_have_no_exact_growth() -> None:
    growth = run(CURVES, share=0.5, weights="discrete")["growth"].to_dataset().growth
    assert "expected" not in growth.bound.values.tolist()


def test_bounds_are_those_of_relu() -> None:
    growth = run(CURVES, activation="hardtanh")["growth"].to_dataset().growth
    assert growth.bound.values.tolist() == ["measured", "one error more", "one error less"]
    assert (growth > 0).all()


def test_no_pictures_unless_asked_for() -> None:
    assert set(run(CURVES).children) == {"layers", "growth", "outcome"}


def test_the_first_curve_is_projected_and_drawn() -> None:
    tree = run(CURVES, pictures=True, resolution=40, networks=2)
    found, pictures = tree["projections"].to_dataset(), tree["pictures"].to_dataset()
    assert found["first"].dims == ("layer", "point")
    assert found.layer.values.tolist() == pictures.layer.values.tolist() == [1, 2, 3]
    # the same network and the same circle: the squares of a principal component are its singular value's
    generator = torch.Generator().manual_seed(random_state.derived_seed(0, 31, 0))
    model = random_network([3, 10, 10, 10, 1], generator=generator, weight_std=2.0)
    axes = torch.randn(
        2, 3, generator=torch.Generator().manual_seed(random_state.derived_seed(0, 32, 0)), dtype=torch.float64
    )
    first = axes[0] / axes[0].norm()
    second = axes[1] - (axes[1] @ first) * first
    steps = found.parameter.values
    corners = circle(first, second / second.norm(), vertices=12)
    low = np.minimum(np.floor(steps).astype(int), 11)
    part = torch.from_numpy(steps - low)[:, None]
    with torch.no_grad():
        before = model[0](corners[low] + part * (corners[low + 1] - corners[low]))
        for number in range(3):
            centred = before - before.mean(0)
            singular = torch.linalg.svdvals(centred)
            layer = found.isel(layer=number)
            assert float((layer["first"] ** 2).sum()) == pytest.approx(float(singular[0] ** 2), rel=1e-9)
            assert float((layer.second**2).sum()) == pytest.approx(float(singular[1] ** 2), rel=1e-9)
            both = np.stack([layer["first"], layer.second])
            assert float(layer.reach) == np.abs(both).max()
            before = model[2 * number + 2](torch.relu(before))
    drawn = pictures.curve_colour.values.astype(int)
    assert drawn.shape == (3, 40, 40)
    # a line of 1.5 pixels through a vertex colours the nearest pixel
    at = np.rint((both / float(layer.reach) / 1.05 + 1) / 2 * 39).astype(int)
    assert (drawn[2, at[1], at[0]] != 0xFFFFFF).all()
    assert drawn[2, 20, 20] == drawn[2, 0, 0] == 0xFFFFFF
