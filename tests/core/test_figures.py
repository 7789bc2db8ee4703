"""The figures of a recipe, checked before it runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from reluscope.errors import RecipeError
from reluscope.figures import Figure, read
from reluscope.lab import Lab
from reluscope.recipe import Plan, load, plan

LINE = {"title": "Entropy against layer", "kind": "line", "variable": "firing_rate", "x": "site"}
MAP = {**LINE, "kind": "heatmap", "x": "epoch", "y": "site"}
PICTURE = {"title": "Cells", "kind": "picture", "variable": "cell_colour"}


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def table(*figures: Any, **changes: Any) -> dict[str, Any]:
    base = {
        "title": "A training",
        "procedure": "train",
        "epochs": 2,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 16, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "scheduler": {"name": "constant"},
        "sweep": {"seed": [0, 1], "optimizer.momentum": [0.0, 0.9]},
        "figures": list(figures),
    }
    return {**base, **changes}


def planned(lab: Lab, *figures: Any, **changes: Any) -> Plan:
    return plan(table(*figures, **changes), lab=lab, name="mine", origin="mine.toml")


@pytest.mark.parametrize(
    "figure",
    [
        LINE,
        {**LINE, "colour": "momentum", "panel": ["epoch", "seed"], "select": {"epoch": [0, "last"], "class": 3}},
        {**LINE, "panel": "momentum", "align": "number", "log_y": True, "minimum": 0.01, "maximum": 1},
        {**LINE, "kind": "box", "x": "momentum", "colour": "epoch", "select": {"site": "last"}, "align": "number"},
        {**MAP, "relative": True, "log_x": True, "minimum": -1.5},
        {**MAP, "over": "rate", "log_y": True},
        PICTURE,
        {**PICTURE, "panel": ["epoch", "site"], "x": "y", "y": "x"},
    ],
)
def test_figures_are_part_of_the_recipe(lab: Lab, figure: dict[str, Any]) -> None:
    found = planned(lab, figure)
    assert found.recipe.figures == (Figure.model_validate_json(json.dumps(figure)),)
    assert all(recipe.figures == found.recipe.figures for _, recipe in found.points)
    assert read(found.table["figures"][0]) == found.recipe.figures[0]


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        ({**LINE, "kind": "boxx"}, ["figures.0.kind", "'box'?"]),
        ({**LINE, "colur": "epoch"}, ["figures.0.colur", "'colour'?"]),
        ({**LINE, "panel": 3}, ["figures.0.panel", "3"]),
        ({**LINE, "select": {"epoch": []}}, ["figures.0.select"]),
        ({**LINE, "align": "numbr"}, ["figures.0.align", "'number'?"]),
        ({k: v for k, v in LINE.items() if k != "variable"}, ["figures.0.variable", "missing"]),
        ({**LINE, "title": ""}, ["figures.0.title"]),
        ({**LINE, "x": ""}, ["figures.0.x", "missing", "horizontal"]),
        ({**LINE, "y": "epoch"}, ["figures.0.y", "line", "leave it out"]),
        ({**LINE, "kind": "box", "log_x": True}, ["figures.0.log_x", "box"]),
        ({**MAP, "colour": "seed"}, ["figures.0.colour", "heatmap"]),
        ({**LINE, "over": "rate"}, ["figures.0.over", "line", "leave it out"]),
        ({**PICTURE, "over": "rate"}, ["figures.0.over", "picture"]),
        ({**MAP, "y": ""}, ["figures.0.y", "missing", "vertical"]),
        ({**PICTURE, "minimum": 1.0}, ["figures.0.minimum", "picture"]),
        ({**LINE, "x": "sites"}, ["figures.0.x", "'sites'", "'site'?"]),
        ({**LINE, "colour": "momentun"}, ["figures.0.colour", "'momentun'", "'momentum'?"]),
        ({**LINE, "panel": ["seed", "epohc"]}, ["figures.0.panel.1", "'epohc'", "'epoch'?"]),
        ({**LINE, "select": {"epohc": 1}}, ["figures.0.select.epohc", "'epoch'?"]),
        ({**LINE, "colour": "site"}, ["figures.0.colour", "'site'", "'x'"]),
        ({**LINE, "panel": ["seed", "epoch", "momentum"]}, ["figures.0.panel", "3 dims"]),
        ({**LINE, "x": "epoch", "align": "number"}, ["figures.0.align", "'site'"]),
        ({**LINE, "minimum": 2, "maximum": 1}, ["figures.0.minimum", "2", "1"]),
        ({**LINE, "minimum": 0, "log_y": True}, ["figures.0.minimum", "log_y"]),
    ],
)
def test_errors_name_the_figure_the_key_and_the_nearest(lab: Lab, figure: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(RecipeError) as caught:
        planned(lab, figure)
    message = str(caught.value)
    assert message.startswith("mine.toml: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


def test_a_dim_whose_sweep_went_may_still_be_named(lab: Lab) -> None:
    figure = {**LINE, "colour": "momentum"}
    assert len(load(table(figure), lab=lab, overrides=["optimizer.momentum=0.5"]).points) == 2
    with pytest.raises(RecipeError, match="'momentum' is no dim"):
        planned(lab, figure, sweep={"seed": [0]})


def test_a_plan_with_figures_can_be_made_again_from_its_table(lab: Lab) -> None:
    found = planned(lab, {**LINE, "select": {"epoch": [0, 1]}}, MAP)
    again = plan(json.loads(json.dumps(found.table)), lab=lab, name=found.name, origin=found.origin)
    assert again == found
