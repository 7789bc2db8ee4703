"""Recipes: read, checked whole, swept; errors name file, key, value and the nearest name."""

from __future__ import annotations

import itertools
import json
import tomllib

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from reluscope import Lab
from reluscope.errors import RecipeError, UnknownNameError
from reluscope.recipe import load, plan
from reluscope.sweep import label_values, name_dims


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab()


def table(**changes) -> dict:
    base = {
        "title": "A training",
        "procedure": "train",
        "epochs": 2,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 16, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.1},
        "scheduler": {"name": "constant"},
    }
    return {**base, **changes}


@pytest.fixture
def write(tmp_path):
    def write(recipe: dict):
        path = tmp_path / "mine.toml"
        path.write_text(tomli_w.dumps(recipe), encoding="utf-8")
        return path

    return write


def test_a_file_becomes_a_plan_of_one_point(lab, write):
    planned = load(write(table()), lab=lab)
    assert planned.name == "mine"
    assert [point for point, _ in planned.points] == [{}]
    assert planned.recipe.parameters == {"epochs": 2}
    assert planned.recipe.architecture.parameters == {"widths": [64, 16, 10]}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epochs": "five"}, ["mine.toml", "epochs", '"five"', "integer"]),
        ({"epochs": 2.5}, ["mine.toml", "epochs", "2.5", "integer"]),
        ({"epohcs": 5}, ["mine.toml", "epohcs", "5", "'epochs'"]),
        ({"title": 3}, ["mine.toml", "title", "3", "string"]),
        ({"seed": -1}, ["mine.toml", "seed", "-1"]),
        ({"procedure": "trian"}, ["mine.toml", "procedure", "'trian'", "'train'"]),
        ({"dataset": {"name": "digit"}}, ["mine.toml", "dataset.name", "'digit'", "'digits'"]),
        ({"dataset": {"nam": "digits"}}, ["mine.toml", "dataset.name", "missing"]),
        ({"architecture": {"name": "mlp", "widhts": [3]}}, ["mine.toml", "architecture.widhts", "[3]", "'widths'"]),
        ({"architecture": {"name": "torchvision"}}, ["mine.toml", "architecture.model", "missing"]),
        ({"architecture": {"name": "mlp", "widths": "wide"}}, ["mine.toml", "architecture.widths", '"wide"', "valid"]),
        ({"scheduler": {"name": "one_cycle", "peek": 1.0}}, ["mine.toml", "scheduler.peek", "1.0", "'peak'"]),
        ({"optimizer": {"name": "sdg"}}, ["mine.toml", "optimizer.name", '"sdg"', "'sgd'"]),
        ({"optimizer": {"name": "sgd", "momentun": 1}}, ["mine.toml", "optimizer.momentun", "1", "'momentum'"]),
        ({"metrics": [{"name": "firing_rat"}]}, ["mine.toml", "metrics.0.name", "'firing_rat'", "'firing_rate'"]),
        ({"metrics": [{"name": "affine_rank", "split": "all"}]}, ["mine.toml", "metrics.0.split", '"all"', "'test'"]),
        ({"metrics": [{"name": "affine_rank", "rtoll": 1}]}, ["mine.toml", "metrics.0.rtoll", "1", "'rtol'"]),
        ({"expected": [{"variable": "a", "valeu": 1.0}]}, ["mine.toml", "expected.0"]),
        ({"expected": [{"variable": "a", "value": 1.0, "select": {"sed": 1}}]}, ["mine.toml", "select.sed"]),
        ({"sweep": {"seed": []}}, ["mine.toml", "sweep"]),
        ({"sweep": {"seed": [1, 1]}}, ["mine.toml", "sweep.seed", "twice"]),
        ({"sweep": {"epohcs": [1, 2]}}, ["mine.toml", "epohcs", "'epochs'"]),
        ({"sweep": {"architecture.deepness": [1, 2]}}, ["mine.toml", "architecture.deepness"]),
        ({"sweep": {"metrics.0.unit": [1, 2]}}, ["mine.toml", "sweep.metrics.0.unit", "dim"]),
    ],
)
def test_errors_name_file_key_value_and_the_nearest_name(lab, write, changes, words):
    with pytest.raises(RecipeError) as caught:
        load(write(table(**changes)), lab=lab)
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize("key", ["title", "procedure", "epochs"])
def test_a_missing_key_is_named(lab, write, key):
    with pytest.raises(RecipeError, match=rf"mine.toml.*{key}.*missing"):
        load(write({k: v for k, v in table().items() if k != key}), lab=lab)


def test_what_is_not_toml_is_named(lab, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("epochs = ")
    with pytest.raises(RecipeError, match=r"mine.toml.*TOML"):
        load(path, lab=lab)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"mine.toml.*TOML"):
        load(path, lab=lab)


def test_unknown_experiments_and_files(lab, tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean 'quickstart'"):
        load("quickstrat", lab=lab)
    with pytest.raises(RecipeError, match="no such file"):
        load(tmp_path / "none.toml", lab=lab)


def test_an_error_anywhere_in_the_sweep_is_found_before_anything_runs(lab, write):
    recipe = table(sweep={"scheduler": [{"name": "constant"}, {"name": "cyclc"}]})
    with pytest.raises(RecipeError, match="'cyclic'"):
        load(write(recipe), lab=lab)


def test_a_sweep_is_the_product_of_its_keys_in_order(lab):
    sweep = {
        "seed": [3, 1],
        "scheduler": [{"name": "constant"}, {"name": "step_decay"}],
        "optimizer.momentum": [0.0, 0.9],
    }
    planned = plan(table(sweep=sweep), lab=lab, name="r", origin="r")
    assert planned.sweep_dims == ("seed", "scheduler", "momentum")
    expected = list(itertools.product([3, 1], ["constant", "step_decay"], [0.0, 0.9]))
    assert [tuple(point.values()) for point, _ in planned.points] == expected
    for point, recipe in planned.points:
        assert recipe.seed == point["seed"]
        assert recipe.scheduler.name == point["scheduler"]
        assert recipe.optimizer.parameters["momentum"] == point["momentum"]


def test_keys_that_share_their_last_part_get_longer_dims():
    sweep = {"architecture.bias": [True, False], "optimizer.momentum": [0.1], "scheduler.momentum": [0.1]}
    assert name_dims(sweep, "r") == ["bias", "optimizer_momentum", "scheduler_momentum"]


@given(st.lists(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.booleans()), min_size=1))
def test_labels_are_of_one_type_and_different_or_refused(values):
    try:
        labels = label_values(values, "here")
    except RecipeError:
        assert len({str(v) for v in values} | {repr(v) for v in values}) < 2 * len(values)
        return
    assert len({type(label) for label in labels}) == 1
    assert len(set(labels)) == len(labels) == len(values)


def test_scales_replace_keys_and_merge_sweeps(lab, write):
    recipe = table(
        sweep={"seed": [0, 1], "scheduler": [{"name": "constant"}, {"name": "step_decay"}]},
        scale={"small": {"epochs": 1, "sweep": {"seed": [0]}}},
    )
    path = write(recipe)
    assert len(load(path, lab=lab).points) == 4
    assert len(load(path, lab=lab, scale="paper").points) == 4
    small = load(path, lab=lab, scale="small")
    assert [tuple(point.values()) for point, _ in small.points] == [(0, "constant"), (0, "step_decay")]
    assert small.recipe.parameters["epochs"] == 1
    with pytest.raises(RecipeError, match="Did you mean 'small'"):
        load(path, lab=lab, scale="smal")


def test_a_scale_that_names_an_entry_replaces_its_parameters(lab, write):
    recipe = table(scale={"small": {"architecture": {"name": "small_cnn", "input_shape": [1, 8, 8], "classes": 10}}})
    small = load(write(recipe), lab=lab, scale="small")
    assert set(small.recipe.architecture.parameters) == {"input_shape", "classes"}


@pytest.mark.parametrize(
    ("override", "look"),
    [
        ("epochs=7", lambda recipe: recipe.parameters["epochs"] == 7),
        ("optimizer.momentum = 0.5", lambda recipe: recipe.optimizer.parameters["momentum"] == 0.5),
        ("optimizer.name=adam", lambda recipe: recipe.optimizer.name == "adam"),
        ("architecture.widths=[64, 10]", lambda recipe: recipe.architecture.parameters["widths"] == [64, 10]),
        ('title="Other"', lambda recipe: recipe.title == "Other"),
        ("metrics.0.every=5 steps", lambda recipe: recipe.metrics[0].every == "5 steps"),
    ],
)
def test_overrides_set_dotted_keys(lab, write, override, look):
    path = write(table(metrics=[{"name": "firing_rate"}]))
    assert look(load(path, lab=lab, overrides=[override]).recipe)


def test_an_override_of_a_swept_key_replaces_its_sweep(lab, write):
    recipe = table(sweep={"seed": [0, 1], "optimizer.momentum": [0.1, 0.2]})
    planned = load(write(recipe), lab=lab, overrides=["seed=5", "optimizer.momentum=0.7"])
    assert [point for point, _ in planned.points] == [{}]
    assert planned.recipe.seed == 5
    assert planned.recipe.optimizer.parameters["momentum"] == 0.7


def test_what_pydantic_would_say_is_left_out(lab, write):
    for override in ("epochs=abc", "seed=-1"):
        with pytest.raises(RecipeError) as caught:
            load(write(table()), lab=lab, overrides=[override])
        assert caught.value.__cause__ is None


def test_an_override_beyond_a_list_names_the_number(lab, write):
    with pytest.raises(RecipeError, match=r"'metrics.7.every': expected a number from 0 to \d+, got '7'"):
        load(write(table(metrics=[{"name": "firing_rate"}])), lab=lab, overrides=["metrics.7.every=1 epoch"])


def test_a_folder_is_no_recipe(lab, tmp_path):
    with pytest.raises(RecipeError, match="is a folder; give a TOML file"):
        load(tmp_path, lab=lab)


@pytest.mark.parametrize("override", ["epochs", "=3", "metrics.4.every=1", "title.name=3"])
def test_overrides_of_another_form_are_refused(lab, write, override):
    with pytest.raises(RecipeError):
        load(write(table(metrics=[])), lab=lab, overrides=[override])


def test_a_plan_can_be_made_again_from_its_table(lab, write):
    recipe = table(sweep={"seed": [0, 1]}, metrics=[{"name": "affine_rank", "samples": 10}])
    planned = load(write(recipe), lab=lab, overrides=["epochs=9"])
    again = plan(json.loads(json.dumps(planned.table)), lab=lab, name=planned.name, origin=planned.origin)
    assert again == planned


def test_every_recipe_of_the_catalogue_is_sound_at_every_scale(lab):
    for experiment in lab.experiments.values():
        scales = tomllib.loads(experiment.path.read_text()).get("scale", {})
        for scale in (None, *scales):
            assert load(experiment, lab=lab, scale=scale).points
