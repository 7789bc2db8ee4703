"""A small network and its images, for the tests of conversions to a number system."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def small_network() -> Callable[[], nn.Sequential]:
    """Build the same network at each call: convolutions, one with a batch norm, and a linear layer."""

    def build() -> nn.Sequential:
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3, stride=2, groups=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.LayerNorm(12),
            nn.Linear(12, 5),
        )
        norm: nn.Module = network[1]
        with torch.no_grad():
            norm.get_buffer("running_mean").normal_()
            norm.get_buffer("running_var").uniform_(0.5, 2.0)
        return network.eval()

    return build


@pytest.fixture
def images() -> Callable[..., Tensor]:
    """Draw the same images at each call, as many as asked for."""

    def draw(samples: int = 6) -> Tensor:
        return torch.randn(samples, 1, 8, 8, generator=torch.Generator().manual_seed(1))

    return draw
