"""Dead units against a count by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.observation import observe
from reluscope_plugins.patterns import dead_units, firing_rate


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_units_that_never_fire() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.copy_(torch.tensor([-1.0, 0.0, 1.0, -2.0]))  # exactly zero is not active
        model[2].weight.fill_(1.0)
        model[2].bias.zero_()
    array = dead_units(observe(model, torch.randn(6, 2)))
    assert dict(zip(array.site.values.tolist(), array.values.tolist(), strict=True)) == {"1#0": 0.75, "3#0": 0.0}


def test_a_unit_that_fires_once_in_any_batch_is_alive() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    x = -torch.ones(9, 3)
    x[4, 1] = 1.0
    state = None
    for part in x.split(3):
        state = dead_units.merge(state, dead_units.measure(observe(model, part)))
    assert dead_units.finish(state).item() == 2 / 3


def test_dead_means_a_firing_rate_of_zero() -> None:
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 2), nn.LeakyReLU())
    with torch.no_grad():
        model[0].bias[:3] -= 9.0
    observation = observe(model, torch.randn(5, 1, 6, 6))
    rates = firing_rate(observation)
    for site in observation.sites:
        share = float((rates.values[rates.unit_site.values == site] == 0).mean())
        np.testing.assert_allclose(dead_units(observation).sel(site=site), share)
    assert dead_units(observation).values[0] >= 0.5
