"""Entries: names, lazy implementations, parameters."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from reluscope import labelling, metric_entry, schema
from reluscope.entries import Architecture, Dataset, Experiment, Metric, Scheduler, metric
from reluscope.errors import PluginError, RecipeError


def build(width: int, depth: int = 2) -> torch.nn.Module:
    return torch.nn.Sequential(*[torch.nn.Linear(width, width) for _ in range(depth)])


def architecture(**changes) -> Architecture:
    return Architecture(
        **{"name": "net", "summary": "A net.", "definition": build, "input": "(sample, feature)", **changes}
    )


@pytest.mark.parametrize("name", ["Net", "a-net", "", "1net", "a net"])
def test_names_are_snake_case(name):
    with pytest.raises(PluginError, match="snake_case"):
        architecture(name=name)


def test_a_summary_is_needed():
    with pytest.raises(PluginError, match="no summary"):
        architecture(summary=" ")


def test_entries_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        architecture().name = "other"


@pytest.mark.parametrize("target", ["nowhere:build", "torch:nothing", "torch:float32"])
def test_a_target_that_is_not_there_names_the_entry(target):
    with pytest.raises(PluginError, match=f"architecture 'net'.*{target}"):
        architecture(definition=target).build()


def test_parameters_come_from_the_signature():
    assert list(architecture().parameters()) == ["width", "depth"]


def test_parameters_are_checked():
    with pytest.raises(RecipeError, match="Did you mean 'width'"):
        architecture().build(widht=3)
    with pytest.raises(RecipeError, match="'width' is missing"):
        architecture().build(depth=3)


def test_a_seed_fixes_the_weights_and_leaves_the_global_state():
    before = torch.get_rng_state()
    first, second, other = (architecture().build(seed=seed, width=3) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


def test_kernel_parameters_are_not_the_recipes():
    scheduler = Scheduler(name="s", summary="S.", definition="reluscope_plugins.schedulers.step_decay:step_decay")
    assert not {"optimizer", "total_steps", "model"} & set(scheduler.parameters())


def test_an_unknown_split_is_refused():
    data = Dataset(name="d", summary="D.", definition=lambda split, root: None, licence="none", source="here")
    with pytest.raises(RecipeError, match="unknown split 'valid'"):
        data.load("valid")


def test_the_decorator_declares_name_summary_and_range():
    @metric(dims=("site",), units="nat", minimum=0.0, needs={"affine"})
    def spread(observation, *, order: int = 2):
        """Spread of the pieces.

        More on it.
        """
        return {}

    assert isinstance(spread, Metric)
    assert (spread.name, spread.summary, spread.dims, spread.units) == (
        "spread",
        "Spread of the pieces.",
        ("site",),
        "nat",
    )
    assert spread.needs == {"affine"}
    assert list(spread.parameters()) == ["order"]
    assert dict(spread.bind(order=3).params) == {"order": 3}
    assert dict(spread.params) == {}
    with pytest.raises(RecipeError, match="'ordr'"):
        spread.bind(ordr=3)


def bare(observation):
    return 0.0


def test_a_metric_without_docstring_is_refused():
    with pytest.raises(PluginError, match="metric 'bare': no summary"):
        metric()(bare)


def test_an_unknown_need_suggests_the_nearest():
    with pytest.raises(PluginError, match="Did you mean 'affine'"):
        Metric(name="wrong", summary="Wrong.", definition=bare, needs=frozenset({"afine"}))


def test_experiments_need_a_title(tmp_path):
    path = tmp_path / "untitled.toml"
    path.write_text("epochs = 3")
    with pytest.raises(PluginError, match="no title"):
        Experiment.from_toml(path)
    path.write_text("title = ")
    with pytest.raises(PluginError, match="cannot be read as TOML"):
        Experiment.from_toml(path)


@pytest.mark.parametrize("name", ["site", "step", "activation"])
def test_a_metric_is_not_called_as_a_label(name):
    with pytest.raises(PluginError, match="labelled by a dim or coordinate of that name"):
        Metric(name=name, summary="A number.", definition=build)


def test_all_names_of_labels_are_known():
    labels = {name for dim, names in schema.LABELS.items() for name in (dim, *names)}
    assert labels | set(labelling.ABOUT) <= metric_entry.TAKEN
