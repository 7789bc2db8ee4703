"""Firing rates against a count by hand."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.observation import observe
from reluscope_plugins.patterns import firing_rate


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_dense_reference() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU())
    x = torch.randn(20, 3)
    z1 = model[0](x)
    z2 = model[2](z1.relu())
    expected = [sum(bool(z[n, i] > 0) for n in range(20)) / 20 for z in (z1, z2) for i in range(z.shape[1])]
    assert firing_rate(observe(model, x)).values.tolist() == expected


def test_positions_count_as_samples() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU())
    x = torch.randn(4, 1, 5, 5)
    z = model[0](x)
    expected = [float((z[:, c] > 0).double().mean()) for c in range(3)]
    np.testing.assert_allclose(firing_rate(observe(model, x)).values, expected, rtol=1e-15)


def test_three_states_count_the_middle_one() -> None:
    model = nn.Sequential(nn.ReLU6())
    x = torch.tensor([[-1.0, 1.0], [7.0, 2.0], [3.0, 8.0], [3.0, 1.0]])
    assert firing_rate(observe(model, x)).values.tolist() == [0.5, 0.75]


def test_splitting_changes_no_bit() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())  # nothing is computed, so nothing rounds
    x = torch.randn(30, 7)
    state = None
    for part in x.split([1, 3, 19, 7]):
        state = firing_rate.merge(state, firing_rate.measure(observe(model, part)))
    assert firing_rate.finish(state).identical(firing_rate(observe(model, x)))
