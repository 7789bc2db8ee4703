"""All statistics of torchvision's vgg19 in one call, against the plain sums and norms in double precision.

The limit is one pass over the weights: 144 million of four bytes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import nn

from reluscope_plugins.arrangements.weight_statistics import weight_statistics

TURNS = 5


def plain(model: nn.Module) -> list[Any]:
    found = []
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            rows = layer.weight.detach().flatten(1).double()
            cosines = rows.sum(1) / (rows.norm(dim=1) * rows.shape[1] ** 0.5)
            found.append((cosines, (cosines <= 0).double().mean()))
    return found


def one_pass(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().sum() for parameter in model.parameters()]


def seconds(call: Callable[[nn.Module], Any], model: nn.Module) -> float:
    start = time.perf_counter()
    call(model)
    return time.perf_counter() - start


def test_all_statistics_of_vgg19() -> None:
    model = torchvision.models.vgg19(weights=None)
    weight_statistics(nn.Linear(2, 2))  # imports
    turns = [[seconds(call, model) for call in (weight_statistics, plain, one_pass)] for _ in range(TURNS)]
    ours, theirs, least = (statistics.median(column) for column in zip(*turns, strict=True))
    print(
        f"\nvgg19: {ours:.2f} s; plain double precision, cosine and share alone, {theirs:.2f} s ({theirs / ours:.2f}x)"
    )
    print(f"one pass over the weights: {least:.2f} s, {ours / least:.1f} times that")
    assert ours < 2.0
