"""Samples drawn from normal distributions. Statistical tests: seeds fixed, error probability at most 1e-6 each."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.stats
import torch

from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import datasets

GAUSSIAN = Lab(plugins=[datasets]).datasets["gaussian"]
SPLITS = ("train", "validation", "test")
ERROR = 1e-6


def everything(**params: Any) -> tuple[torch.Tensor, torch.Tensor]:
    parts = [GAUSSIAN.load(split, **params) for split in SPLITS]
    return torch.cat([p.inputs for p in parts]).double(), torch.cat([p.labels for p in parts])


def test_plain_noise_is_standard_normal_and_labels_say_nothing() -> None:
    """Null: 10,000 x 20 independent standard normal numbers, labels uniform over 4 classes, independent of them."""
    inputs, labels = everything(samples=10_000, features=20, classes=4, seed=3)
    assert scipy.stats.kstest(inputs.flatten().numpy(), "norm").pvalue > ERROR
    assert scipy.stats.chisquare(torch.bincount(labels, minlength=4).numpy()).pvalue > ERROR
    # The mean of each class in each feature is normal with variance 1 / count; 80 of them, so ERROR / 80 for each.
    bound = scipy.stats.norm.isf(ERROR / 80 / 2)
    for label in range(4):
        chosen = inputs[labels == label]
        assert (chosen.mean(0).abs() * math.sqrt(len(chosen))).max() < bound


def test_clusters_lie_where_they_should() -> None:
    """Null: in each of 3 classes, inputs minus the class's mean are standard normal; means lie 8 from the origin."""
    inputs, labels = everything(samples=9_000, features=5, classes=3, separation=8.0, seed=1)
    for label in range(3):
        chosen = inputs[labels == label]
        # |mean| is within the norm of a normal error of variance 1 / count in each of 5 features.
        error = math.sqrt(scipy.stats.chi2.isf(ERROR / 3, 5) / len(chosen))
        assert abs(chosen.mean(0).norm().item() - 8) < error
        spread = ((chosen - chosen.mean(0)) ** 2).sum().item()
        freedom = 5 * (len(chosen) - 1)
        assert scipy.stats.chi2.ppf(ERROR / 6, freedom) < spread < scipy.stats.chi2.isf(ERROR / 6, freedom)


def test_same_seed_same_samples() -> None:
    first, again, other = (everything(samples=100, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_splits_and_attributes() -> None:
    parts = [GAUSSIAN.load(split, samples=100, features=3, classes=4) for split in SPLITS]
    assert [len(part) for part in parts] == [72, 8, 20]
    assert len(torch.unique(torch.cat([part.inputs for part in parts]), dim=0)) == 100
    assert parts[0].classes == ("0", "1", "2", "3")
    assert (parts[0].mean, parts[0].std) == ((), ())
    assert parts[0].inputs.dtype == torch.float32
    assert parts[0].labels.dtype == torch.int64


def test_global_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    GAUSSIAN.load("train")
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "params",
    [
        {"samples": 0},
        {"samples": 2},
        {"features": 0},
        {"classes": 0},
        {"classes": 2.5},
        {"separation": -1},
        {"separation": math.nan},
        {"separation": "far"},
        {"seed": -1},
        {"seed": True},
    ],
)
def test_bad_values_are_named(params: dict[str, Any]) -> None:
    with pytest.raises(ReluscopeError, match=next(iter(params))):
        GAUSSIAN.load("validation", **params)
