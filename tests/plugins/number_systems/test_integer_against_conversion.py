"""Integer arithmetic against a network that is quantised in place: for the same random bits equal bit for bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.lab import Lab
from reluscope_plugins.number_systems.fixed16 import Fixed16
from reluscope_plugins.number_systems.integer_network import integer_network

LAB = Lab()
LEAST = 4
"""No weight is below 2^-4, so that with log2 n + 4 guard bits no shift loses a bit."""


def network(seed: int, norm: bool) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
    model = nn.Sequential(*(layers if norm else [one for one in layers if not isinstance(one, nn.BatchNorm2d)]))
    model.extend([nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3)]).double().eval()
    with torch.no_grad():
        for layer in model:
            if isinstance(layer, nn.BatchNorm2d):
                # powers of two and a variance that eps completes: what is folded stays on the grid
                layer.weight.copy_(torch.tensor([1.0, -2.0, 1.0, 1.0]))
                layer.running_var.fill_(1 - layer.eps)
                layer.running_mean.copy_(torch.randint(-64, 64, (4,), generator=generator) / 256)
                layer.bias.copy_(torch.randint(-64, 64, (4,), generator=generator) / 256)
            elif hasattr(layer, "weight"):
                size = torch.rand(layer.weight.shape, generator=generator, dtype=torch.float64) * (0.5 - 2**-LEAST)
                sign = torch.randint(0, 2, size.shape, generator=generator) * 2 - 1
                layer.weight.copy_(sign * (2.0**-LEAST + size))
                layer.bias.copy_(torch.randint(-256, 256, layer.bias.shape, generator=generator) / 256)
    return model


def batch(seed: int) -> Tensor:
    return torch.randn(20, 2, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("sample_bits", [0, 2, 4])
def test_equal_bit_for_bit_for_the_same_random_bits(sample_bits: int, norm: bool) -> None:
    """Sums of products of 16 bits with weights of few more are exact in float64, as they are in 32 bits."""
    model, x, samples = network(sample_bits, norm), batch(1), 2**sample_bits
    run = integer_network(model, samples=samples, guard_bits=sample_bits + LEAST).run(x, seed=5)
    assert int(run.operations.overflows.sum()) == 0
    converted = copy.deepcopy(model)
    rs.quantize_(converted, "psb", samples=samples, activations="fixed16", seed=5, lab=LAB)
    with torch.no_grad():
        logits = Fixed16().encode(converted(x)).codes
    assert torch.equal(run.logits, logits)
    assert not torch.equal(integer_network(model, samples=samples).run(x, seed=6).logits, logits)
