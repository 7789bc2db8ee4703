"""The warning from the rank: what it says, and how early and how often it comes in real trainings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr
from torch import nn
from torch.nn import functional

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope_plugins import architectures, datasets, geometry
from reluscope_plugins.geometry import rank_collapse
from reluscope_plugins.geometry.rank_collapse import WARNING, collapse_warning

LAB = rs.Lab(plugins=[architectures, datasets, geometry])
SEEDS, EPOCHS = range(100, 125), 20
TOO_HIGH, GOOD = 0.4, 0.05
ERROR = 1e-6


def test_the_share_of_the_rank_that_is_lost() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(4))
        model[0].bias.fill_(1.0)
    with rs.Watch(model, [rank_collapse], [torch.zeros(3, 4).double()], every=1, lab=LAB) as watch:
        for silent in (1, 4):
            with torch.no_grad():
                model[0].bias[:silent] = -1.0
            watch.step()
        with torch.no_grad():
            model[0].bias.fill_(1.0)
        watch.step()
    assert watch.dataset["rank_collapse"].values.tolist() == [0.0, 0.25, 1.0, 0.0]
    assert collapse_warning(watch.dataset["rank_collapse"], dim="step").item() == 1.0


def test_a_rank_of_zero_from_the_start_has_no_share() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    nn.init.constant_(model[0].bias, -100.0)
    with rs.Watch(model, [rank_collapse], [torch.zeros(3, 2)], every=1, lab=LAB) as watch:
        watch.step()
    assert np.isnan(watch.dataset["rank_collapse"].values).all()


def test_each_run_of_a_sweep_has_its_own_epoch() -> None:
    values = [[0.0, WARNING, 0.2, 0.05], [0.0, 0.0, np.nan, 0.1], [0.0, 0.5, 0.5, 0.5]]
    lost = xr.DataArray(values, dims=("seed", "epoch"), coords={"seed": [1, 2, 3], "epoch": [0, 1, 2, 5]})
    found = collapse_warning(lost)
    assert found.dims == ("seed",)
    np.testing.assert_array_equal(found.values, [2.0, np.nan, 1.0])
    np.testing.assert_array_equal(collapse_warning(lost, threshold=0.04).values, [1.0, 5.0, 1.0])
    with pytest.raises(ObservationError, match="expected 'step'"):
        collapse_warning(lost, dim="step")
    with pytest.raises(ObservationError, match="expected 'epoch'"):
        collapse_warning(lost.drop_vars("epoch"))


class Training(NamedTuple):
    """What became of a training.

    Attributes:
        warned: Epoch after which it would have been warned of, None where it would not.
        collapsed: Epoch after which the accuracy was below half of its best, None where it never was.
        accuracy: On test data, of each epoch, that before the first included.
    """

    warned: float | None
    collapsed: int | None
    accuracy: list[float]


def train(seed: int, rate: float) -> Training:
    """Figure 2.2 on handwritten digits: two hidden layers of 64 units, momentum 0.8, batches of 32, 20 epochs."""
    x, y = LAB.datasets["digits"].load("train", None, lab=LAB).tensors
    unseen, labels = LAB.datasets["digits"].load("test", None, lab=LAB).tensors
    model = LAB.architectures["mlp"].build(seed=seed, widths=[64, 64, 64, 10])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.8)
    generator = torch.Generator().manual_seed(seed)
    accuracy: list[float] = []

    def look() -> None:
        with torch.no_grad():
            accuracy.append((model(unseen).argmax(1) == labels).float().mean().item())

    look()
    order = [torch.randperm(len(x), generator=generator).split(32) for _ in range(EPOCHS)]
    with rs.Watch(model, ["rank_collapse"], [unseen[:100]], every=len(order[0]), lab=LAB) as watch:
        for batches in order:
            for rows in batches:
                optimizer.zero_grad()
                functional.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
                watch.step()
            look()
    step = collapse_warning(watch.dataset["rank_collapse"], dim="step").item()
    halved = np.flatnonzero(np.array(accuracy) < np.maximum.accumulate(accuracy) / 2)
    return Training(None if np.isnan(step) else step / len(order[0]), int(halved[0]) if len(halved) else None, accuracy)


@pytest.fixture(scope="module")
def too_high() -> list[Training]:
    return [train(seed, TOO_HIGH) for seed in SEEDS]


@pytest.fixture(scope="module")
def good() -> list[Training]:
    return [train(seed, GOOD) for seed in SEEDS]


@pytest.mark.slow
def test_the_warning_tells_a_rate_too_high_from_a_good_one(too_high: list[Training], good: list[Training]) -> None:
    """Null: it comes as often at either rate; Fisher's exact test on 25 seeds each, error probability at most 1e-6.

    What the rates do: at the good one every training ends above 0.9, at the other none above 0.7.
    """
    assert min(training.accuracy[-1] for training in good) > 0.9
    assert max(training.accuracy[-1] for training in too_high) < 0.7
    warned = [[training.warned is not None for training in found] for found in (too_high, good)]
    counts = [[sum(found), len(found) - sum(found)] for found in warned]
    assert scipy.stats.fisher_exact(counts, alternative="greater").pvalue <= ERROR, counts


@pytest.mark.slow
def test_the_warning_comes_before_the_predictions_collapse(too_high: list[Training]) -> None:
    """Null: of the trainings that collapse, at most a third are warned of an epoch ahead or more.

    A training collapses where its test accuracy falls below half of its best. Binomial test over those of 25 seeds that
    do, error probability at most 1e-6.
    """
    collapsing = [training for training in too_high if training.collapsed is not None]
    ahead = [t.warned is not None and t.collapsed is not None and t.warned < t.collapsed for t in collapsing]
    assert scipy.stats.binomtest(sum(ahead), len(ahead), 1 / 3, alternative="greater").pvalue <= ERROR, collapsing


@pytest.mark.slow
def test_a_training_at_a_good_rate_is_not_warned_of(good: list[Training]) -> None:
    """Null: 45 % or more of them are; none of 25 has a probability of 0.55^25 = 3e-7 then."""
    false = sum(training.warned is not None for training in good)
    assert scipy.stats.binomtest(false, len(good), 0.45, alternative="less").pvalue <= ERROR, false
