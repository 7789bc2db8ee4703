"""Archives to draw: of the layout that the train procedure leaves, with numbers drawn at random."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

SCHEDULERS = ("step_decay", "one_cycle", "cyclic")


def recipe(schedulers: tuple[str, ...], seeds: int, epochs: int) -> dict[str, Any]:
    return {
        "title": "Three schedules on handwritten digits",
        "procedure": "train",
        "epochs": epochs,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 64, 32, 10]},
        "optimizer": {"name": "sgd", "momentum": 0.9},
        "metrics": [{"name": "firing_rate", "every": "1 epoch"}],
        "sweep": {"scheduler": [{"name": name, "base": 0.1} for name in schedulers], "seed": list(range(seeds))},
        "expected": [
            {"variable": "test_accuracy", "select": {"scheduler": schedulers[0]}, "value": 0.9, "tolerance": 0.5}
        ],
    }


def archive(
    schedulers: tuple[str, ...] = SCHEDULERS,
    seeds: int = 3,
    epochs: int = 8,
    widths: tuple[int, ...] = (64, 32),
    steps: int = 50,
) -> xr.DataTree:
    random = np.random.default_rng(0)
    runs = (len(schedulers), seeds)
    dims = ("scheduler", "seed", "epoch")
    sites = [f"{2 * place + 1}.relu#0" for place in range(len(widths))]
    epoch = np.arange(epochs)

    def numbers(*shape: int) -> np.ndarray[Any, Any]:
        return np.asarray(random.random((*runs, *shape)))

    variables: dict[str, Any] = {}
    for split in ("train", "validation", "test"):
        accuracy = 1 - 0.9 * np.exp(-(epoch + 1) / 3) + 0.01 * numbers(epochs)
        variables[f"{split}_accuracy"] = (dims, accuracy, {"long_name": f"accuracy on {split}", "units": "1"})
        variables[f"{split}_loss"] = (dims, 2.3 - 2 * accuracy, {"long_name": f"loss on {split}", "units": "nat"})
    variables["firing_rate"] = (
        (*dims, "unit"),
        numbers(epochs, sum(widths)),
        {"long_name": "share of samples on which each unit is active", "units": "1"},
    )
    variables["their_own_metric"] = (
        (*dims, "site"),
        numbers(epochs, len(widths)),
        {"long_name": "what a third party measures", "units": "furlong"},
    )
    variables["affine_rank"] = (dims, 10 * numbers(epochs), {"long_name": "rank of the affine map", "units": "1"})
    variables["rate"] = (dims, numbers(epochs), {"long_name": "learning rate in force", "units": "1"})
    swept = {"scheduler": list(schedulers), "seed": np.arange(seeds)}
    per_epoch = xr.Dataset(
        variables,
        coords={
            **swept,
            "epoch": epoch,
            "site": sites,
            "activation": ("site", ["relu"] * len(sites)),
            "unit_site": ("unit", np.repeat(sites, widths)),
            "neuron": ("unit", np.concatenate([np.arange(width) for width in widths])),
        },
    )
    per_step = xr.Dataset(
        {
            "rate": (("scheduler", "seed", "step"), numbers(steps), {"long_name": "learning rate", "units": "1"}),
            "batch_loss": (("scheduler", "seed", "step"), numbers(steps), {"long_name": "batch loss", "units": "nat"}),
        },
        coords={**swept, "step": np.arange(steps)},
    )
    told = {
        "name": "quickstart",
        "recipe": recipe(schedulers, seeds, epochs),
        "packages": {"torch": "2.10"},
        "plugins": [{"name": "patterns", "version": "1"}],
    }
    root = xr.Dataset(
        attrs={
            "title": told["recipe"]["title"],  # type: ignore[index]
            "sweep_dims": json.dumps(["scheduler", "seed"]),
            "provenance": json.dumps(told),
            "schema_version": 1,
        }
    )
    return xr.DataTree.from_dict({"/": root, "/epoch": per_epoch, "/step": per_step})


@pytest.fixture
def make_archive() -> Callable[..., xr.DataTree]:
    """Makes an archive: schedulers, seeds, epochs, widths and steps can be chosen."""
    return archive
