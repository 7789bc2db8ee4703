"""What recipes set beside what they measure: each number of a source has a point, each curve is the prescribed one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import reluscope as rs
import reluscope_catalog
from reluscope import recipe as recipes

LAB = rs.Lab()
FOLDER = Path(reluscope_catalog.__file__).parent / "experiments"
TEXTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.toml"))}
NAMES = [name for name, text in TEXTS.items() if "expected" in tomllib.loads(text)]
COOLED = [name for name, text in TEXTS.items() if '"actcoolr"' in text and '"mean_pattern_temperature"' in text]


def test_there_are_such_recipes() -> None:
    assert {"hartmann_table_3_1", "hartmann_table_3_2_m5"} <= {*NAMES} & {*COOLED}
    assert len(COOLED) >= 9


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_every_number_is_beside_a_point_that_is_run(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.expected
    for expected in plan.recipe.expected:
        swept = {key: label for key, label in expected.select.items() if key in plan.sweep_dims}
        assert any(swept.items() <= point.items() for point, _ in plan.points), expected.select


@pytest.mark.parametrize("name", COOLED)
def test_the_temperature_that_is_drawn_is_the_one_that_is_prescribed(name: str) -> None:
    plan = recipes.load(name, lab=LAB, scale="small")
    default = LAB.schedulers["actcoolr"].parameters()["width"].default
    choices = [point.scheduler for _, point in plan.points if point.scheduler is not None]
    prescribed = {choice.parameters.get("width", default) for choice in choices if choice.name == "actcoolr"}
    metrics = [choice for choice in plan.recipe.metrics if choice.name == "mean_pattern_temperature"]
    assert prescribed == {choice.parameters.get("width", 0) for choice in metrics}
    assert "mean_pattern_temperature" in {figure.variable for figure in plan.recipe.figures}
