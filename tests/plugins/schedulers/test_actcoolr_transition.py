"""ActCooLR against a network whose transition is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr
from torch import nn

from reluscope.context import Diverged
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers.followed_transition import CEILING, ERRORS, FLOOR


class World:
    """P(rate) = Phi((ln rate - mu) / sigma), of as many patterns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mu: float, sigma: float, *, patterns: float = 1e9) -> None:
        self.mu, self.sigma, self.patterns = mu, sigma, patterns
        self.looked: list[float] = []
        self.measured_at: list[int] = []
        world = self

        class Probe:
            def __init__(self, model: Any, batch: Any, step: Any, tracks: Any, width: Any) -> None:
                self.step, self.ratios, self.sites = step, [1.0], [["site"]]

            def __call__(self, rate: float) -> Any:
                world.looked.append(rate)
                return np.array([world.share(rate)])

        def changes(taken: Any, model: Any, batch: Any, width: Any) -> dict[str, tuple[float, float, str]]:
            world.measured_at.append(world.scheduler.last_epoch)
            return {"site": (world.share(world.optimizer.param_groups[0]["lr"]), world.patterns, "")}

        monkeypatch.setattr("reluscope_plugins.schedulers.actcoolr.Probe", Probe)
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


def test_the_floor_that_a_warm_up_starts_at_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, -1.3, 1.2)
    scheduler = world.start(warmup=0.2)
    world.step()
    assert min(world.looked) > 1e-3
    assert len(world.looked) <= 5
    assert math.isnan(scheduler.measured[0])
    assert (scheduler.mu[0], scheduler.sigma[0]) == pytest.approx((-1.3, 1.2), rel=1e-6)


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
    assert scheduler.transitions[0].errors == 0


@pytest.mark.parametrize("away", [-60.0, 60.0])
def test_all_or_no_patterns_where_half_were_expected_lead_to_a_new_fit(
    monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    world = World(monkeypatch, -2.0, 0.5, patterns=100)
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
    world = World(monkeypatch, -2.0, 0.5, patterns=100)
    scheduler = world.start(total_steps=100, t_start=1.0, every=1)
    world.step(99)
    mu = scheduler.mu[0]
    world.share = lambda rate: 0.0  # type: ignore[method-assign]
    world.step()
    # of 100 patterns 0.7 were expected to change
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
    scheduler = world.start(total_steps=500, max_step=math.inf)
    off = []
    for step in range(500):
        if step:
            off.append(world.share(scheduler.get_last_lr()[0]) - scheduler.target(step))
        world.step()
        world.mu += drift
    # mu moves by 0.16 between measurements, which is at most 0.16 / sqrt(2 pi) in P; held, it would be 10 off
    assert np.abs(off).max() < 0.07
    assert scheduler.fits == 1
