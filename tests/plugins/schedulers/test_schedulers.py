"""Each schedule against a slow formula, and against itself stopped in the middle."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import schedulers

LAB = Lab(plugins=[schedulers])
PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "constant": {"base": 0.05},
    "step_decay": {"base": 0.05},
    "one_cycle": {"peak": 0.4},
    "cyclic": {"base": 0.01, "peak": 0.2, "cycles": 3},
    "exponential": {"base": 0.05},
    "cosine": {"base": 0.05, "warmup": 0.25},
    "abel": {"base": 0.05, "checks": 5},
}
BAD: list[tuple[str, dict[str, Any], str]] = [
    ("constant", {"base": 0}, "base is 0, expected a number above 0"),
    ("constant", {"base": "high"}, "base is 'high'"),
    ("step_decay", {"base": -0.1}, "base is -0.1"),
    ("step_decay", {"base": math.nan}, "base is nan"),
    ("step_decay", {"gamma": 0}, "gamma is 0"),
    ("step_decay", {"milestones": [0.75, 0.5]}, "milestones are"),
    ("step_decay", {"milestones": [0.5, 0.5]}, "milestones are"),
    ("step_decay", {"milestones": [0.5, 1.5]}, "milestones hold 1.5"),
    ("step_decay", {"milestones": [-0.5]}, "milestones hold -0.5"),
    ("step_decay", {"milestones": [math.nan]}, "milestones hold nan"),
    ("step_decay", {"milestones": ["half"]}, "milestones hold 'half'"),
    ("step_decay", {"milestones": 0.5}, "milestones is 0.5"),
    ("one_cycle", {"peak": 0}, "peak is 0"),
    ("one_cycle", {"peak": -1.0}, "peak is -1.0"),
    ("one_cycle", {"peak": math.inf}, "peak is inf"),
    ("one_cycle", {"peak": True}, "peak is True"),
    ("one_cycle", {}, "parameter 'peak' is missing"),
    ("one_cycle", {"peak": 1.0, "pct_start": 1}, "pct_start is 1"),
    ("one_cycle", {"peak": 1.0, "div_factor": 0}, "div_factor is 0"),
    ("one_cycle", {"peak": 1.0, "anneal_strategy": "line"}, "Did you mean 'linear'"),
    ("cyclic", {"base": 0.1, "peak": 0.1}, "expected a peak above the base"),
    ("cyclic", {"base": 0.1, "peak": 0}, "peak is 0"),
    ("cyclic", {"base": 0.1, "peak": 1.0, "cycles": 2, "period": 5}, "give one of them"),
    ("cyclic", {"base": 0.1, "peak": 1.0, "cycles": 19}, "expected at least 2"),
    ("cyclic", {"base": 0.1, "peak": 1.0, "period": 1}, "expected at least 2"),
    ("cyclic", {"base": 0.1, "peak": 1.0, "mode": "triangle"}, "Did you mean 'triangular'"),
    ("cyclic", {"base": 0.1, "peak": 1.0, "cycle_momentum": True}, "runs without momentum"),
    ("one_cycle", {"peak": 1.0, "cycle_momentum": True}, "runs without momentum"),
    ("step_decay", {"gama": 0.5}, "Did you mean 'gamma'"),
]


def make_optimizer(kind: str = "sgd", rates: tuple[float, ...] = (0.3,), **options: Any) -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(2))], "lr": rate} for rate in rates]
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[kind](groups, **options)


def trace(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[tuple[float, Any]]]:
    """Rate and momentum in force at each step, for each parameter group."""
    seen = []
    for _ in range(steps):
        seen.append([(float(g["lr"]), g.get("betas", g.get("momentum"))) for g in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return seen


def rates_of(name: str, total_steps: int, **params: Any) -> list[float]:
    optimizer = make_optimizer()
    scheduler = LAB.schedulers[name].build(optimizer, total_steps=total_steps, **params)
    return [step[0][0] for step in trace(optimizer, scheduler, total_steps)]


@given(base=st.floats(1e-6, 10), total=st.integers(1, 60))
def test_constant_stays(base: float, total: int) -> None:
    assert rates_of("constant", total, base=base) == [base] * total
    assert rates_of("constant", total) == [0.3] * total


def test_step_decay_divides_by_ten_after_half_and_at_the_last_quarter() -> None:
    assert rates_of("step_decay", 8, base=1.0) == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01], rel=1e-12)
    assert rates_of("step_decay", 8)[:4] == [0.3] * 4


@given(
    total=st.integers(1, 60),
    gamma=st.floats(0.01, 2),
    milestones=st.lists(st.integers(0, 20).map(lambda n: n / 20), unique=True, max_size=4).map(sorted),
)
def test_step_decay_formula(total: int, gamma: float, milestones: list[float]) -> None:
    expected = []
    for step in range(total):
        rate = 0.5
        for fraction in milestones:
            if step >= round(fraction * total):
                rate *= gamma
        expected.append(rate)
    assert rates_of("step_decay", total, base=0.5, gamma=gamma, milestones=milestones) == pytest.approx(
        expected, rel=1e-12
    )


def one_cycle_rate(step: int, total: int, peak: float, share: float, strategy: str) -> float:
    first, last, top = peak / 25, peak / 25 / 1e4, share * total - 1
    start, end, done = (first, peak, step / top) if step <= top else (peak, last, (step - top) / (total - 1 - top))
    weight = done if strategy == "linear" else (1 - math.cos(math.pi * done)) / 2
    return start + (end - start) * weight


@given(
    total=st.integers(4, 80),
    peak=st.floats(1e-4, 10),
    # A rise of exactly one step is on its own below.
    share=st.sampled_from([0.31, 0.47, 0.63]),
    strategy=st.sampled_from(["cos", "linear"]),
)
def test_one_cycle_formula(total: int, peak: float, share: float, strategy: str) -> None:
    got = rates_of("one_cycle", total, peak=peak, pct_start=share, anneal_strategy=strategy)
    expected = [one_cycle_rate(step, total, peak, share, strategy) for step in range(total)]
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-12 * peak)


@given(total=st.integers(1, 80), share=st.floats(0.01, 0.99), strategy=st.sampled_from(["cos", "linear"]))
def test_one_cycle_stays_within_its_bounds_for_any_length(total: int, share: float, strategy: str) -> None:
    for rate in rates_of("one_cycle", total, peak=1.0, pct_start=share, anneal_strategy=strategy):
        assert 1 / 25 / 1e4 * (1 - 1e-6) <= rate <= 1 + 1e-9


def test_one_cycle_with_a_rise_of_one_step() -> None:
    rates = rates_of("one_cycle", 10, peak=1.0, pct_start=0.1)
    assert rates[0] == pytest.approx(1 / 25)
    assert rates[1] == pytest.approx(
        one_cycle_rate(1, 10, 1.0, 0.1, "cos") if False else (1 + math.cos(math.pi / 9)) / 2
    )


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle_holds_its_last_rate_and_refuses_more_steps(strategy: str) -> None:
    optimizer = make_optimizer()
    scheduler = LAB.schedulers["one_cycle"].build(optimizer, total_steps=10, peak=1.0, anneal_strategy=strategy)
    last = trace(optimizer, scheduler, 10)[-1][0][0]
    assert optimizer.param_groups[0]["lr"] == last == pytest.approx(1 / 25 / 1e4)
    optimizer.step()
    with pytest.raises(RecipeError, match=r"step 11 of a schedule built for 10"):
        scheduler.step()


def zigzag(step: int, base: float, peak: float, period: float, mode: str) -> float:
    cycle = math.floor(step / period)
    place = step / period - cycle
    height = 2 * place if place <= 0.5 else 2 - 2 * place
    return base + (peak - base) * height / (2**cycle if mode == "triangular2" else 1)


@given(
    total=st.integers(12, 80),
    cycles=st.integers(1, 6),
    mode=st.sampled_from(["triangular", "triangular2"]),
    by=st.booleans(),
)
def test_cyclic_formula(total: int, cycles: int, mode: str, by: bool) -> None:
    length = {"cycles": cycles} if by else {"period": total / cycles}
    got = rates_of("cyclic", total, base=0.1, peak=0.7, mode=mode, **length)
    expected = [zigzag(step, 0.1, 0.7, total / cycles, mode) for step in range(total)]
    # At a corner, rounding may put a step into the cycle before, at the same height up to rounding.
    assert got == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", PARAMETERS)
def test_groups_keep_the_ratio_of_their_rates(name: str) -> None:
    optimizer = make_optimizer(rates=(0.3, 0.03, 0.6))
    scheduler = LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name])
    alone = rates_of(name, 20, **PARAMETERS[name])
    for step, rate in zip(trace(optimizer, scheduler, 20), alone, strict=True):
        assert [group[0] for group in step] == pytest.approx([rate, rate / 10, rate * 2], rel=1e-9)


@pytest.mark.parametrize("name", ["step_decay", "one_cycle", "cyclic"])
def test_groups_without_a_ratio_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"first parameter group has learning rate 0\.0"):
        LAB.schedulers[name].build(make_optimizer(rates=(0.0, 0.1)), total_steps=20, **PARAMETERS[name])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("sgd", {}), ("sgd", {"momentum": 0.9}), ("adam", {})],
    ids=["plain", "momentum", "adam"],
)
@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("stop", [0, 1, 7, 15, 20])
@pytest.mark.parametrize("optimizer_first", [True, False])
def test_resumes_bit_for_bit(name: str, kind: str, options: dict[str, Any], stop: int, optimizer_first: bool) -> None:
    def build() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = make_optimizer(kind, (0.3, 0.1), **options)
        return optimizer, LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name])

    straight = trace(*build(), 20)
    optimizer, scheduler = build()
    before = trace(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save({"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    kept = dict(saved["scheduler"])
    if optimizer_first:
        optimizer = make_optimizer(kind, (0.3, 0.1), **options)
        optimizer.load_state_dict(saved["optimizer"])
        scheduler = LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name])
    else:
        optimizer, scheduler = build()
        optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    assert saved["scheduler"] == kept, "loading changed the caller's state"
    assert before + trace(optimizer, scheduler, 20 - stop) == straight


@pytest.mark.parametrize("name", PARAMETERS)
def test_state_is_of_plain_types(name: str) -> None:
    def plain(value: Any) -> bool:
        if type(value) is dict:
            return all(type(key) is str and plain(item) for key, item in value.items())
        return all(map(plain, value)) if type(value) is list else type(value) in (int, float, bool, str, type(None))

    optimizer = make_optimizer(momentum=0.9)
    scheduler = LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name])
    assert plain(scheduler.state_dict())
    trace(optimizer, scheduler, 5)
    assert plain(scheduler.state_dict())


@pytest.mark.parametrize("name", ["one_cycle", "cyclic"])
def test_momentum_moves_only_where_there_is_some(name: str) -> None:
    def momenta(**options: Any) -> list[float]:
        cycling = {key: options.pop(key) for key in ["cycle_momentum"] if key in options}
        optimizer = make_optimizer(**options)
        scheduler = LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name], **cycling)
        return [group[0][1] for group in trace(optimizer, scheduler, 20)]

    assert momenta() == [0] * 20
    assert momenta(momentum=0.9, cycle_momentum=False) == [0.9] * 20
    moving = momenta(momentum=0.9)
    low, high = (0.85, 0.95) if name == "one_cycle" else (0.8, 0.9)
    assert min(moving) >= low - 1e-12
    assert max(moving) == pytest.approx(high)
    assert len(set(moving)) > 3


@pytest.mark.parametrize("name", PARAMETERS)
def test_rates_may_be_tensors(name: str) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=torch.tensor(0.3, dtype=torch.float64))
    scheduler = LAB.schedulers[name].build(optimizer, total_steps=20, **PARAMETERS[name])
    got = [step[0][0] for step in trace(optimizer, scheduler, 20)]
    assert got == pytest.approx(rates_of(name, 20, **PARAMETERS[name]), rel=1e-6)


@pytest.mark.parametrize("total_steps", [0, -1, 1.5, True, "ten"])
@pytest.mark.parametrize("name", PARAMETERS)
def test_a_training_has_at_least_one_step(name: str, total_steps: Any) -> None:
    with pytest.raises(RecipeError, match="expected an integer of at least 1"):
        LAB.schedulers[name].build(make_optimizer(), total_steps=total_steps, **PARAMETERS[name])


@pytest.mark.parametrize(("name", "params", "message"), BAD)
def test_bad_values_are_named(name: str, params: dict[str, Any], message: str) -> None:
    optimizer = make_optimizer()
    with pytest.raises(ReluscopeError) as caught:
        LAB.schedulers[name].build(optimizer, total_steps=20, **params)
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert optimizer.param_groups[0]["lr"] == 0.3, "a refused schedule left its mark"


def test_model_is_taken_by_every_entry() -> None:
    build: Callable[..., Any] = LAB.schedulers["constant"].build
    assert build(make_optimizer(), total_steps=3, model=torch.nn.Linear(1, 1)).get_last_lr() == [0.3]
