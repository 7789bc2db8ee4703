"""The fully connected network F1."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

LAB = Lab(plugins=[architectures])
F1 = LAB.architectures["f1"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_as_many_as_the_sum_says() -> None:
    # Keskar et al. 2017, appendix B, and Hartmann 2025 describe it, five hidden layers of 512; neither prints a number.
    weights = 784 * 512 + 4 * 512 * 512 + 512 * 10
    biases = 5 * 512 + 10
    assert count(F1.build()) == weights + biases == 1_457_674
    assert count(F1.build(batch_norm=True)) == weights + biases + 5 * 2 * 512
    assert count(F1.build(input_size=3072, classes=100)) == weights + biases + 2288 * 512 + 90 * 513


@pytest.mark.parametrize("batch_norm", [False, True])
def test_it_is_the_mlp_of_these_widths(batch_norm: bool) -> None:
    mine = F1.build(batch_norm=batch_norm, seed=0)
    theirs = LAB.architectures["mlp"].build(widths=[784, *[512] * 5, 10], batch_norm=batch_norm, seed=0)
    assert repr(mine) == repr(theirs)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mine(x), theirs(x))


def test_sites_are_named() -> None:
    observation = rs.observe(F1.build(seed=0).eval(), torch.zeros(2, 784))
    assert list(observation.sites) == [f"relu{number}#0" for number in range(1, 6)]
    assert {observation.pattern[site].shape for site in observation.sites} == {(2, 512)}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"input_size": 0}, "architecture 'f1': input_size is 0"),
        ({"input_size": [784]}, "input_size is [784]"),
        ({"classes": 0}, "classes is 0"),
        ({"batch_norm": 1}, "batch_norm is 1, expected true or false"),
        ({"inputs": 3}, "Did you mean 'input_size'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        F1.build(**params)
    assert message in str(caught.value)
