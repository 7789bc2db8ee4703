"""Parameters multiplied by 1 + noise."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.multiplicative_noise import multiply_by_noise
from reluscope_plugins.architectures.sawtooth import sawtooth


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_factors_are_normal(has_variance: Callable[..., bool]) -> None:
    """Null: factors - 1 are N(0, s^2), of weights and of biases. n = 10,000 and 100; error 1e-6 in all."""
    layer = nn.Linear(100, 100).double()
    before = copy.deepcopy(layer)
    multiply_by_noise(layer, 0.04, generator=seeded())
    assert has_variance(layer.weight / before.weight - 1, 0.04, 5e-7)
    assert has_variance(layer.bias / before.bias - 1, 0.04, 5e-7)


def test_parts_make_up_the_whole() -> None:
    model = sawtooth(3).double()
    changed = {}
    for parts in ("all", "weights", "biases"):
        changed[parts] = copy.deepcopy(model)
        multiply_by_noise(changed[parts], 0.01, parameters=parts, generator=seeded(1))
    states = {parts: changed[parts].state_dict() for parts in changed}
    for name, value in model.state_dict().items():
        own, other = ("weights", "biases") if name.endswith("weight") else ("biases", "weights")
        assert torch.equal(states["all"][name], states[own][name])
        assert torch.equal(value, states[other][name])
        assert torch.equal(states["all"][name] == value, value == 0)


def test_variance_zero_changes_nothing_and_the_global_state_is_left() -> None:
    model = sawtooth(2)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    multiply_by_noise(model, 0, generator=seeded())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("variance", "parameters", "message"),
    [
        (-0.1, "all", "variance is -0.1"),
        (float("nan"), "all", "variance is nan"),
        ("0.1", "all", "variance is '0.1'"),
        (0.1, "weight", "Did you mean 'weights'"),
        (0.1, "biases", "the network has none"),
    ],
)
def test_bad_values_are_named(variance: Any, parameters: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        multiply_by_noise(nn.Linear(2, 2, bias=False), variance, parameters=parameters, generator=seeded())
    assert message in str(caught.value)
