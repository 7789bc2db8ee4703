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
    scheduler = ActCooLR(optimizer, model, STEPS, t_start=1.0, max_step=math.inf, **parameters)
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
    """Gradients vanish, so that ever greater rates are needed, and weights grow. Seeded."""
    rates, accuracies = by_heart(nets, loss)
    assert len(rates) == 400
    assert min(accuracies[300:]) == 1.0


def test_without_a_limit_the_rate_runs_away(nets: SimpleNamespace) -> None:
    """Seeded: what is shown is that the parameter counts."""
    limited, _ = by_heart(nets, "cross_entropy")
    free, _ = by_heart(nets, "cross_entropy", max_step=math.inf)
    tight, _ = by_heart(nets, "cross_entropy", max_step=0.001)
    assert max(free) > 10 * max(limited) > 20 * max(tight)


@pytest.mark.parametrize("per_group", [False, True])
@pytest.mark.parametrize("warmup", [0.0, 0.5])
def test_no_step_is_longer_than_the_last_one_tells(nets: SimpleNamespace, per_group: bool, warmup: float) -> None:
    """The step at a rate is that of the last measurement, in proportion: its share of the weights' norm is limited."""
    model, steps, share = nets.mlp(8, 16, 16, 3), 40, 0.002
    parts = [list(model[place].parameters()) for place in (0, 2, 4)]
    groups = (
        [{"params": part} for part in parts] if per_group else [{"params": parts[0]}, {"params": parts[1] + parts[2]}]
    )
    optimizer = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    scheduler = ActCooLR(optimizer, model, steps, per_group=per_group, every=1, max_step=share, warmup=warmup)
    together = [range(0, 1), range(1, 2)] if per_group else [range(len(groups))]  # the last has no sites
    equal = [0] * len(together)
    longest, highest = [math.inf] * len(together), [0.0] * len(together)
    for step in range(steps):
        before = [[parameter.detach().clone() for parameter in group["params"]] for group in optimizer.param_groups]
        rates = [group["lr"] for group in optimizer.param_groups]
        left = 1.0 if step < warmup * steps else (steps - step) / (steps - warmup * steps)
        for place, numbers in enumerate(together):
            rate = rates[numbers[0]]
            limit = longest[place]
            if warmup and step >= warmup * steps:
                limit = max(min(limit, highest[place]), limit / 5)
            else:
                highest[place] = max(highest[place], rate)
            assert rate <= max(limit * left, 1e-10) * (1 + 1e-5)
            equal[place] += math.isclose(rate, limit * left, rel_tol=1e-5)
        nets.take(model, optimizer, scheduler, step)
        for place, numbers in enumerate(together):
            moved = weights = 0.0
            for number in numbers:
                for old, new in zip(before[number], optimizer.param_groups[number]["params"], strict=True):
                    moved += float((new.detach() - old).square().sum())
                    weights += float(old.square().sum())
            if step > (0 if warmup == 0 else 1):  # the first step is fitted, not measured
                longest[place] = share * rates[numbers[0]] * math.sqrt(weights / moved)
    assert all(count > 5 for count in equal)
