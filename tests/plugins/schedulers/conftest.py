"""What the tests of ActCooLR share: small networks, batches and a step of a training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope_plugins.schedulers import ActCooLR


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


def groups_of(model: Tied, lr: float) -> list[dict[str, Any]]:
    first = [*model.first.parameters(), *model.norm.parameters()]
    rest = [p for p in model.parameters() if all(p is not other for other in first)]
    return [{"params": first, "lr": lr}, {"params": rest, "lr": lr / 3}]


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = rs.Lab().datasets["digits"].load("train", Path()).tensors  # type: ignore[attr-defined]
    return x.flatten(1), y


@pytest.fixture(scope="session")
def nets() -> SimpleNamespace:
    """The networks and helpers above, by name."""
    return SimpleNamespace(
        Tied=Tied,
        optimizers=OPTIMIZERS,
        mlp=mlp,
        batch_of=batch_of,
        backward=backward,
        take=take,
        same=same,
        groups_of=groups_of,
        digits=digits,
    )
