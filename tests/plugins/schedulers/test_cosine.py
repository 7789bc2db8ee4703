"""The cosine schedule against angles on a circle, against torch, and at its end."""

from __future__ import annotations

import cmath
import io
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import schedulers

BUILD = Lab(plugins=[schedulers]).schedulers["cosine"].build


def make_optimizer(*rates: float) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": [nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates or (0.3,)])


def rates_of(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """Rates in force at each step and, last, after the last."""
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [*seen, [float(group["lr"]) for group in optimizer.param_groups]]


@given(
    total=st.integers(1, 120),
    base=st.floats(1e-6, 10),
    final=st.sampled_from([0.0, 1.0]) | st.floats(0, 1),
    twentieths=st.integers(0, 19),
)
def test_rises_along_a_line_and_falls_along_a_cosine(total: int, base: float, final: float, twentieths: int) -> None:
    optimizer = make_optimizer()
    scheduler = BUILD(optimizer, total_steps=total, base=base, final_factor=final, warmup=twentieths / 20)
    got = [rates[0] for rates in rates_of(optimizer, scheduler, total)]
    rise = min(round(twentieths * total / 20), total - 1)
    line = [base * place / (rise + 1) for place in range(1, rise + 1)]
    assert got[:rise] == pytest.approx(line, rel=1e-12)
    top, low = base, base * final
    for place, rate in enumerate(got[rise:]):
        # A point goes half around a circle, from the top to the lowest rate.
        height = cmath.exp(1j * math.pi * place / (total - rise)).real
        assert rate == pytest.approx((top + low) / 2 + (top - low) / 2 * height, rel=1e-9, abs=1e-12 * base)
    assert got[rise] == base
    assert got[-1] == pytest.approx(low, rel=1e-15, abs=0)
    assert all(rate > 0 for rate in got[:-1])


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_equals_torch_for_one_group(final: float) -> None:
    optimizer, other = make_optimizer(0.3), make_optimizer(0.3)
    got = rates_of(optimizer, BUILD(optimizer, total_steps=50, final_factor=final), 50)
    theirs = rates_of(other, torch.optim.lr_scheduler.CosineAnnealingLR(other, 50, eta_min=0.3 * final), 50)
    for rates, expected in zip(got, theirs, strict=True):
        assert rates == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_is_half_way_in_the_middle_and_starts_without_a_rise() -> None:
    optimizer = make_optimizer(0.3)
    got = rates_of(optimizer, BUILD(optimizer, total_steps=10), 10)
    assert got[0] == [0.3]
    assert got[5] == pytest.approx([0.15])
    assert got[10] == [0]


@given(
    total=st.integers(1, 60),
    rates=st.lists(st.floats(1e-4, 10), min_size=2, max_size=4),
    base=st.none() | st.floats(1e-4, 10),
    final=st.floats(0, 1),
    warmup=st.floats(0, 0.99),
)
def test_groups_keep_their_ratio(
    total: int, rates: list[float], base: float | None, final: float, warmup: float
) -> None:
    optimizer = make_optimizer(*rates)
    scheduler = BUILD(optimizer, total_steps=total, base=base, final_factor=final, warmup=warmup)
    for seen in rates_of(optimizer, scheduler, total)[:-1]:
        assert [rate / seen[0] for rate in seen] == pytest.approx([rate / rates[0] for rate in rates], rel=1e-12)


def test_refuses_a_step_past_the_end() -> None:
    optimizer = make_optimizer()
    scheduler = BUILD(optimizer, total_steps=4)
    rates_of(optimizer, scheduler, 4)
    optimizer.step()
    with pytest.raises(RecipeError, match=r"'cosine': step 5 of a schedule built for 4.*total_steps"):
        scheduler.step()


@given(total=st.integers(1, 40), stop=st.integers(0, 40), final=st.floats(0, 1), warmup=st.floats(0, 0.99))
def test_resumes_bit_for_bit(total: int, stop: int, final: float, warmup: float) -> None:
    stop = min(stop, total)

    def build() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = make_optimizer(0.3, 0.07)
        return optimizer, BUILD(optimizer, total_steps=total, base=0.11, final_factor=final, warmup=warmup)

    straight = rates_of(*build(), total)
    optimizer, scheduler = build()
    before = rates_of(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    # What was built for another length takes it over with the state.
    optimizer = make_optimizer(0.3, 0.07)
    scheduler = BUILD(optimizer, total_steps=total + 3, base=5.0)
    scheduler.load_state_dict(torch.load(file, weights_only=True))
    assert before[:-1] + rates_of(optimizer, scheduler, total - stop) == straight


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"base": -1}, "base is -1, expected a number above 0"),
        ({"final_factor": -0.1}, "final_factor is -0.1, expected a number within 0..1"),
        ({"final_factor": 1.5}, "final_factor is 1.5"),
        ({"final_factor": math.nan}, "final_factor is nan"),
        ({"final_factor": "none"}, "final_factor is 'none'"),
        ({"final_factor": False}, "final_factor is False"),
        ({"warmup": 1}, "warmup is 1, expected a fraction of the training, at least 0 and below 1"),
        ({"warmup": 500}, "warmup is 500"),
        ({"warmup": -0.1}, "warmup is -0.1"),
        ({"warmup": math.nan}, "warmup is nan"),
        ({"warmup": True}, "warmup is True"),
        ({"warm_up": 0.1}, "Did you mean 'warmup'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    optimizer = make_optimizer()
    with pytest.raises(ReluscopeError) as caught:
        BUILD(optimizer, total_steps=20, **params)
    assert message in str(caught.value)
    assert "'cosine'" in str(caught.value)
    assert optimizer.param_groups[0]["lr"] == 0.3, "a refused schedule left its mark"


def test_groups_without_a_ratio_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"first parameter group has learning rate 0\.0"):
        BUILD(make_optimizer(0.0, 0.1), total_steps=20, base=0.1)
