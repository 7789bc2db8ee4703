"""ABEL on scripted weight norms with decays found by hand, against the printed algorithm, and in a real training."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.context import Diverged
from reluscope.errors import RecipeError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import schedulers

BUILD = Lab(plugins=[schedulers]).schedulers["abel"].build


class Scripted:
    """A weight whose squared norm is what the script says, and a scheduler that looks at it."""

    def __init__(self, *, rates: Sequence[float] = (1.0,), start: float = 123.0, **params: Any) -> None:
        self.weight = nn.Parameter(torch.zeros(4, dtype=torch.float64))
        others = [nn.Parameter(torch.zeros(3)) for _ in rates[1:]]
        self.optimizer = torch.optim.SGD(
            [{"params": [p], "lr": rate} for p, rate in zip([self.weight, *others], rates, strict=True)]
        )
        self.set_norm(start)
        self.scheduler: Any = BUILD(self.optimizer, **params)

    def set_norm(self, squared: float) -> None:
        self.weight.data.fill_(math.sqrt(squared / 4))

    def follow(self, norms: Sequence[float]) -> list[float]:
        """Step once a norm; return the rate after each step."""
        rates = []
        for norm in norms:
            self.optimizer.step()
            self.set_norm(norm)
            self.scheduler.step()
            rates.append(self.optimizer.param_groups[0]["lr"])
        return rates


def algorithm_1(norms: Sequence[float], decay: float) -> list[int]:
    """Decays so far after each check, as printed, from all norms at once."""
    decays, reached_minimum, seen = 0, False, []
    for t in range(len(norms)):
        if t >= 2 and (norms[t] - norms[t - 1]) * (norms[t - 1] - norms[t - 2]) < 0:
            if reached_minimum:
                decays += 1
                reached_minimum = False
            else:
                reached_minimum = True
        seen.append(decays)
    return seen


def test_decays_where_the_norm_falls_again_after_a_minimum() -> None:
    norms = [9, 7, 6, 6.5, 8, 8.5, 8.4, 7, 5, 5.5, 5.4, 4, 4.1]
    #       down ------ up -------- DECAY - down  up  DECAY   up
    rates = Scripted(total_steps=13, checks=13, decay=0.5, last_decay=1).follow(norms)
    assert rates == [1, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_only_the_weights_at_a_check_count() -> None:
    at_checks = [9, 7, 8, 7.5, 8]
    between = [1, 100, 3]
    norms = [norm for check in at_checks for norm in [*between, check]]
    rates = Scripted(total_steps=20, checks=5, decay=0.5, last_decay=1).follow(norms)
    assert rates == [1] * 15 + [0.5] * 5


def test_checks_that_do_not_divide_the_training_come_at_the_next_step() -> None:
    # Three checks in ten steps: after 3.3, 6.7 and 10 steps, that is 4, 7 and 10; a fall and a rise make one minimum.
    scripted = Scripted(total_steps=10, checks=3, last_decay=1)
    seen = []
    for step in range(1, 11):
        scripted.follow([50 + step])
        seen.append(list(scripted.scheduler.norms))
    assert [norms[-1:] for norms in seen[:3]] == [[], [], []]
    assert [round(norms[-1]) - 50 for norms in seen[3:]] == [4, 4, 4, 7, 7, 7, 10]


def test_the_weights_before_training_do_not_count() -> None:
    # With the 5 of the start there would be two turns, at 9 and at 8.
    scripted = Scripted(start=5.0, total_steps=4, checks=4, last_decay=1)
    assert scripted.follow([9, 8, 8.5, 8.7]) == [1, 1, 1, 1]
    assert scripted.scheduler.reached_minimum


def test_equal_norms_are_no_turn() -> None:
    assert Scripted(total_steps=7, checks=7, last_decay=1).follow([9, 8, 8, 9, 9, 8, 8]) == [1] * 7


@given(
    fall=st.lists(st.floats(0.01, 1), max_size=8),
    rise=st.lists(st.floats(0.01, 1), max_size=8),
)
def test_a_norm_that_never_settles_leaves_only_the_last_decay(fall: list[float], rise: list[float]) -> None:
    changes = [-change for change in fall] + rise
    total = len(changes) + 1
    norms = [20 + sum(changes[:place]) for place in range(total)]
    rates = Scripted(total_steps=total, checks=total, decay=0.1, last_decay=0.5).follow(norms)
    last = round(0.5 * total)
    expected = [0.1 if step >= last and last < total else 1.0 for step in range(1, total + 1)]
    assert rates == pytest.approx(expected, rel=1e-15)


@given(
    norms=st.lists(st.integers(1, 6), min_size=1, max_size=40),
    steps=st.integers(1, 4),
    decay=st.floats(0.05, 0.95),
    twentieths=st.integers(1, 20),
)
def test_equals_the_printed_algorithm(norms: list[int], steps: int, decay: float, twentieths: int) -> None:
    total = len(norms) * steps
    script = [float(norm) if place == steps - 1 else 0.5 for norm in norms for place in range(steps)]
    scripted = Scripted(total_steps=total, checks=len(norms), decay=decay, last_decay=twentieths / 20)
    rates = scripted.follow(script)
    # The script passes through a square root: decide by the norms that the weights really have.
    real = [4 * math.sqrt(norm / 4) ** 2 for norm in norms]
    bounces, last = algorithm_1(real, decay), round(twentieths * total / 20)
    for step, rate in enumerate(rates, start=1):
        decays = (bounces[step // steps - 1] if step >= steps else 0) + (last <= step and last < total)
        assert rate == pytest.approx(math.prod([decay] * decays), rel=1e-12)


def test_the_last_decay_comes_at_85_percent_on_top_of_a_bounce() -> None:
    norms = [float(norm) for norm in range(40, 25, -1)] + [28, 27.5, 27, 26, 25]
    rates = Scripted(total_steps=20, checks=20).follow(norms)
    assert rates == pytest.approx([1.0] * 16 + [0.01] * 4, rel=1e-12)


def test_groups_keep_the_ratio_of_their_rates() -> None:
    scripted = Scripted(rates=(0.4, 0.04, 1.2), total_steps=6, checks=6, base=0.2, decay=0.5, last_decay=1)
    scripted.follow([9, 8, 8.5, 8.4])
    assert scripted.scheduler.get_last_lr() == pytest.approx([0.1, 0.01, 0.3], rel=1e-12)


def test_the_models_weights_count_where_there_is_one() -> None:
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD([model.bias], lr=1.0)
    scheduler: Any = BUILD(optimizer, total_steps=2, checks=2, model=model)
    alone: Any = BUILD(optimizer, total_steps=2, checks=2)
    for values in [(3.0, 4.0, 12.0), (1.0, 2.0, 2.0)]:
        model.weight.data = torch.tensor([values[:2]])
        model.bias.data = torch.tensor(values[2:])
        optimizer.step()
        scheduler.step()
        alone.step()
    assert scheduler.norms == pytest.approx([169, 9], rel=1e-12)
    assert alone.norms == pytest.approx([144, 4], rel=1e-12)


def test_a_tied_weight_counts_once() -> None:
    first, second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    second.weight = first.weight
    nn.init.constant_(first.weight, 2.0)
    model = nn.Sequential(first, second)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler: Any = BUILD(optimizer, total_steps=1, checks=1, model=model)
    optimizer.step()
    scheduler.step()
    assert scheduler.norms == [16.0]


def test_half_precision_weights_do_not_overflow() -> None:
    weight = nn.Parameter(torch.full((100_000,), 300.0, dtype=torch.float16))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler: Any = BUILD(optimizer, total_steps=1, checks=1)
    optimizer.step()
    scheduler.step()
    assert scheduler.norms == pytest.approx([9e9], rel=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_end_the_run(value: float) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    schedulers = [BUILD(optimizer, total_steps=4, checks=2, model=model), BUILD(optimizer, total_steps=4, checks=2)]
    model.get_parameter("1.weight").data[0, 1] = value
    for scheduler, name in zip(schedulers, [r"'1\.weight'", "'2 of group 0'"], strict=True):
        optimizer.step()
        scheduler.step()
        optimizer.step()
        with pytest.raises(Diverged, match=rf"'abel': parameter {name} holds NaN or infinity at step 2.*lower"):
            scheduler.step()


def training(total_epochs: int, seed: int) -> tuple[nn.Module, torch.optim.Optimizer, Any, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32, bias=False), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    inputs = torch.randn(8, 32, 8, generator=generator)
    labels = torch.randint(0, 4, (8, 32), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.9, weight_decay=0.03)
    scheduler = BUILD(optimizer, total_steps=8 * total_epochs, checks=total_epochs, model=model, base=0.3, decay=0.2)
    return model, optimizer, scheduler, inputs, labels


def train(
    parts: tuple[nn.Module, torch.optim.Optimizer, Any, torch.Tensor, torch.Tensor], first: int, last: int
) -> list[tuple[float, float]]:
    """Train from one step to another; rate in force and squared norm after each step."""
    model, optimizer, scheduler, inputs, labels = parts
    seen = []
    for step in range(first, last):
        rate = optimizer.param_groups[0]["lr"]
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(inputs[step % 8]), labels[step % 8]))
        optimizer.step()
        scheduler.step()
        squares = [np.square(p.detach().numpy().astype(np.float64)).sum() for p in model.parameters()]
        seen.append((rate, float(np.sum(squares))))
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_a_real_training_with_weight_decay_bounces_and_decays(seed: int) -> None:
    epochs = 24
    seen = train(training(epochs, seed), 0, 8 * epochs)
    rates, norms = zip(*seen, strict=True)
    at_epochs = norms[7::8]
    bounces = algorithm_1(at_epochs, 0.2)
    assert bounces[-1] >= 1, "nothing bounced: the test shows nothing"
    lowest = at_epochs.index(min(at_epochs[: bounces.index(1)]))
    assert 2 <= lowest < bounces.index(1), "the norm fell, then grew, before the first decay"
    for step, rate in enumerate(rates):
        decays = (bounces[step // 8 - 1] if step >= 8 else 0) + (step >= round(0.85 * 8 * epochs))
        assert rate == pytest.approx(0.3 * 0.2**decays, rel=1e-12), step


@pytest.mark.parametrize("scheduler_first", [True, False])
@pytest.mark.parametrize("stop", [0, 1, 7, 8, 23, 48, 55, 75, 87, 88, 163, 192])
def test_resumes_bit_for_bit(stop: int, scheduler_first: bool) -> None:
    epochs = 24
    straight = train(training(epochs, seed=1), 0, 8 * epochs)
    parts = training(epochs, seed=1)
    before = train(parts, 0, stop)
    file = io.BytesIO()
    torch.save([part.state_dict() for part in parts[:3]], file)
    assert file.tell() < 40_000, "the model went into the scheduler's state"
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert not any(isinstance(value, torch.Tensor | nn.Module) for value in saved[2].values())
    fresh = training(epochs, seed=2)
    order = [2, 0, 1] if scheduler_first else [0, 1, 2]
    for place in order:
        fresh[place].load_state_dict(saved[place])  # type: ignore[union-attr]
    after = train((*fresh[:3], *parts[3:]), stop, 8 * epochs)
    assert before + after == straight


def test_the_state_holds_what_was_seen() -> None:
    scripted = Scripted(total_steps=8, checks=8, decay=0.5, last_decay=1)
    scripted.follow([9, 8, 8.5, 8.4, 7, 7.5])
    other = Scripted(total_steps=8, checks=8, decay=0.5, last_decay=1)
    other.scheduler.load_state_dict(scripted.scheduler.state_dict())
    assert other.optimizer.param_groups[0]["lr"] == 0.5
    assert other.follow([7.4, 7.6]) == scripted.follow([7.4, 7.6]) == [0.25, 0.25]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "parameter 'checks' is missing"),
        ({"checks": 0}, "checks is 0, expected an integer from 1 to the 20 optimizer steps"),
        ({"checks": 21}, "checks is 21"),
        ({"checks": 2.5}, "checks is 2.5"),
        ({"checks": True}, "checks is True"),
        ({"checks": "ten"}, "checks is 'ten'"),
        ({"checks": 5, "base": 0}, "base is 0"),
        ({"checks": 5, "decay": 0}, "decay is 0"),
        ({"checks": 5, "decay": 1}, "decay is 1.0, expected a factor between 0 and 1"),
        ({"checks": 5, "decay": 10}, "decay is 10.0"),
        ({"checks": 5, "decay": math.nan}, "decay is nan"),
        ({"checks": 5, "last_decay": 0}, "last_decay is 0"),
        ({"checks": 5, "last_decay": 17}, "last_decay is 17.0, expected a fraction of the training"),
        ({"epochs": 5}, "'abel': unknown parameter 'epochs'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.3)
    with pytest.raises(ReluscopeError) as caught:
        BUILD(optimizer, total_steps=20, **params)
    assert message in str(caught.value)
    assert "'abel'" in str(caught.value)
    assert optimizer.param_groups[0]["lr"] == 0.3, "a refused schedule left its mark"


def test_groups_without_a_ratio_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"first parameter group has learning rate 0\.0"):
        Scripted(rates=(0.0, 0.1), total_steps=20, checks=5, base=0.1)
