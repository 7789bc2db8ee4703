"""The recipes for the figures of Gamba et al. 2020 that train: settings as printed, and figures of what is recorded."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
import reluscope_catalog
from reluscope import recipe as recipes

LAB = rs.Lab()
FOLDER = Path(reluscope_catalog.__file__).parent / "experiments"
NAMES = sorted(path.stem for path in FOLDER.glob("gamba_figure_*.toml") if path.stem != "gamba_figure_1")
NUMBERS = {2, 4, 5, 6, 7, 15, 20, 21, 22, 23}
CRITICAL = {"gamba_figure_2", "gamba_figure_23"}
CURVES = {f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss", "accuracy")}


def test_every_figure_has_a_recipe() -> None:
    assert {int(name.split("_")[2]) for name in NAMES} == NUMBERS


@pytest.mark.parametrize("scale", ["paper", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_figures_are_of_what_is_recorded(name: str, scale: str) -> None:
    plan = recipes.load(name, lab=LAB, scale=scale)
    assert plan.recipe.source.startswith(f"Gamba et al. 2020, figure {name.split('_')[2]}")
    assert plan.recipe.procedure == ("critical_layers" if name in CRITICAL else "train")
    dims = {variable: {"epoch"} for variable in CURVES}
    for choice in plan.recipe.metrics:
        dims[choice.name] = {"epoch", *LAB.metrics[choice.name].dims}
        if choice.every != "1 epoch":
            assert choice.every == f"epochs 0, {plan.recipe.parameters['epochs']}"
    dims["accuracy_drop"] = {"epoch", "layer"}
    assert plan.recipe.figures
    for figure in plan.recipe.figures:
        named = {*figure.dims.values(), *figure.select}
        assert named <= dims[figure.variable] | set(plan.sweep_dims)
        left = dims[figure.variable] - named
        allowed = {"filter"} if figure.kind == "box" else {"epoch"} if figure.group == "critical_layers" else set()
        assert left <= allowed
    assert "small" in tomllib.loads((FOLDER / f"{name}.toml").read_text())["scale"]


def decayed(name: str, schedule: str, epoch: int) -> float:
    # section A.1, and figures 6 and 15
    if name == "gamba_figure_15":
        return 0.01
    if name in ("gamba_figure_6", "gamba_figure_20"):
        return 0.01 * 0.95**epoch
    return 0.01 * 0.1 ** (epoch // 25 if schedule == "step_decay" else epoch / 25)


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_is_as_printed_at_each_epoch(name: str) -> None:
    smooth = name.startswith("gamba_figure_21") or name in ("gamba_figure_6", "gamba_figure_20")
    for _, point in recipes.load(name, lab=LAB).points:
        epochs, batches = point.parameters["epochs"], 3
        assert point.scheduler is not None
        assert point.optimizer is not None
        assert smooth == (point.scheduler.name == "exponential") or name.startswith("gamba_figure_22")
        optimizer = torch.optim.SGD(
            [torch.nn.Parameter(torch.zeros(1))], lr=point.optimizer.parameters["learning_rate"]
        )
        scheduler = LAB.schedulers[point.scheduler.name].build(
            optimizer, total_steps=epochs * batches, **point.scheduler.parameters
        )
        rates = []
        for _ in range(epochs * batches):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        expected = np.repeat([decayed(name, point.scheduler.name, epoch) for epoch in range(epochs)], batches)
        np.testing.assert_allclose(rates, expected, rtol=1e-9)


def innermost(dataset: Any) -> dict[str, Any]:
    return innermost(dataset["dataset"]) if "dataset" in dataset else dataset


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_as_printed(name: str) -> None:
    plan = recipes.load(name, lab=LAB)
    seeds = {point["seed"] for point, _ in plan.points}
    assert len(seeds) == (10 if name in ("gamba_figure_7", "gamba_figure_23") else 3)
    for _, point in plan.points:
        regularised = name != "gamba_figure_6"
        decay = {"weight_decay": 0.0005} if regularised else {}
        assert point.optimizer is not None
        assert point.optimizer.parameters == {"learning_rate": 0.01, "momentum": 0.9, **decay}
        assert (point.parameters.get("shift", 0), point.parameters.get("flip", False)) == (
            (4, True) if regularised else (0, False)
        )
        assert point.dataset is not None
        assert point.architecture is not None
        table = {"name": point.dataset.name, **point.dataset.parameters}
        data = innermost(table)
        assert data["normalise"] is False  # and then taken to -1..1, but for CIFAR10+
        within = "'factor': 2.0, 'offset': -1.0" in str(table)
        assert within or (name == "gamba_figure_21" and point.dataset.name == "cifar10")
        network = point.architecture.parameters
        if point.architecture.name == "vgg":
            assert network["depth"] == 19
            assert network["batch_norm"] is False
        if data["name"] == "imagenet":
            assert data["validation"] == round(0.1 * 1_281_167)


def test_the_failing_network_starts_from_both_readings_of_what_is_printed() -> None:
    """N(0, 0.01): the variance, or the standard deviation."""
    plan = recipes.load("gamba_figure_15", lab=LAB)
    assert plan.recipe.parameters["epochs"] == 10
    deviations = {point.architecture.parameters["weight_std"] for _, point in plan.points if point.architecture}
    assert deviations == {0.1, 0.01}


@pytest.mark.parametrize("name", ["gamba_figure_2", "gamba_figure_20", "gamba_figure_21_mnist"])
def test_a_recipe_runs(name: str, data_root: Path) -> None:
    few = [
        "epochs=1",
        "sweep.seed=[0]",
        "dataset.train=96",
        "dataset.validation=32",
        "dataset.test=32",
        *(["snapshots=[0, 1]"] if name in CRITICAL else []),
    ]
    tree = rs.run(name, lab=LAB, scale="small", overrides=few, data_root=data_root)
    share = tree["epoch/negative_projection_share"]
    assert share.sizes["epoch"] == 2
    assert not share.isel(epoch=-1).isnull().all()
    if name in CRITICAL:
        drop = tree["critical_layers/accuracy_drop"]
        assert drop.sizes["layer"] == 9
        assert (drop.sel(epoch=1) == 0).all()
