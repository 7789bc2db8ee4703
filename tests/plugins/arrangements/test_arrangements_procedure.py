"""The procedure `arrangements`: what it takes for weights, and how its recipe leaves out what cannot be downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr

import reluscope as rs
from reluscope import recipe as recipes
from reluscope.errors import ReluscopeError
from reluscope_plugins.arrangements.weight_statistics import weight_statistics

LAB = rs.Lab()
ARCHITECTURE = {"name": "small_cnn", "input_shape": [1, 8, 8], "channels": [4, 6]}
RECIPE: dict[str, Any] = {"title": "Filters", "procedure": "arrangements", "architecture": ARCHITECTURE}


def test_the_architecture_s_own_weights_and_those_of_a_file(tmp_path: Path) -> None:
    entry = LAB.architectures["small_cnn"]
    keys = {key: value for key, value in ARCHITECTURE.items() if key != "name"}
    model = entry.build(seed=77, **keys)
    torch.save(model.state_dict(), tmp_path / "trained.pt")
    recipe = {**RECIPE, "sweep": {"weights": ["own", "trained.pt"]}}
    found = rs.run(recipe, lab=LAB, data_root=tmp_path)["arrangements"].to_dataset()
    expected = weight_statistics(model)
    for name, values in expected.data_vars.items():
        xr.testing.assert_allclose(found[name].sel(weights="trained.pt").drop_vars("weights"), values)
    own = rs.run(RECIPE, lab=LAB)["arrangements"].to_dataset()
    for name, values in own.data_vars.items():
        xr.testing.assert_equal(found[name].sel(weights="own").drop_vars("weights"), values)
    assert not own["projection_cosine"].equals(expected["projection_cosine"])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReluscopeError, match="there is no file"):
        rs.run({**RECIPE, "weights": "lost.pt"}, lab=LAB, data_root=tmp_path)


@pytest.mark.parametrize(
    ("scale", "override", "before"),
    [
        ("paper", "sweep.architecture=[{name='torchvision', model='vgg19'}]", 2),
        ("small", "sweep.weights=['own']", 2),
    ],
)
def test_the_recipe_of_figure_1_without_pretrained_weights(scale: str, override: str, before: int) -> None:
    assert len(recipes.load("gamba_figure_1", lab=LAB, scale=scale).points) == before
    plan = recipes.load("gamba_figure_1", lab=LAB, scale=scale, overrides=[override])
    assert len(plan.points) == 1
