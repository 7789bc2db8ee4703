"""How long before a training diverges its warning comes, and how often it comes where nothing is wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import scipy.stats
import torch
from torch.nn import functional

import reluscope as rs
from reluscope.errors import NotFiniteError
from reluscope_plugins import architectures, datasets, temperature
from reluscope_plugins.temperature.divergence import WARNING

LAB = rs.Lab(plugins=[architectures, datasets, temperature])
TRAININGS, STEPS = 36, 30
TOO_HIGH, HEALTHY = 5.0, 0.2
ERROR = 1e-6


class Training(NamedTuple):
    """What became of a training.

    Attributes:
        end: Step before which loss or network left the finite numbers; None where they did not.
        warned: First step before which the warning was above its threshold; None where it was not.
        losses: Loss of the batch of each step.
    """

    end: int | None
    warned: int | None
    losses: list[float]

    @property
    def lead(self) -> int:
        """Steps that a warning came before the end; 0 where none came."""
        assert self.end is not None
        return 0 if self.warned is None else self.end - self.warned


def train(seed: int, rate: float) -> Training:
    """Train four hidden layers of 64 units without normalisation on handwritten digits, watched at every step."""
    x, y = LAB.datasets["digits"].load("train", None, lab=LAB).tensors
    model = LAB.architectures["mlp"].build(seed=seed, widths=[64, 64, 64, 64, 64, 10])
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []
    batch: list[torch.Tensor] = []
    entry = LAB.metrics["divergence_warning"].bind(rates=13)
    watch = rs.Watch(model, entry, batch, every=1, lab=LAB, optimizer=optimizer)
    end = None
    with watch:
        for step in range(STEPS):
            chosen = torch.randint(len(x), (64,), generator=generator)
            batch[:] = [x[chosen]]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(x[chosen]), y[chosen])
            if not loss.isfinite():
                end = step
                break
            loss.backward()
            try:
                optimizer.step()
            except NotFiniteError:
                end = step
                break
            watch.step()
            losses.append(loss.item())
    values = watch.dataset["divergence_warning"].values
    above = np.flatnonzero(values > WARNING)
    return Training(end, int(above[0]) if len(above) else None, losses)


@pytest.fixture(scope="module")
def too_high() -> list[Training]:
    return [train(seed, TOO_HIGH) for seed in range(TRAININGS)]


@pytest.fixture(scope="module")
def healthy() -> list[Training]:
    return [train(seed, HEALTHY) for seed in range(TRAININGS)]


@pytest.mark.slow
def test_the_warning_comes_steps_before_a_training_diverges(too_high: list[Training]) -> None:
    """Null: at most a third of the trainings that diverge are warned of two steps ahead or more.

    Binomial test over those of 36 seeds that leave the finite numbers within 30 steps; error probability at most 1e-6.
    The end is where the loss is not finite: at the last warning that counts, two steps are still to be taken.
    """
    leads = np.array([training.lead for training in too_high if training.end is not None])
    assert len(leads) >= TRAININGS / 2
    ahead = int((leads >= 2).sum())
    assert scipy.stats.binomtest(ahead, len(leads), 1 / 3, alternative="greater").pvalue <= ERROR, leads


@pytest.mark.slow
def test_a_training_that_learns_is_not_warned_of(healthy: list[Training]) -> None:
    """Null: of the trainings that learn, a third or more are warned of within 30 steps.

    Binomial test over 36 seeds; error probability at most 1e-6. They do learn: the mean loss of the last ten steps is
    below that of the first ten in each (under a null of equal chances, 2^-36).
    """
    assert all(training.end is None for training in healthy)
    assert all(np.mean(training.losses[-10:]) < np.mean(training.losses[:10]) for training in healthy)
    false = sum(training.warned is not None for training in healthy)
    assert scipy.stats.binomtest(false, len(healthy), 1 / 3, alternative="less").pvalue <= ERROR, false


@pytest.mark.slow
def test_the_warning_tells_what_diverges_from_what_learns(too_high: list[Training], healthy: list[Training]) -> None:
    """Null: the warning comes as often where a training diverges as where it learns; Fisher's exact test.

    36 seeds at each rate, of the higher those that diverge; error probability at most 1e-6.
    """
    diverging = [training.lead > 0 for training in too_high if training.end is not None]
    alarms = [training.warned is not None for training in healthy]
    counts = [[sum(found), len(found) - sum(found)] for found in (diverging, alarms)]
    assert scipy.stats.fisher_exact(counts, alternative="greater").pvalue <= ERROR, counts
