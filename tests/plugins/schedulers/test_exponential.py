"""The exponential schedule against repeated multiplication, and at its end."""

from __future__ import annotations

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

BUILD = Lab(plugins=[schedulers]).schedulers["exponential"].build


def make_optimizer(*rates: float, **options: Any) -> torch.optim.Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates or (0.3,)]
    return torch.optim.SGD(groups, **options)


def rates_of(optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> list[list[float]]:
    """Rates in force at each step and, last, after the last."""
    seen = []
    for _ in range(steps):
        seen.append([float(group["lr"]) for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return [*seen, [float(group["lr"]) for group in optimizer.param_groups]]


@given(total=st.integers(1, 200), base=st.floats(1e-6, 10), final=st.floats(1e-8, 100))
def test_every_step_multiplies_by_the_same_factor(total: int, base: float, final: float) -> None:
    optimizer = make_optimizer()
    scheduler = BUILD(optimizer, total_steps=total, base=base, final_factor=final)
    got = [rates[0] for rates in rates_of(optimizer, scheduler, total)]
    factor = math.exp(math.log(final) / total)
    expected = [base]
    for _ in range(total):
        expected.append(expected[-1] * factor)
    assert got == pytest.approx(expected, rel=1e-10)
    assert got[0] == base
    assert got[-1] == base * final


@given(batches=st.integers(1, 7), epochs=st.integers(1, 30), final=st.floats(1e-8, 100))
def test_a_stage_for_each_epoch(batches: int, epochs: int, final: float) -> None:
    """The rate of all steps of an epoch is the same, and each epoch's is the one before times one factor."""
    optimizer = make_optimizer(0.3)
    scheduler = BUILD(optimizer, total_steps=batches * epochs, final_factor=final, stages=epochs)
    got = [rates[0] for rates in rates_of(optimizer, scheduler, batches * epochs)]
    expected = [0.3 * math.exp(math.log(final) / epochs) ** (step // batches) for step in range(batches * epochs + 1)]
    assert got == pytest.approx(expected, rel=1e-10)
    assert all(len(set(got[epoch * batches : (epoch + 1) * batches])) == 1 for epoch in range(epochs))


def test_default_ends_at_a_hundredth_of_the_optimizers_rate() -> None:
    optimizer = make_optimizer(0.3)
    got = rates_of(optimizer, BUILD(optimizer, total_steps=10), 10)
    assert got[0] == [0.3]
    assert got[5] == pytest.approx([0.03])
    assert got[10] == pytest.approx([0.003])


def test_equals_torch() -> None:
    optimizer, other = make_optimizer(0.3, 0.02), make_optimizer(0.3, 0.02)
    got = rates_of(optimizer, BUILD(optimizer, total_steps=50, final_factor=0.05), 50)
    theirs = rates_of(other, torch.optim.lr_scheduler.ExponentialLR(other, 0.05 ** (1 / 50)), 50)
    for rates, expected in zip(got, theirs, strict=True):
        assert rates == pytest.approx(expected, rel=1e-12)


def test_a_single_precision_rate_still_arrives_after_many_steps() -> None:
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.3))
    scheduler = BUILD(optimizer, total_steps=10**9, final_factor=0.5)
    scheduler.last_epoch = 10**9 - 2
    optimizer.step()
    scheduler.step()
    # Multiplied in place, a rate in single precision would not move: the factor of one step is 1 - 7e-10.
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.15, rel=1e-6)


@given(
    total=st.integers(1, 60),
    rates=st.lists(st.floats(1e-4, 10), min_size=2, max_size=4),
    base=st.none() | st.floats(1e-4, 10),
    final=st.floats(1e-4, 10),
)
def test_groups_keep_their_ratio(total: int, rates: list[float], base: float | None, final: float) -> None:
    optimizer = make_optimizer(*rates)
    for seen in rates_of(optimizer, BUILD(optimizer, total_steps=total, base=base, final_factor=final), total):
        assert [rate / seen[0] for rate in seen] == pytest.approx([rate / rates[0] for rate in rates], rel=1e-12)


def test_refuses_a_step_past_the_end() -> None:
    optimizer = make_optimizer()
    scheduler = BUILD(optimizer, total_steps=4)
    rates_of(optimizer, scheduler, 4)
    optimizer.step()
    with pytest.raises(RecipeError, match=r"'exponential': step 5 of a schedule built for 4.*total_steps"):
        scheduler.step()


@given(total=st.integers(1, 40), stop=st.integers(0, 40), final=st.floats(1e-6, 2))
def test_resumes_bit_for_bit(total: int, stop: int, final: float) -> None:
    stop = min(stop, total)

    def build() -> tuple[torch.optim.Optimizer, Any]:
        optimizer = make_optimizer(0.3, 0.07)
        return optimizer, BUILD(optimizer, total_steps=total, base=0.11, final_factor=final)

    straight = rates_of(*build(), total)
    optimizer, scheduler = build()
    before = rates_of(optimizer, scheduler, stop)
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    # What was built for another length takes it over with the state.
    optimizer = make_optimizer(0.3, 0.07)
    scheduler = BUILD(optimizer, total_steps=total + 3, base=5.0, final_factor=0.5)
    scheduler.load_state_dict(torch.load(file, weights_only=True))
    assert before[:-1] + rates_of(optimizer, scheduler, total - stop) == straight


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"base": 0}, "base is 0, expected a number above 0"),
        ({"base": math.inf}, "base is inf"),
        ({"final_factor": 0}, "final_factor is 0, expected a number above 0"),
        ({"final_factor": -0.5}, "final_factor is -0.5"),
        ({"final_factor": math.nan}, "final_factor is nan"),
        ({"final_factor": "small"}, "final_factor is 'small'"),
        ({"final_factor": True}, "final_factor is True"),
        ({"final_facto": 0.1}, "Did you mean 'final_factor'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    optimizer = make_optimizer()
    with pytest.raises(ReluscopeError) as caught:
        BUILD(optimizer, total_steps=20, **params)
    assert message in str(caught.value)
    assert "'exponential'" in str(caught.value)
    assert optimizer.param_groups[0]["lr"] == 0.3, "a refused schedule left its mark"


def test_groups_without_a_ratio_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"first parameter group has learning rate 0\.0"):
        BUILD(make_optimizer(0.0, 0.1), total_steps=20, base=0.1)
