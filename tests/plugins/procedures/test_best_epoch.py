"""The procedure `best_epoch`: what it repeats, and that it trains as `train` does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import reluscope as rs
from reluscope.errors import ReluscopeError

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "Slope at the best epoch",
    "procedure": "best_epoch",
    "epochs": 4,
    "batch_size": 16,
    "dataset": {"name": "subset", "train": 64, "validation": 50, "test": 50, "dataset": {"name": "digits"}},
    "architecture": {"name": "mlp", "widths": [64, 8, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 3.0},
    "scheduler": {"name": "constant"},
    "metrics": [{"name": "slope", "split": "train", "samples": 30}],
    "sweep": {"seed": [0, 1, 2]},
}


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_it_is_the_epoch_of_least_loss(split: str) -> None:
    tree = rs.run({**RECIPE, "split": split}, lab=LAB)
    series, best = tree["epoch"].to_dataset(), tree["best_epoch"].to_dataset()
    losses = series[f"{split}_loss"]
    assert best["best_epoch"].values.tolist() == losses.idxmin("epoch").values.tolist()
    assert len({0, *best["best_epoch"].values.tolist()}) > 1
    assert (best["best_epoch"] < 4).any()
    for name in ("slope", "test_loss", "train_accuracy"):
        for seed in range(3):
            there = series[name].sel(seed=seed, epoch=best["best_epoch"].sel(seed=seed)).item()
            assert best[name].sel(seed=seed).item() == there


def test_it_trains_as_train_does() -> None:
    with_it, without = (
        rs.run({**RECIPE, "procedure": name}, lab=LAB)["epoch"].to_dataset() for name in ("best_epoch", "train")
    )
    np.testing.assert_array_equal(with_it["slope"].values, without["slope"].values)


def test_another_split_is_refused() -> None:
    with pytest.raises(ReluscopeError, match="split"):
        rs.run({**RECIPE, "split": "tset"}, lab=LAB)
