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
