"""The procedure `cells`: what it records, and that it sees the networks that `train` trains."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope import random_state
from reluscope.context import Context, Interrupted
from reluscope.errors import ReluscopeError
from reluscope_plugins.patterns.cells import GLOBAL, cells
from reluscope_plugins.patterns.plane import Plane

LAB = rs.Lab()
PLANAR: dict[str, Any] = {
    "title": "Cells",
    "procedure": "cells",
    "resolution": 20,
    "architecture": {"name": "mlp", "widths": [2, 6, 5, 2]},
}
DIGITS: dict[str, Any] = {
    **PLANAR,
    "architecture": {"name": "mlp", "widths": [64, 10, 6, 10]},
    "dataset": {"name": "digits"},
}
TRAINED: dict[str, Any] = {
    **DIGITS,
    "epochs": 4,
    "batch_size": 512,
    "resolution": 8,
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
}


def run(recipe: dict[str, Any], **changes: Any) -> Any:
    return rs.run({**recipe, **changes}, lab=LAB)


def built(recipe: dict[str, Any]) -> torch.nn.Module:
    params = {key: value for key, value in recipe["architecture"].items() if key != "name"}
    seed = random_state.derived_seed(recipe.get("seed", 0), 1)
    return LAB.architectures[recipe["architecture"]["name"]].build(seed=seed, **params)


def training_samples() -> Any:
    return LAB.datasets["digits"].load("train", None, lab=LAB)


def test_untrained_network_in_the_plane_of_the_axes() -> None:
    tree = run(PLANAR)
    expected = cells(built(PLANAR), Plane.axes(), resolution=20)
    assert tree["cells/cell_count"].dims == ("epoch", "site")
    assert tree["cells"].epoch.values.tolist() == [0]
    assert tree["cells/cell_count"].values[0].tolist() == expected.cell_count.values.tolist()
    assert tree["cells"].site.values.tolist() == ["relu1#0", "relu2#0", GLOBAL]
    assert tree["pictures/cell_colour"].dims == ("epoch", "site", "y", "x")
    assert np.array_equal(tree["pictures/cell_colour"].values[0], expected.cell_colour.values)
    assert np.array_equal(tree["pictures"].x, expected.x)
    assert tree["limits"].site.values.tolist() == ["relu1#0", "lines in general position", "all patterns"]
    count = expected.cell_count.values[0]
    assert tree["limits/cell_count"].values.tolist() == [count, 1 + 6 + 15, 2**6]
    assert "point_x" not in tree["pictures"]


def test_another_plane() -> None:
    place = {"origin": [1.0, 2.0], "directions": [[0.5, 0.0], [0.5, 1.0]], "extent": 2.0, "sites": ["relu2#0"]}
    plane = Plane(torch.tensor([1.0, 2.0]), (torch.tensor([0.5, 0.0]), torch.tensor([0.5, 1.0])))
    tree = run(PLANAR, **place)
    expected = cells(built(PLANAR), plane, "relu2#0", resolution=20, extent=2.0)
    assert np.array_equal(tree["pictures/cell_colour"].values[0], expected.cell_colour.values)
    assert tree["cells"].site.values.tolist() == ["relu2#0"]
    assert "limits" not in tree


def test_plane_through_training_samples() -> None:
    tree = run(DIGITS, points=[5, 3, 8])
    data = training_samples()
    expected = cells(built(DIGITS), Plane.through(*(data[i][0] for i in (5, 3, 8))), resolution=20)
    assert np.array_equal(tree["pictures/cell_colour"].values[0], expected.cell_colour.values)
    assert tree["pictures/point_x"].values.tolist() == [0, 1, 0]
    assert tree["pictures/point_y"].values.tolist() == [0, 0, 1]


def test_samples_drawn_by_the_seed() -> None:
    one, again = (run(DIGITS, seed=3)["pictures/cell_colour"].values for _ in range(2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, run(DIGITS, seed=4)["pictures/cell_colour"].values)


def test_batch_norm_takes_the_statistics_of_the_training_samples() -> None:
    recipe = {**DIGITS, "architecture": {**DIGITS["architecture"], "batch_norm": True}}
    tree = run(recipe, points=[0, 1, 2], statistics_samples=100, evaluation_batch_size=30)
    data = training_samples()
    samples = torch.stack([data[i][0] for i in range(100)])
    plane = Plane.through(*samples[:3])
    expected = cells(built(recipe), plane, resolution=20, statistics=samples)
    assert np.array_equal(tree["pictures/cell_colour"].values[0], expected.cell_colour.values)


def test_batch_norm_takes_the_statistics_of_a_box() -> None:
    """All lines meet in the mean of 10,000 points: within 12 standard errors of the box's centre are 12 cones."""
    recipe = {**PLANAR, "architecture": {**PLANAR["architecture"], "batch_norm": True}}
    tree = run(recipe, statistics_box=[[-3.0, -1.0], [-3.0, 3.0]], resolution=100, sites=["relu1#0"])
    x, y = tree["pictures/point_x"].values, tree["pictures/point_y"].values
    assert len(x) == len(y) == 50
    assert -3 <= x.min() < x.max() <= -1
    assert -3 <= y.min() < -1 < 1 < y.max() <= 3
    near = {"origin": [-2.0, 0.0], "extent": 12 * 6 / math.sqrt(12 * 10_000)}
    found = run(recipe, statistics_box=[[-3.0, -1.0], [-3.0, 3.0]], resolution=100, sites=["relu1#0"], **near)
    assert found["cells/cell_count"].item() == 12


def test_training_is_that_of_train() -> None:
    tree = run(TRAINED, points=[0, 1, 2], every=2, pictures=[0, 3])
    plain = {key: value for key, value in TRAINED.items() if key != "resolution"} | {"procedure": "train"}
    other = run(plain)
    for name in ("epoch", "step", "data"):
        assert tree[name].to_dataset().identical(other[name].to_dataset())
    assert tree["cells"].epoch.values.tolist() == [0, 2, 3, 4]
    assert tree["pictures"].epoch.values.tolist() == [0, 3]
    untrained = run(DIGITS, points=[0, 1, 2], resolution=8)
    assert np.array_equal(tree["pictures/cell_colour"].sel(epoch=0), untrained["pictures/cell_colour"].sel(epoch=0))
    assert not np.array_equal(tree["pictures/cell_colour"].sel(epoch=0), tree["pictures/cell_colour"].sel(epoch=3))


def test_looking_does_not_disturb_the_training() -> None:
    recipe = {**TRAINED, "architecture": {**DIGITS["architecture"], "batch_norm": True, "dropout": 0.3}}
    often, seldom = run(recipe, every=1), run(recipe, every=4)
    assert often["epoch"].to_dataset().identical(seldom["epoch"].to_dataset())
    last = [tree["cells/cell_count"].sel(epoch=4).values.tolist() for tree in (often, seldom)]
    assert last[0] == last[1]


def test_pictures_are_drawn_first_and_last_unless_the_recipe_says_otherwise() -> None:
    assert run(TRAINED, every=3)["pictures"].epoch.values.tolist() == [0, 4]
    assert "pictures" not in run(TRAINED, pictures=[])


def test_networks_of_different_depth_join() -> None:
    tree = run(PLANAR, sweep={"architecture.depth": [1, 3]}, architecture={"name": "mlp", "widths": [2, 2], "width": 4})
    counts = tree["cells/cell_count"].isel(epoch=0)
    assert np.isnan(counts.sel(depth=1, site="relu3#0"))
    assert (counts.sel(depth=3) > 0).all()
    colours = tree["pictures/cell_colour"].sel(depth=3)
    assert (colours == np.rint(colours)).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pictures": [1]}, "there are 0 epochs"),
        ({"points": [0, 1, 2]}, "add a \\[dataset\\]"),
        ({"points": [0, 1, 2], "origin": [0.0, 0.0]}, "leave one out"),
        ({"points": [0, 1]}, "points"),
        ({"points": [0, 1, 99999], "dataset": {"name": "digits"}}, "expected indices below"),
        ({"points": [0, 0, 1], "dataset": {"name": "digits"}}, "parallel or zero"),
        ({"architecture": {"name": "mlp", "widths": [2, 3, 2], "batch_norm": True}}, "needs statistics"),
        (
            {"architecture": {"name": "mlp", "widths": [2, 3, 2], "batch_norm": True}, "statistics_box": [[1.0, 0.0]]},
            "least and the greatest",
        ),
        ({"epochs": 1}, "\\[dataset\\] is missing"),
        ({"resolution": 1}, "resolution: got 1"),
        ({"sites": ["relu9#0"]}, "unknown site 'relu9#0'"),
        ({"epochs": -1}, "epochs = -1"),
        ({"every": 0}, "every = 0"),
        ({"directions": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]}, "samples of 2 values"),
    ],
)
def test_bad_recipes_say_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError, match=message):
        run(PLANAR, **changes)


@pytest.mark.parametrize("checkpoint", [2, 4])
def test_a_run_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: int
) -> None:
    architecture = {**DIGITS["architecture"], "batch_norm": True}
    recipe = {**TRAINED, "batch_size": 700, "flush_seconds": 0.0, "architecture": architecture, "pictures": [0, 1, 4]}
    whole = run(recipe)
    left = [checkpoint]
    original = Context.checkpoint

    def stopping(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        original(context, state)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "checkpoint", stopping)
        with pytest.raises(Interrupted):
            rs.run(recipe, lab=LAB, out=tmp_path / "run.nc")
    resumed = rs.run(recipe, lab=LAB, out=tmp_path / "run.nc", resume=True)
    for group in ("cells", "pictures", "limits", "epoch", "step"):
        assert resumed[group].to_dataset().identical(whole[group].to_dataset()), group
