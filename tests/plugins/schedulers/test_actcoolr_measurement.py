"""What ActCooLR measures, against pattern distances that are counted one by one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.temperature.distance import pattern_distances


def equivalent_distance(model: nn.Module, x: Any, step: rs.OptimizerStep, width: int) -> float:
    """Mean over the sites of 1 - (1 - q)^width, q the share of units whose state changes, from patterns as bools."""
    before = rs.observe(model, x)
    with step.taken(step.rate):
        after = rs.observe(model, x)
    flips = [float((before.pattern[site] != after.pattern[site]).double().mean()) for site in before.sites]
    return float(np.mean([1 - (1 - q) ** width for q in flips]))


@pytest.mark.parametrize("width", [0, 64, 7])
@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict", "double", "resnet18"])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_what_it_measures_is_the_pattern_distance(nets: SimpleNamespace, name: str, kind: str, width: int) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nets.mlp(8, 64, 64, 3)

        def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
            return self.inner(x + shift)

    torch.manual_seed(0)
    model: nn.Module = Sum() if kind in ("tuple", "dict") else nets.mlp(8, 64, 64, 3)
    if kind == "resnet18":
        if name == "sgd" or width == 7:
            pytest.skip("one optimizer, and one width, is enough for a large network")
        model = rs.Lab().architectures["torchvision"].build(model="resnet18", num_classes=3)
    model = model.double() if kind == "double" else model
    steps = 2 if kind == "resnet18" else 12
    samples = 4 if kind == "resnet18" else 40
    optimizer = nets.optimizers[name](model.parameters(), 0.01)
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0, every=2, samples=samples, width=width)
    compared = 0
    for step in range(steps):
        if kind == "resnet18":
            generator = torch.Generator().manual_seed(step)
            x: Any = torch.randn(8, 3, 32, 32, generator=generator)
            y = torch.arange(8) % 3
        else:
            x, y = nets.batch_of(step)
            x = x.double() if kind == "double" else x
            x = {"tuple": (x, x * 0.5), "dict": {"x": x, "shift": x * 0.5}}.get(kind, x)
        model.zero_grad()
        output = model(*x) if kind == "tuple" else model(**x) if kind == "dict" else model(x)
        for part in nn.functional.cross_entropy(output, y, reduction="none").split(8):
            (part.sum() / len(y)).backward(retain_graph=True)  # accumulated
        part = (
            tuple(one[:samples] for one in x)
            if kind == "tuple"
            else {key: one[:samples] for key, one in x.items()}
            if kind == "dict"
            else x[:samples]
        )
        exact = rs.OptimizerStep(optimizer)
        if width == 0:
            expected = float(pattern_distances(model, part, exact, [exact.rate]).mean())
        else:
            expected = equivalent_distance(model, part, exact, width)
        before = scheduler.probes
        optimizer.step()
        scheduler.step(x)
        if scheduler.probes > before:
            compared += 1
            # the weights after the step differ in their last bits
            assert scheduler.measured[0] == pytest.approx(expected, abs=0.01)
    assert compared >= steps // 2
