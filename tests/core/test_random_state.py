"""The global random state: captured as plain data, restored, isolated."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
import torch

from reluscope import random_state


def draw() -> tuple[float, float, float, float]:
    return torch.rand(1).item(), random.random(), np.random.rand(), np.random.standard_normal()  # noqa: NPY002


def test_a_captured_state_draws_the_same_again_also_through_a_checkpoint():
    np.random.standard_normal()  # noqa: NPY002 - leaves half a pair of Gaussian draws in the state
    buffer = io.BytesIO()
    torch.save(random_state.capture(), buffer)
    first = draw()
    buffer.seek(0)
    random_state.restore(torch.load(buffer, weights_only=True))
    assert draw() == first


def test_isolated_leaves_the_state_also_on_error():
    state = random_state.capture()
    expected = draw()
    random_state.restore(state)
    with pytest.raises(ZeroDivisionError), random_state.isolated(5):
        draw()[0] / 0
    assert draw() == expected


def test_isolated_seeds_all_three():
    with random_state.isolated(5):
        first = draw()
    with random_state.isolated(5):
        assert draw() == first
    with random_state.isolated(6):
        assert all(a != b for a, b in zip(draw(), first, strict=True))


def test_derived_seeds_differ_by_seed_and_stream():
    seeds = [
        random_state.derived_seed(seed, stream, epoch) for seed in range(5) for stream in range(5) for epoch in range(5)
    ]
    assert len(set(seeds)) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
