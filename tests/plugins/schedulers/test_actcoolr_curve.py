"""The curve that ActCooLR cools down along, on paper and in real trainings."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.context import Diverged
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers.followed_transition import FLOOR
from reluscope_plugins.temperature.distance import pattern_distances


@given(
    t_start=st.floats(0.1, 10),
    gamma=st.floats(0.2, 5),
    warmup=st.sampled_from([0.0, 0.1, 0.5]),
    curve=st.sampled_from(["temperature", "probability"]),
)
def test_the_curves_formula(t_start: float, gamma: float, warmup: float, curve: Any) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = ActCooLR(optimizer, nn.Linear(1, 1), 40, t_start=t_start, gamma=gamma, warmup=warmup, curve=curve)
    for step in range(41):
        left = (1 - step / 40) ** gamma * min(1.0, (step + 1) / (warmup * 40) if warmup else 1.0)
        wanted = 1 - 2 ** (-t_start * left) if curve == "temperature" else min(1 - 2**-t_start, 0.99) * left
        assert scheduler.target(step) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert scheduler.target(40) == 0.0


def started(**parameters: Any) -> ActCooLR:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    return ActCooLR(optimizer, nn.Linear(1, 1), 200, warmup=0, **parameters)


def test_the_sources_curve_of_probabilities_starts_at_infinite_temperature() -> None:
    scheduler = started(curve="probability", t_start=math.inf)
    assert [scheduler.target(step) for step in range(201)] == pytest.approx(
        [0.99 * (1 - step / 200) for step in range(201)], rel=1e-12, abs=1e-15
    )


@pytest.mark.parametrize(("t_start", "start"), [(1.0, 0.5), (2.0, 0.75), (3.0, 0.875), (20.0, 0.99)])
def test_a_curve_of_probabilities_starts_at_that_of_the_start_temperature(t_start: float, start: float) -> None:
    scheduler = started(curve="probability", t_start=t_start)
    assert scheduler.target(0) == pytest.approx(start, rel=1e-12)
    assert scheduler.target(50) == pytest.approx(0.75 * start, rel=1e-12)
    if start < 0.99:
        assert started(t_start=t_start).target(0) == scheduler.target(0)


@pytest.mark.parametrize("curve", ["temperature", "probability"])
def test_the_network_cools_down_along_the_curve(nets: SimpleNamespace, curve: Any) -> None:
    # Seeded; over three seeds the mean difference was at most 0.02 and the mean magnitude 0.05, with either curve.
    x, y = nets.digits()
    model = nets.mlp(64, 128, 128, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 160, t_start=1.0, curve=curve, width=0)
    differences, rates = [], []
    for step in range(160):
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(step))[:128]
        nets.backward(model, x[chosen], y[chosen])
        taken = rs.OptimizerStep(optimizer)
        measured = float(pattern_distances(model, x[chosen], taken, [taken.rate]).mean())
        rates.append(taken.rate)
        optimizer.step()
        if step:
            differences.append(measured - scheduler.target(step))
        scheduler.step(x[chosen])
    assert abs(np.mean(differences)) < 0.06
    assert np.mean(np.abs(differences)) < 0.12
    assert rates[-1] < max(rates) / 10
    assert scheduler.get_last_lr() == [FLOOR]
    assert scheduler.fits <= 5
    assert float((model(x).argmax(1) == y).float().mean()) > 0.8


# Where the rate is highest, in trainings on handwritten digits.

SEEDS, STEPS = 20, 120


def rates_of(nets: SimpleNamespace, seed: int, *, normalised: bool, **parameters: Any) -> Any:
    """Rates from the first one that ActCooLR has set, in a training of about 10 epochs."""
    x, y = nets.digits()
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(64, 64), *([nn.BatchNorm1d(64)] if normalised else []), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = ActCooLR(optimizer, model, STEPS, t_start=1.0, max_growth=math.inf, **parameters)
    generator, rates = torch.Generator().manual_seed(seed), []
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (128,), generator=generator)
        nets.backward(model, x[chosen], y[chosen])
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(x[chosen])
    return np.array(rates[1:])


def rise(rates: Any, first: int = 0) -> float:
    """How much higher the rate is from a fifth to half of the training than over eight steps from the first on."""
    return float(rates[STEPS // 5 : STEPS // 2].mean() / rates[first : first + 8].mean())


# Each claim is of all of 20 seeds: were it true of half of all trainings only, it would pass with 2^-20 < 1e-6.


@pytest.fixture(scope="module")
def cycles(nets: SimpleNamespace) -> list[Any]:
    """Rates of a network with batch norm, linear curve, no warm-up."""
    return [rates_of(nets, seed, normalised=True, warmup=0) for seed in range(SEEDS)]


def test_with_batch_norm_the_rate_rises_and_falls_without_warm_up(cycles: list[Any]) -> None:
    """As gradients shrink, ever greater rates have the same temperature; without a norm they grow at first."""
    for rates in cycles:
        assert rise(rates) > 1
        assert STEPS / 10 < int(np.argmax(rates)) < 3 * STEPS / 4
        assert rates[-1] < rates[0]


def test_the_more_the_curve_bends_the_less_and_the_earlier(nets: SimpleNamespace, cycles: list[Any]) -> None:
    for seed, rates in enumerate(cycles):
        bent = rates_of(nets, seed, normalised=True, warmup=0, gamma=4.0)
        assert rise(bent) < rise(rates)
        assert np.argmax(bent) < np.argmax(rates)


def test_without_a_norm_the_rate_rises_less(nets: SimpleNamespace, cycles: list[Any]) -> None:
    for seed, rates in enumerate(cycles):
        assert rise(rates_of(nets, seed, normalised=False, warmup=0)) < rise(rates)


def test_with_batch_norm_the_rate_rises_on_after_the_warm_up(nets: SimpleNamespace) -> None:
    for seed in range(SEEDS):
        rates = rates_of(nets, seed, normalised=True, warmup=0.1)
        assert rise(rates, first=STEPS // 10) > 1
        assert STEPS / 10 < int(np.argmax(rates)) < 3 * STEPS / 4


def by_heart(nets: SimpleNamespace, loss: str, **parameters: Any) -> tuple[Any, list[float]]:
    """Rates and accuracies of a training on 64 digits, in 400 steps that all see all of them."""
    x, y = (part[:64] for part in nets.digits())
    model = nets.mlp(64, 128, 128, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = ActCooLR(optimizer, model, 400, **parameters)
    rates, accuracies = [], []
    try:
        for _ in range(400):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.zero_grad()
            getattr(nn.functional, loss)(model(x), y).backward()
            optimizer.step()
            scheduler.step(x)
            accuracies.append(float((model(x).argmax(1) == y).float().mean()))
    except Diverged:
        assert parameters
    return np.array(rates), accuracies


@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin_loss"])
def test_what_was_learnt_by_heart_is_kept(nets: SimpleNamespace, loss: str) -> None:
    """Gradients vanish, so that ever greater rates would be needed: the rate stays below its limit. Seeded."""
    rates, accuracies = by_heart(nets, loss)
    assert min(accuracies[300:]) == 1.0
    line = max(rates[1:80]) * (400 - np.arange(80, 400)) / 320
    assert (rates[80:400] <= line * (1 + 1e-9)).all()
    # the limit holds the rate down, and is none by itself
    assert np.isclose(rates[80:400], line, rtol=1e-9).any()


def test_the_limit_may_be_any_multiple_and_none(nets: SimpleNamespace) -> None:
    """Seeded: what is shown is that the parameter counts."""
    rates, _ = by_heart(nets, "cross_entropy", max_growth=3.0)
    line = 3 * max(rates[1:80]) * (400 - np.arange(80, 400)) / 320
    assert (rates[80:400] <= line * (1 + 1e-9)).all()
    assert (rates[80:400] > line / 3 * (1 + 1e-9)).any()
    rates, _ = by_heart(nets, "cross_entropy", max_growth=math.inf)
    line = max(rates[1:80]) * (400 - np.arange(80, len(rates))) / 320
    assert (rates[80:] > 2 * line).any()
    rates, _ = by_heart(nets, "cross_entropy", warmup=0.0)
    line = max(rates[1:80]) * (400 - np.arange(80, len(rates))) / 320
    assert (rates[80:] > 1.5 * line).any()
