"""The procedure `fit`: what it records, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import reluscope as rs
from reluscope.errors import RecipeError

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "Singular vectors of digits",
    "procedure": "fit",
    "dataset": {"name": "digits"},
    "architecture": {"name": "svd_classifier", "features": 64},
}


def test_accuracies_are_those_of_the_fitted_classifier() -> None:
    tree = rs.run({**RECIPE, "sweep": {"architecture.columns": [2, 10]}}, lab=LAB)
    data = {split: LAB.datasets["digits"].load(split) for split in ("train", "validation", "test")}
    for columns in (2, 10):
        model = LAB.architectures["svd_classifier"].build(columns=columns, features=64)
        inputs, labels = zip(*data["train"], strict=True)
        model.fit(torch.stack(inputs), torch.tensor([int(label) for label in labels]))
        for split, samples in data.items():
            right = [bool(model(x.unsqueeze(0)).argmax() == y) for x, y in samples]
            assert tree[f"fit/{split}_accuracy"].sel(columns=columns).item() == sum(right) / len(right)


def test_an_architecture_without_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match="the procedure 'fit' needs one that is fitted"):
        rs.run({**RECIPE, "architecture": {"name": "mlp", "widths": [64, 10]}}, lab=LAB)
