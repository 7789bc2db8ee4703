"""ActCooLR against a network whose transition is known, against itself interrupted, and in real trainings."""

from __future__ import annotations

import io
import math
import os
import signal
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from torch import nn

import reluscope as rs
from reluscope import random_state
from reluscope.context import Context, Diverged, Interrupted
from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers import actcoolr as build
from reluscope_plugins.schedulers.actcoolr import CEILING, ERRORS, FLOOR
from reluscope_plugins.temperature.distance import pattern_distances


class Tied(nn.Module):
    """Dropout, batch norm, spectral norm and a weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 32)
        self.norm = nn.BatchNorm1d(32)
        self.second = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(32, 32))
        self.third = nn.Linear(32, 32)
        self.fourth = nn.Linear(32, 32)
        self.fourth.weight = self.third.weight
        self.last = nn.Linear(32, 3)
        self.dropout = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.norm(self.first(x)))
        h = self.dropout(torch.relu(self.second(h)))
        return self.last(torch.relu(self.fourth(torch.relu(self.third(h)))))


OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "sgd": lambda parameters, lr: torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-3),
    "adamw": lambda parameters, lr: torch.optim.AdamW(parameters, lr=lr),
}


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def batch_of(step: int, size: int = 64, features: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(size, features, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def backward(model: nn.Module, x: Any, y: torch.Tensor) -> None:
    model.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()


def take(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: ActCooLR, step: int) -> float:
    """Take a step; return the rate that it was taken at."""
    x, y = batch_of(step)
    rate = float(optimizer.param_groups[0]["lr"])
    backward(model, x, y)
    optimizer.step()
    scheduler.step(x)
    return rate


def tensors_of(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        return [tensor for key in sorted(state, key=str) for tensor in tensors_of(state[key])]
    return [tensor for one in state for tensor in tensors_of(one)] if isinstance(state, list | tuple) else []


def same(first: Any, second: Any) -> bool:
    one, other = tensors_of(first), tensors_of(second)
    return len(one) == len(other) and all(map(torch.equal, one, other))


# A network of which only the transition is known.


class World:
    """P(rate) = Phi((ln rate - mu) / sigma), of as many rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mu: float, sigma: float, *, rows: int = 10**9) -> None:
        self.mu, self.sigma, self.rows = mu, sigma, rows
        self.looked: list[float] = []
        self.measured_at: list[int] = []
        world = self

        class Probe:
            def __init__(self, model: Any, batch: Any, step: Any, tracks: Any, width: Any) -> None:
                self.step, self.ratios, self.rows = step, [1.0], [world.rows]

            def __call__(self, rate: float) -> Any:
                world.looked.append(rate)
                return np.array([world.share(rate)])

        def changes(taken: Any, model: Any, batch: Any, width: Any) -> dict[str, tuple[float, int, str]]:
            world.measured_at.append(world.scheduler.last_epoch)
            return {"site": (world.share(world.optimizer.param_groups[0]["lr"]), world.rows, "")}

        monkeypatch.setattr("reluscope_plugins.schedulers.actcoolr._Probe", Probe)
        monkeypatch.setattr("reluscope_plugins.schedulers.taken_step.TakenStep.changes", changes)
        self.weight = nn.Parameter(torch.ones(1))
        self.weight.grad = torch.zeros(1)
        self.optimizer = torch.optim.SGD([self.weight], lr=0.1)

    def share(self, rate: float) -> float:
        return float(ndtr((math.log(rate) - self.mu) / self.sigma))

    def start(self, total_steps: int = 1000, **parameters: Any) -> ActCooLR:
        self.scheduler = ActCooLR(self.optimizer, nn.Linear(1, 1), total_steps, **{"warmup": 0, **parameters})
        return self.scheduler

    def step(self, times: int = 1) -> None:
        for _ in range(times):
            self.optimizer.step()
            self.scheduler.step(torch.zeros(4, 1))


@given(mu=st.floats(-20, 10), sigma=st.floats(0.05, 5))
def test_the_first_fit_finds_the_transition(mu: float, sigma: float) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(monkeypatch, mu, sigma)
        scheduler = world.start()
        world.step()
        assert scheduler.mu[0] == pytest.approx(mu, abs=1e-4)
        assert scheduler.sigma[0] == pytest.approx(sigma, rel=1e-4)
        # 0.1 is measured first; 3 from the guess, 25 on the grid, and a search that doubles or halves
        assert len(world.looked) <= 1 + 3 + 25 + 50 + 20
        expected = math.log(scheduler.get_last_lr()[0])
        assert world.share(math.exp(expected)) == pytest.approx(scheduler.target(1), abs=1e-3) or expected <= -23


def test_a_transition_near_the_first_guess_takes_few_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -1.3, 1.2)
    world.start()
    world.step()
    assert len(world.looked) <= 6


def test_a_rate_that_one_group_has_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -2.0, 1.0)
    world.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.001})
    scheduler = world.start()
    world.step(30)
    first, second = scheduler.get_last_lr()
    assert second == pytest.approx(first / 100, rel=1e-12)


def test_mu_follows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -2.0, 1.0)
    scheduler = world.start()
    world.step(40)
    for move in (0.3, -0.4, 1.5, -2.0):
        world.mu += move
        before = len(world.measured_at)
        while len(world.measured_at) == before:
            world.step()
        assert scheduler.mu[0] == pytest.approx(world.mu, abs=1e-6)
        assert scheduler.sigma[0] == pytest.approx(1.0, rel=1e-6)
    assert scheduler.fits == 1


@pytest.mark.parametrize(("total_steps", "gap"), [(500, 8), (1000, 10), (3000, 30), (6400, 64), (100_000, 64)])
def test_measurements_are_as_rare_as_asked_for_while_mu_stays(
    total_steps: int, gap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, -2.0, 1.0)
    scheduler = world.start(total_steps=total_steps, every=8)
    world.step(min(900, total_steps - 50))
    gaps = np.diff(world.measured_at)
    assert gaps.max() == gap
    assert (gaps[7:] == gap).all()
    assert len(gaps) > 8
    assert scheduler.probes == len(world.looked) + 1 + 2 * len(world.measured_at)
    world.mu += 1.5
    before = len(world.measured_at)
    world.step(gap + 2)
    assert 1 in np.diff(world.measured_at[before:])


def far(world: World, times: int) -> None:
    """Let as many measurements be more than 2.5 off."""
    for _ in range(times):
        world.mu += 3.0 if world.mu < 0 else -3.0
        before = len(world.measured_at)
        while len(world.measured_at) == before:
            world.step()


def test_five_large_errors_in_a_row_and_not_four_lead_to_a_new_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -1.0, 2.0)
    scheduler = world.start()
    world.step()
    for _ in range(3):
        far(world, ERRORS - 1)
        world.step(20)  # a measurement that is not off starts the count anew
        assert scheduler.fits == 1
    far(world, ERRORS)
    world.sigma = 1.5
    assert scheduler.stale
    world.step()
    assert scheduler.fits == 2
    assert (scheduler.mu[0], scheduler.sigma[0]) == pytest.approx((world.mu, 1.5), rel=1e-6)
    assert not scheduler.stale
    assert scheduler.errors == [0]


@pytest.mark.parametrize("away", [-60.0, 60.0])
def test_all_or_no_patterns_where_half_were_expected_lead_to_a_new_fit(
    monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    world = World(monkeypatch, -2.0, 0.5, rows=100)
    scheduler = world.start(t_start=1.0, every=1)
    world.step(3)
    world.mu += away
    world.step()
    assert scheduler.measured == [0.0 if away > 0 else 1.0]
    assert scheduler.stale
    world.mu -= away - 5
    world.step()
    assert scheduler.fits == 2
    assert scheduler.mu[0] == pytest.approx(world.mu, abs=1e-4)


def test_that_none_changed_is_no_news_where_hardly_any_were_expected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -2.0, 0.5, rows=100)
    scheduler = world.start(total_steps=100, t_start=1.0, every=1)
    world.step(99)
    mu = scheduler.mu[0]
    world.share = lambda rate: 0.0  # type: ignore[method-assign]
    world.step()
    # of 100 rows 0.7 were expected to change
    assert (scheduler.measured, scheduler.fits, scheduler.stale) == ([0.0], 1, False)
    assert mu <= scheduler.mu[0] < mu + 0.1
    assert scheduler.get_last_lr() == [FLOOR]


def test_a_transition_that_is_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 0.0, 1.0)
    world.share = lambda rate: float(rate > 0.0123)  # type: ignore[method-assign]
    scheduler = world.start()
    world.step()
    assert scheduler.mu[0] == pytest.approx(math.log(0.0123), abs=1e-3)
    assert 0 < scheduler.sigma[0] < 1e-3


def test_shares_that_fall_as_the_rate_rises_move_mu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 0.0, 1.0)
    world.share = lambda rate: 0.8 if rate < 1e-3 else 0.2  # type: ignore[method-assign]
    scheduler = world.start()
    world.step()
    assert scheduler.sigma == [1.0]
    assert math.isfinite(scheduler.mu[0])


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "changes no pattern at all learning rates .* gradients vanish"), (1.0, "changes every pattern .* lower")],
)
def test_no_transition_at_all(monkeypatch: pytest.MonkeyPatch, share: float, words: str) -> None:
    world = World(monkeypatch, 0.0, 1.0)
    world.share = lambda rate: share  # type: ignore[method-assign]
    world.start()
    with pytest.raises(Diverged, match=words):
        world.step()
    assert len(set(world.looked)) == len(world.looked)
    assert FLOOR <= min(world.looked) <= max(world.looked) <= CEILING


def test_a_rate_above_the_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, 25.0, 1.0)
    world.start()
    with pytest.raises(Diverged, match=r"step 1 a share .* expected at most 1e\+10: the training diverges"):
        world.step()


def test_a_rate_below_the_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -26.0, 1.0)
    scheduler = world.start()
    world.step(3)
    assert scheduler.get_last_lr() == [FLOOR]


@pytest.mark.parametrize("drift", [-0.02, 0.02])
def test_the_temperature_stays_on_its_curve_while_the_network_drifts(
    monkeypatch: pytest.MonkeyPatch, drift: float
) -> None:
    world = World(monkeypatch, -2.0, 1.0)
    scheduler = world.start(total_steps=500, max_growth=math.inf)
    off = []
    for step in range(500):
        if step:
            off.append(world.share(scheduler.get_last_lr()[0]) - scheduler.target(step))
        world.step()
        world.mu += drift
    # mu moves by 0.16 between measurements, which is at most 0.16 / sqrt(2 pi) in P; held, it would be 10 off
    assert np.abs(off).max() < 0.07
    assert scheduler.fits == 1


# The curves.


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
        wanted = 1 - 2 ** (-t_start * left) if curve == "temperature" else 0.99 * (1 - 2**-t_start) * left
        assert scheduler.target(step) == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert scheduler.target(40) == 0.0


# Real networks.


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_it_is_an_ordinary_scheduler(name: str) -> None:
    torch.manual_seed(0)
    model = Tied()
    optimizer = OPTIMIZERS[name](model.parameters(), 0.01)
    scheduler = ActCooLR(optimizer, model, 12, t_start=1.0)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert scheduler.get_last_lr() == [0.01]
    for step in range(12):
        take(model, optimizer, scheduler, step)
        assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        assert scheduler.last_epoch == step + 1
    assert scheduler.get_last_lr() == [FLOOR]
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded == scheduler.state_dict()
    with pytest.raises(RecipeError, match="step 13 of a schedule built for 12"):
        take(model, optimizer, scheduler, 12)


def groups_of(model: Tied, lr: float) -> list[dict[str, Any]]:
    first = [*model.first.parameters(), *model.norm.parameters()]
    rest = [p for p in model.parameters() if all(p is not other for other in first)]
    return [{"params": first, "lr": lr}, {"params": rest, "lr": lr / 3}]


@pytest.mark.parametrize("per_group", [False, True])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_resumed_at_any_step_it_ends_as_if_never_interrupted(name: str, per_group: bool) -> None:
    def start(lr: float) -> tuple[Tied, torch.optim.Optimizer, ActCooLR]:
        model = Tied()
        optimizer = OPTIMIZERS[name](groups_of(model, lr), lr)
        return model, optimizer, ActCooLR(optimizer, model, 20, t_start=1.5, every=4, per_group=per_group)

    torch.manual_seed(0)
    whole = start(0.01)
    saved, rates = [], []
    for step in range(20):
        file = io.BytesIO()
        torch.save([*(one.state_dict() for one in whole), random_state.capture()], file)
        saved.append(file.getvalue())
        rates.append(take(*whole, step))
    measured = whole[2].probes
    for begin in range(1, 20):
        torch.manual_seed(5)
        again = start(0.5)
        *states, randomness = torch.load(io.BytesIO(saved[begin]), weights_only=True)
        for one, state in zip(again, states, strict=True):
            one.load_state_dict(state)
        random_state.restore(randomness)
        assert [take(*again, step) for step in range(begin, 20)] == rates[begin:]
        assert same(again[0].state_dict(), whole[0].state_dict())
        assert same(again[1].state_dict(), whole[1].state_dict())
        assert again[2].probes == measured


def test_a_state_of_other_groups_is_refused() -> None:
    model = Tied()
    state = ActCooLR(torch.optim.SGD(model.parameters(), lr=0.1), model, 5).state_dict()
    other = ActCooLR(torch.optim.SGD(groups_of(model, 0.1)), model, 5)
    with pytest.raises(RecipeError, match="a state of 1 parameter groups, expected 2"):
        other.load_state_dict(state)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_a_training_does_not_notice(name: str) -> None:
    def train(start: Callable[[nn.Module, torch.optim.Optimizer], Any], lr: float) -> tuple[list[Any], list[float]]:
        torch.manual_seed(0)
        model = Tied()
        optimizer = OPTIMIZERS[name](model.parameters(), lr)
        scheduler = start(model, optimizer)
        rates = []
        for step in range(30):
            x, y = batch_of(step)
            rates.append(optimizer.param_groups[0]["lr"])
            backward(model, x, y)
            gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
            scheduler.step(x) if isinstance(scheduler, ActCooLR) else scheduler.step()
            assert same(gradients, {key: p.grad for key, p in model.named_parameters()})
        return [model.state_dict(), optimizer.state_dict()["state"], random_state.capture()], rates

    cooled, rates = train(lambda model, optimizer: ActCooLR(optimizer, model, 30, t_start=1.5, every=3), 0.02)
    replayed, again = train(
        lambda model, optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: [*rates, 0.0][i]), 1.0
    )
    assert again == rates
    assert len(set(rates)) == 30
    assert same(cooled, replayed)


def equivalent_distance(model: nn.Module, x: Any, step: rs.OptimizerStep, width: int) -> float:
    """Mean over the sites of 1 - (1 - q)^width, q the share of units whose state changes, from patterns as bools."""
    before = rs.observe(model, x)
    with step.taken(step.rate):
        after = rs.observe(model, x)
    flips = [float((before.pattern[site] != after.pattern[site]).double().mean()) for site in before.sites]
    return float(np.mean([1 - (1 - q) ** width for q in flips]))


@pytest.mark.parametrize("width", [0, 64, 7])
@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict", "double", "resnet18"])
@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_what_it_measures_is_the_pattern_distance(name: str, kind: str, width: int) -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp(8, 64, 64, 3)

        def forward(self, x: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
            return self.inner(x + shift)

    torch.manual_seed(0)
    model: nn.Module = Sum() if kind in ("tuple", "dict") else mlp(8, 64, 64, 3)
    if kind == "resnet18":
        if name == "sgd" or width == 7:
            pytest.skip("one optimizer, and one width, is enough for a large network")
        model = rs.Lab().architectures["torchvision"].build(model="resnet18", num_classes=3)
    model = model.double() if kind == "double" else model
    steps = 2 if kind == "resnet18" else 12
    samples = 4 if kind == "resnet18" else 40
    optimizer = OPTIMIZERS[name](model.parameters(), 0.01)
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0, every=2, samples=samples, width=width)
    compared = 0
    for step in range(steps):
        if kind == "resnet18":
            generator = torch.Generator().manual_seed(step)
            x: Any = torch.randn(8, 3, 32, 32, generator=generator)
            y = torch.arange(8) % 3
        else:
            x, y = batch_of(step)
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


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = rs.Lab().datasets["digits"].load("train", Path()).tensors  # type: ignore[attr-defined]
    return x.flatten(1), y


@pytest.mark.parametrize("curve", ["temperature", "probability"])
def test_the_network_cools_down_along_the_curve(curve: Any) -> None:
    # Seeded; over three seeds the mean difference was at most 0.02 and the mean magnitude 0.05, with either curve.
    x, y = digits()
    model = mlp(64, 128, 128, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 160, t_start=1.0, curve=curve, width=0)
    differences, rates = [], []
    for step in range(160):
        chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(step))[:128]
        backward(model, x[chosen], y[chosen])
        taken = rs.OptimizerStep(optimizer)
        measured = float(pattern_distances(model, x[chosen], taken, [taken.rate]).mean())
        rates.append(taken.rate)
        optimizer.step()
        if step:
            differences.append(measured - scheduler.target(step))
        scheduler.step(x[chosen])
    assert abs(np.mean(differences)) < 0.06
    assert np.mean(np.abs(differences)) < 0.12
    highest = int(np.argmax(rates))
    assert 8 <= highest < 152
    assert rates[-1] < rates[highest] / 10
    assert scheduler.get_last_lr() == [FLOOR]
    assert scheduler.fits <= 5
    assert float((model(x).argmax(1) == y).float().mean()) > 0.8


@pytest.mark.slow
def test_the_rate_of_a_residual_network_rises_and_falls() -> None:
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(10, 3, 8, 8, generator=generator)
    model = rs.Lab().architectures["resnet"].build(depth=8, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = ActCooLR(optimizer, model, 120)
    rates = []
    for _ in range(120):
        y = torch.randint(10, (64,), generator=generator)
        x = nn.functional.interpolate(means[y], 32) + torch.randn(64, 3, 32, 32, generator=generator)
        backward(model, x, y)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(x)
    highest = int(np.argmax(rates))
    # how deep it falls is another matter: where the loss vanishes, and the gradients with it, the rate must not
    assert 6 <= highest < 114
    assert rates[-1] < rates[highest] / 2
    assert scheduler.get_last_lr() == [FLOOR]


def test_gradients_that_are_not_finite() -> None:
    model = mlp(8, 64, 64, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 50, t_start=1.0, every=1)
    model[0].weight.grad = torch.full_like(model[0].weight, math.nan)
    with pytest.raises(Diverged, match=r"diverged at step 0: the gradient of parameter 0 of group 0"):
        optimizer.step()
    for step in range(5):
        take(model, optimizer, scheduler, step)
    x, y = batch_of(5)
    backward(model, x, y)
    model[0].weight.grad.fill_(math.nan)
    optimizer.step()
    with pytest.raises(Diverged, match=r"diverged at step 5: .* '1#0' holds 2560 NaN among 2560 values"):
        scheduler.step(x[:40])


@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler_and_a_step_that_it_skips(fused: bool) -> None:
    def train(scaler: Any, bad: int | None) -> tuple[list[float], ActCooLR, nn.Module]:
        model = mlp(8, 64, 64, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=fused)
        scheduler = ActCooLR(optimizer, model, 20, t_start=1.0, every=2)
        rates = []
        for step in range(20):
            x, y = batch_of(step)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if step == bad:
                model[0].weight.grad[0, 0] = math.inf
            rates.append(optimizer.param_groups[0]["lr"])
            probes = scheduler.probes
            scaler.step(optimizer)
            scaler.update()
            scheduler.step(x)
            if step == bad:
                assert scheduler.probes == probes
        return rates, scheduler, model

    plain, _, first = train(torch.amp.GradScaler("cpu", enabled=False), None)
    scaled, _, second = train(torch.amp.GradScaler("cpu", init_scale=2.0**10), None)
    assert scaled == plain
    assert same(first.state_dict(), second.state_dict())
    for bad in range(5, 9):
        rates, scheduler, model = train(torch.amp.GradScaler("cpu", init_scale=2.0**10), bad)
        assert rates[: bad + 1] == plain[: bad + 1]
        assert scheduler.fits == 1
        assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_parameter_groups_keep_their_ratio() -> None:
    torch.manual_seed(0)
    model = Tied()
    optimizer = torch.optim.SGD(groups_of(model, 0.03))
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0)
    for step in range(19):
        take(model, optimizer, scheduler, step)
        first, second = scheduler.get_last_lr()
        assert second == pytest.approx(first / 3, rel=1e-12)


class Uneven(nn.Module):
    """Two branches, of which one is a thousand times as sensitive, for its weights are as small as its rate is not."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.small, self.last = nn.Linear(8, 64), nn.Linear(8, 64), nn.Linear(128, 3)
        with torch.no_grad():
            self.small.weight.mul_(1e-3)
            self.small.bias.mul_(1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([torch.relu(self.plain(x)), 1e3 * torch.relu(self.small(x))], 1))


def test_each_group_gets_its_own_rate() -> None:
    def worst(per_group: bool) -> float:
        torch.manual_seed(0)
        model = Uneven()
        optimizer = torch.optim.SGD(
            [{"params": list(part.parameters())} for part in (model.plain, model.last, model.small)], lr=1e-4
        )
        scheduler = ActCooLR(optimizer, model, 60, t_start=1.0, per_group=per_group, width=0)
        off = []
        for step in range(60):
            x, y = batch_of(step)
            backward(model, x, y)
            taken = rs.OptimizerStep(optimizer)
            shares = pattern_distances(model, x, taken, [taken.rate])[0].values
            optimizer.step()
            if step:
                off.append(np.abs(shares - scheduler.target(step)).max())
            scheduler.step(x)
            rates = scheduler.get_last_lr()
            if per_group and step < 59:
                assert rates[1] == pytest.approx(math.sqrt(rates[0] * rates[2]), rel=1e-9)
                assert math.isnan(scheduler.measured[1])
        return float(np.mean(off))

    one, own = worst(False), worst(True)
    assert own < 0.5 * one
    assert own < 0.15


def test_no_site_of_any_group() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ActCooLR(optimizer, model, 5, per_group=True)
    with pytest.raises(ObservationError, match="no activation site comes right after"):
        take(model, optimizer, scheduler, 0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    torch.manual_seed(0)
    model = Tied().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0)
    for step in range(20):
        x, y = (one.cuda() for one in batch_of(step))
        backward(model, x, y)
        optimizer.step()
        scheduler.step(x)
    assert scheduler.get_last_lr() == [FLOOR]
    assert scheduler.fits == 1


# Wrong input.


def test_no_batch() -> None:
    model = mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    backward(model, *batch_of(0))
    optimizer.step()
    with pytest.raises(ObservationError, match=r"got no batch.*scheduler\.step\(x\)"):
        scheduler.step()


def test_a_closure() -> None:
    model = mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    ActCooLR(optimizer, model, 5)
    with pytest.raises(ObservationError, match="got a closure"):
        optimizer.step(lambda: torch.zeros(()))
    with pytest.raises(ObservationError, match="got a closure"):
        optimizer.step(closure=lambda: torch.zeros(()))


def test_lbfgs() -> None:
    model = mlp(8, 16, 3)
    with pytest.raises(ObservationError, match="LBFGS evaluates the loss several times"):
        ActCooLR(torch.optim.LBFGS(model.parameters()), model, 5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"total_steps": 0}, "total_steps is 0, expected an integer of at least 1"),
        ({"total_steps": 2.5}, "total_steps is 2.5"),
        ({"t_start": 0}, "t_start is 0, expected a number above 0"),
        ({"t_start": math.nan}, "t_start is nan"),
        ({"gamma": -1}, "gamma is -1"),
        ({"curve": "temprature"}, "Did you mean 'temperature'"),
        ({"samples": 0}, "samples is 0, expected an integer of at least 1"),
        ({"every": 1.5}, "every is 1.5"),
        ({"every": True}, "every is True"),
        ({"warmup": 1.0}, "warmup is 1.0, expected a share from 0 to below 1"),
        ({"warmup": -0.1}, "warmup is -0.1"),
    ],
)
def test_wrong_parameters(parameters: dict[str, Any], words: str) -> None:
    model = mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with pytest.raises(RecipeError, match=words):
        ActCooLR(optimizer, model, **{"total_steps": 5, **parameters})


def test_a_network_without_activation() -> None:
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    with pytest.raises(ObservationError, match="called no activation function"):
        take(model, optimizer, scheduler, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [torch.zeros(4, 9), torch.zeros(0, 8), torch.zeros(()), 3.0])
def test_a_wrong_batch(wrong: Any) -> None:
    model = mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 5)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    backward(model, *batch_of(0))
    optimizer.step()
    moved = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises((ObservationError, RuntimeError)):
        scheduler.step(wrong)
    assert same(model.state_dict(), moved)
    assert not same(moved, weights)


# Recipes.


def table(**changes: Any) -> dict[str, Any]:
    return {
        "title": "A training",
        "procedure": "train",
        "epochs": 3,
        "batch_size": 300,
        "flush_seconds": 0.0,
        "dataset": {"name": "digits"},
        "architecture": {"name": "mlp", "widths": [64, 32, 10]},
        "optimizer": {"name": "sgd", "learning_rate": 0.01, "momentum": 0.5},
        "scheduler": {"name": "actcoolr", "t_start": 1.0, "every": 4},
        **changes,
    }


def test_in_a_recipe_and_resumed_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = rs.Lab()
    expected = rs.run(table(), lab=lab)
    rates = expected["step"]["rate"].values
    assert rates.shape == (15,)
    assert rates[0] == pytest.approx(0.01)
    assert len(np.unique(rates)) == 15
    checkpoint, left = Context.checkpoint, [7]

    def interrupted(context: Context, state: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        checkpoint(context, state)

    monkeypatch.setattr(Context, "checkpoint", interrupted)
    with pytest.raises(Interrupted):
        rs.run(table(), lab=lab, out=tmp_path / "run.nc")
    resumed = rs.run(table(), lab=lab, out=tmp_path / "run.nc", resume=True)
    for group in ("step", "epoch"):
        assert resumed[group].to_dataset().equals(expected[group].to_dataset())


def test_by_name() -> None:
    model = mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    entry = rs.Lab().schedulers["actcoolr"]
    assert entry.batch
    scheduler = entry.build(optimizer, total_steps=7, model=model, base=0.2, gamma=2.0, per_group=True)
    assert isinstance(scheduler, ActCooLR)
    assert (scheduler.total_steps, scheduler.gamma, scheduler.per_group) == (7, 2.0, True)
    assert scheduler.get_last_lr() == [0.2]
    assert build.actcoolr(optimizer, total_steps=7, model=model).get_last_lr() == [0.2]


# Where a site is.


def after_of(model: nn.Module, x: torch.Tensor) -> dict[str, str]:
    observation = rs.observe(model.eval(), x, patterns_only=True)
    return {name: observation.site[name].after for name in (*observation.sites, *observation.pools)}


def test_sites_know_the_module_that_they_come_after() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.Dropout(), nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU())
    assert after_of(model, torch.randn(3, 4)) == {"0#0": "", "3#0": "1", "5#0": "4"}


def test_functional_calls_know_the_module_that_they_come_after() -> None:
    assert after_of(Tied(), torch.randn(3, 8)) == {
        "relu#0": "norm",
        "relu#1": "second",
        "relu#2": "third",
        "relu#3": "fourth",
    }


def test_sites_of_a_resnet18_come_after_their_norm() -> None:
    model = rs.Lab().architectures["torchvision"].build(model="resnet18", num_classes=3)
    after = after_of(model, torch.randn(2, 3, 32, 32))
    assert after["relu#0"] == "bn1"
    assert after["maxpool#0"] == "bn1"
    assert after["layer1.0.relu#0"] == "layer1.0.bn1"
    assert after["layer1.0.relu#1"] == "layer1.0.bn2"
    assert after["layer2.0.relu#1"] == "layer2.0.downsample.1"
    assert len(after) == 18


def test_a_norm_without_parameters_owns_no_site() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 2))
    assert rs.observe(model, torch.randn(6, 3)).site["2#0"].after == "0"


@pytest.mark.parametrize("loss", ["cross_entropy", "multi_margin_loss"])
def test_what_was_learnt_by_heart_is_kept(loss: str) -> None:
    """Gradients vanish, so that ever greater rates would be needed: the rate stays below its limit. Seeded."""
    x, y = (part[:64] for part in digits())
    model = mlp(64, 128, 128, 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    scheduler = ActCooLR(optimizer, model, 400)
    for step in range(400):
        optimizer.zero_grad()
        getattr(nn.functional, loss)(model(x), y).backward()
        optimizer.step()
        scheduler.step(x)
        assert scheduler.get_last_lr()[0] <= (scheduler.limits[0] if scheduler.fits else 0.05)
        assert step < 300 or bool((model(x).argmax(1) == y).all())
