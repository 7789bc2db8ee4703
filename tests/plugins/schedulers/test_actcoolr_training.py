"""ActCooLR in a training, which does not notice that it is looked at."""

from __future__ import annotations

import gc
import io
import math
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope import random_state
from reluscope.context import Diverged
from reluscope.errors import RecipeError
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.schedulers import actcoolr as build
from reluscope_plugins.schedulers.followed_transition import FLOOR


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_it_is_an_ordinary_scheduler(nets: SimpleNamespace, name: str) -> None:
    torch.manual_seed(0)
    model = nets.Tied()
    optimizer = nets.optimizers[name](model.parameters(), 0.01)
    scheduler = ActCooLR(optimizer, model, 12, t_start=1.0)
    assert isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler)
    assert scheduler.get_last_lr() == [FLOOR]
    for step in range(12):
        nets.take(model, optimizer, scheduler, step)
        assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
        assert scheduler.last_epoch == step + 1
    assert scheduler.get_last_lr() == [FLOOR]
    file = io.BytesIO()
    torch.save(scheduler.state_dict(), file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    assert loaded == scheduler.state_dict()
    with pytest.raises(RecipeError, match="step 13 of a schedule built for 12"):
        nets.take(model, optimizer, scheduler, 12)


@pytest.mark.parametrize("per_group", [False, True])
@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_with_a_warm_up_the_optimizers_own_rate_does_not_matter(
    nets: SimpleNamespace, name: str, per_group: bool
) -> None:
    def train(lr: float) -> tuple[list[list[float]], nn.Module]:
        torch.manual_seed(0)
        model = nets.mlp(8, 32, 16, 3)
        parts = [list(model[0].parameters()), [*model[2].parameters(), *model[4].parameters()]]
        groups = [{"params": part, "lr": factor * lr} for part, factor in zip(parts, (1.0, 0.25), strict=True)]
        optimizer = nets.optimizers[name](groups, lr)
        scheduler = ActCooLR(optimizer, model, 20, per_group=per_group)
        rates = []
        for step in range(20):
            rates.append(scheduler.get_last_lr())
            nets.take(model, optimizer, scheduler, step)
        return rates, model

    rates, model = train(2.0**-8)
    again, other = train(2.0**12)
    assert rates[0] == [FLOOR, FLOOR / 4]
    assert again == rates
    assert nets.same(other.state_dict(), model.state_dict())


def test_without_a_warm_up_the_first_step_is_taken_at_the_optimizers_own_rate(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 32, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    assert nets.take(model, optimizer, ActCooLR(optimizer, model, 20, warmup=0), 0) == 0.3


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_training_does_not_notice(nets: SimpleNamespace, name: str) -> None:
    def train(start: Callable[[nn.Module, torch.optim.Optimizer], Any], lr: float) -> tuple[list[Any], list[float]]:
        torch.manual_seed(0)
        model = nets.Tied()
        optimizer = nets.optimizers[name](model.parameters(), lr)
        scheduler = start(model, optimizer)
        rates = []
        for step in range(30):
            x, y = nets.batch_of(step)
            rates.append(optimizer.param_groups[0]["lr"])
            nets.backward(model, x, y)
            gradients = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
            optimizer.step()
            scheduler.step(x) if isinstance(scheduler, ActCooLR) else scheduler.step()
            assert nets.same(gradients, {key: p.grad for key, p in model.named_parameters()})
        return [model.state_dict(), optimizer.state_dict()["state"], random_state.capture()], rates

    cooled, rates = train(
        lambda model, optimizer: ActCooLR(optimizer, model, 30, t_start=1.5, every=3, max_step=1.0), 0.02
    )
    replayed, again = train(
        lambda model, optimizer: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: [*rates, 0.0][i]), 1.0
    )
    assert again == rates
    assert len(set(rates)) == 30
    assert nets.same(cooled, replayed)


def test_gradients_that_are_not_finite(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 64, 64, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = ActCooLR(optimizer, model, 50, t_start=1.0, every=1)
    model[0].weight.grad = torch.full_like(model[0].weight, math.nan)
    with pytest.raises(Diverged, match=r"diverged at step 0: the gradient of parameter 0 of group 0"):
        optimizer.step()
    for step in range(5):
        nets.take(model, optimizer, scheduler, step)
    x, y = nets.batch_of(5)
    nets.backward(model, x, y)
    model[0].weight.grad.fill_(math.nan)
    optimizer.step()
    with pytest.raises(Diverged, match=r"diverged at step 5: .* '1#0' holds 2560 NaN among 2560 values"):
        scheduler.step(x[:40])


@pytest.mark.parametrize("fused", [False, True])
def test_a_grad_scaler_and_a_step_that_it_skips(nets: SimpleNamespace, fused: bool) -> None:
    def train(scaler: Any, bad: int | None) -> tuple[list[float], ActCooLR, nn.Module]:
        model = nets.mlp(8, 64, 64, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, fused=fused)
        scheduler = ActCooLR(optimizer, model, 20, t_start=1.0, every=2)
        rates = []
        for step in range(20):
            x, y = nets.batch_of(step)
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
    assert nets.same(first.state_dict(), second.state_dict())
    for bad in range(5, 9):
        rates, scheduler, model = train(torch.amp.GradScaler("cpu", init_scale=2.0**10), bad)
        assert rates[: bad + 1] == plain[: bad + 1]
        assert scheduler.fits == 1
        assert all(bool(p.isfinite().all()) for p in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(nets: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = nets.Tied().cuda()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0)
    for step in range(20):
        x, y = (one.cuda() for one in nets.batch_of(step))
        nets.backward(model, x, y)
        optimizer.step()
        scheduler.step(x)
    assert scheduler.get_last_lr() == [FLOOR]
    assert scheduler.fits == 1


def test_by_name(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    entry = rs.Lab().schedulers["actcoolr"]
    assert entry.batch
    scheduler = entry.build(optimizer, total_steps=7, model=model, base=0.2, gamma=2.0, per_group=True, warmup=0)
    assert isinstance(scheduler, ActCooLR)
    assert (scheduler.curve.total_steps, scheduler.curve.gamma, scheduler.per_group) == (7, 2.0, True)
    assert scheduler.get_last_lr() == [0.2]
    assert build.actcoolr(optimizer, total_steps=7, model=model, warmup=0).get_last_lr() == [0.2]


def test_an_optimizer_does_not_keep_a_scheduler_that_is_dropped(nets: SimpleNamespace) -> None:
    model = nets.mlp(8, 16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    dropped = ActCooLR(optimizer, model, 5)
    x, y = nets.batch_of(0)
    nets.backward(model, x, y)
    optimizer.step()
    reference = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert reference() is None
    # its hook neither copies weights nor refuses a closure any more, and a scheduler in its place is called
    optimizer.step(lambda: torch.zeros(()))
    scheduler = ActCooLR(optimizer, model, 5, warmup=0)
    assert nets.take(model, optimizer, scheduler, 1) == FLOOR
    assert scheduler.fits == 1
