"""What ActCooLR measures, against pattern distances that are counted one by one."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import reluscope as rs
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers.followed_transition import FollowedTransition
from reluscope_plugins.schedulers.taken_step import TakenStep
from reluscope_plugins.temperature.distance import pattern_distances


def equivalent_distance(model: nn.Module, x: Any, step: rs.OptimizerStep, width: int) -> float:
    """Mean over the sites of 1 - (1 - q)^(width / sqrt(l)), q the share of units that change, from bools."""
    before = rs.observe(model, x)
    with step.taken(step.rate):
        after = rs.observe(model, x)
    flips = [float((before.pattern[site] != after.pattern[site]).double().mean()) for site in before.sites]
    return float(np.mean([1 - (1 - q) ** (width / depth**0.5) for depth, q in enumerate(flips, 1)]))


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
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0, every=2, samples=samples, width=width, warmup=0)
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


class Convolutional(nn.Module):
    """A site of 16 channels at 6 times 6 positions, and one of 48 units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Conv2d(1, 16, 3), nn.Linear(576, 48), nn.Linear(48, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.first(x)).flatten(1))))


@pytest.mark.parametrize(("width", "expected"), [(0, [5 * 36, 5]), (64, [5 * 36 * 16 / 64, 5 * 48 * 2**0.5 / 64])])
def test_patterns_of_so_many_units_are_counted(width: int, expected: list[float]) -> None:
    torch.manual_seed(0)
    model = Convolutional()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(5, 1, 8, 8)
    model(x).square().sum().backward()
    taken = TakenStep()
    taken.keep(optimizer)
    optimizer.step()
    found = taken.changes(model, x, width)
    assert [patterns for _, patterns, _ in found.values()] == expected
    table = taken.shares(model, x, lambda after: [list(after), []], width)
    assert table[0, 1] == sum(expected)
    assert np.isnan(table[1, 0])
    assert table[1, 1] == 0


@pytest.mark.parametrize(("share", "sign"), [(0.0, 1.0), (1.0, -1.0)])
@pytest.mark.parametrize("patterns", [2.5, 40.0, 1e4])
def test_of_no_change_half_a_pattern_is_taken(share: float, sign: float, patterns: float) -> None:
    follows = FollowedTransition(mu=-sign * 6.0, sigma=1.0)
    moved, _ = follows.correct(1.0, share, patterns)
    expected = -scipy.stats.norm.ppf(0.5 / patterns)
    assert sign * follows.mu == pytest.approx(expected, rel=1e-9)
    assert moved == pytest.approx(6 + expected, rel=1e-9)


def test_of_less_than_two_patterns_little_is_learnt() -> None:
    for patterns in (0.01, 0.5, 1.0, 2.0):
        follows = FollowedTransition(mu=-6.0, sigma=1.0)
        follows.correct(1.0, 0.0, patterns)
        assert follows.mu == pytest.approx(scipy.stats.norm.ppf(0.75), rel=1e-9)


@pytest.mark.parametrize(("width", "contradicted"), [(0, True), (64, False)])
def test_so_few_units_contradict_nothing(width: int, contradicted: bool) -> None:
    """Where half were expected to change, and none did: of 64 rows or, at 8 units, of 8 patterns of 64 units."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ActCooLR(optimizer, model, 9, width=width)
    x = torch.randn(64, 3)
    for step in range(2):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        if step == 1:
            (transition,) = scheduler.transitions
            transition.mu = math.log(1e-9)
            optimizer.param_groups[0]["lr"] = 1e-9
        optimizer.step()
        scheduler.step(x)
    assert scheduler.measured == [0.0]
    assert scheduler.stale is contradicted
