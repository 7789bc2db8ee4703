"""Stacked convolutions of one width."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

TOYNET = Lab(plugins=[architectures]).architectures["toynet"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Hartmann 2025 prints no number; the sums are its description, "equal filter counts (32 filters) throughout".
@pytest.mark.parametrize(("depth", "width"), [(8, 32), (20, 32), (32, 32), (20, 16)])
def test_parameters_are_as_many_as_the_sum_says(depth: int, width: int) -> None:
    inner = depth - 2
    first = 3 * width * 9
    others = inner * width * width * 9
    normalisations = (inner + 1) * 2 * width
    linear = width * 10 + 10
    assert count(TOYNET.build(depth=depth, width=width)) == first + others + normalisations + linear
    biases = (inner + 1) * width
    assert count(TOYNET.build(depth=depth, width=width, normalisation="none")) == first + others + biases + linear


def test_default_has_as_many_as_written_out() -> None:
    assert count(TOYNET.build()) == 864 + 18 * 9216 + 19 * 64 + 330 == 168_298


@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_values_are_those_of_the_chain(normalisation: str) -> None:
    model = TOYNET.build(depth=14, normalisation=normalisation, width=4, seed=0).double()
    x = torch.randn(3, 3, 11, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    value = x
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 13
    for number, layer in enumerate(convolutions):
        # Of the 4 convolutions in each stage, the first of the second and of the third stage halve.
        value = F.conv2d(value, layer.weight, layer.bias, stride=2 if number in (5, 9) else 1, padding=1)
        if normalisation == "batch":
            mean, variance = value.mean((0, 2, 3), keepdim=True), value.var((0, 2, 3), unbiased=False, keepdim=True)
            value = (value - mean) / (variance + 1e-5).sqrt()
        value = value.clamp(min=0)
    expected = value.mean((2, 3)) @ model.head.weight.T + model.head.bias
    assert torch.allclose(model(x), expected, rtol=1e-9, atol=1e-9)


def test_every_site_has_the_same_width() -> None:
    observation = rs.observe(TOYNET.build(seed=0).eval(), torch.zeros(1, 3, 32, 32))
    assert len(observation.sites) == 19
    assert {observation.pattern[site].shape[1] for site in observation.sites} == {32}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 7}, "architecture 'toynet': depth is 7"),
        ({"growth": 2}, "unknown parameter 'growth'"),
        ({"width": 32.0}, "architecture 'toynet': width is 32.0"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        TOYNET.build(**params)
    assert message in str(caught.value)
