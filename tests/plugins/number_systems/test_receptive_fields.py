"""Receptive fields, against networks in which one number is changed at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope_plugins.number_systems.last_pooling import last_pooling
from reluscope_plugins.number_systems.receptive_fields import receptive_fields


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.skip = nn.Conv2d(4, 4, 1, stride=2)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.norm(self.stem(x)), 0.1, inplace=True)
        y = self.down(x)
        y += self.skip(x)
        y = torch.cat([self.grouped(y), y[:, :2]], dim=1)[:, :4]
        logits: Tensor = self.head(y.mean((2, 3)))
        return logits


class Excited(nn.Module):
    """Every pixel depends on all through a gate; one layer is called twice, and one behind the pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.gate = nn.Linear(2, 2)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.conv(x))
        x = x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]
        logits: Tensor = self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return logits


def tail(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)]


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "stride and padding": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.LeakyReLU(0.1), nn.Conv2d(3, 3, 3, padding=1), *tail(3)
    ),
    "dilation": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dilation=3), nn.Tanh(), nn.Conv2d(3, 3, 2), *tail(3)),
    "circular": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), nn.Conv2d(3, 3, 1, stride=3), *tail(3)
    ),
    "max-pools": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
        nn.Conv2d(3, 3, 2),
        nn.MaxPool2d(2, stride=1, dilation=2),
        *tail(3),
    ),
    "transposed": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, stride=3), nn.ConvTranspose2d(3, 3, 3, stride=2), *tail(3)),
    "group norm": lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 2), *tail(2)),
    "group norm under one pixel": lambda: nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, (7, 8)), *tail(2)
    ),
    "residual": Residual,
    "excited": Excited,
}


def changed(model: nn.Module, x: Tensor, name: str, call: int, positions: tuple[int, ...]) -> Tensor:
    """Which pixels of the last feature map change when an output of a layer does: `(pixel,)`."""
    before = last_pooling(model, x)[1].features
    hit = torch.zeros(before.shape[2:], dtype=torch.bool)
    # Through a maximum one number may go unheard; one that is large either way is heard in one of the directions.
    for size in (50.0, -50.0, 0.01, -0.01):
        count = 0

        def hook(layer: nn.Module, inputs: object, output: Tensor, size: float = size) -> Tensor:
            nonlocal count
            count += 1
            if count != call + 1:
                return output
            output = output.clone()
            where: Any = (slice(None), slice(None), *positions) if output.ndim == 4 else (slice(None), slice(None))
            # Unlike in the channels, so that no normalisation takes it out.
            output[where] += size * torch.linspace(0.5, 1.5, output.shape[1], dtype=output.dtype).square()
            return output

        handle = model.get_submodule(name).register_forward_hook(hook)
        after = last_pooling(model, x)[1].features
        handle.remove()
        hit |= ((after - before).abs() > 1e-12).any(1).any(0)
    return hit.flatten()


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_pixel_depends_on_exactly_what_changes_it(name: str) -> None:
    torch.manual_seed(0)
    model = NETWORKS[name]().double().eval()
    x = torch.randn(24, 2, 9, 10, dtype=torch.float64)
    fields = receptive_fields(model, x)
    layers = {key: kept for key, kept in fields.layers.items()}
    assert layers
    for layer, calls in layers.items():
        for call, field in enumerate(calls):
            rows = (
                [()] if field.ndim == 2 else [tuple(index) for index in torch.ones(field.shape[2:]).nonzero().tolist()]
            )
            for positions in rows:
                found = field[:, 0] if field.ndim == 2 else field[(slice(None), 0, *positions)]
                expected = changed(model, x, layer, call, positions)
                assert torch.equal(found, expected), (layer, call, positions)


def test_of_the_image() -> None:
    torch.manual_seed(0)
    model = NETWORKS["residual"]().double().eval()
    x = torch.randn(4, 2, 9, 10, dtype=torch.float64)
    field = receptive_fields(model, x).image
    before = last_pooling(model, x)[1].features
    for row in range(9):
        for column in range(10):
            y = x.clone()
            y[:, :, row, column] += torch.tensor([1.0, 2.5], dtype=x.dtype)
            after = last_pooling(model, y)[1].features
            assert torch.equal(field[:, 0, row, column], (after != before).any(1).any(0).flatten())


def test_layers_behind_the_pooling_have_none_and_the_model_is_left_as_found() -> None:
    model = Excited().train()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    fields = receptive_fields(model, torch.randn(1, 2, 5, 5))
    assert set(fields.layers) == {"conv", "gate"}
    assert len(fields.layers["conv"]) == 2
    assert model.training
    assert not model.conv._forward_hooks
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_of_a_quantised_network_they_are_the_same_and_nothing_is_drawn() -> None:
    torch.manual_seed(0)
    model: Any = Residual().eval()
    x = torch.randn(2, 2, 9, 10)
    plain = receptive_fields(model, x)
    rs.quantize_(model, "psb", draws="held", seed=3)
    quantised = receptive_fields(model, x)
    assert model.head.quantization.held.counts is None
    assert type(model.head).__name__ == "QuantizedLinear"
    assert all(torch.equal(plain.layers[key][0], quantised.layers[key][0]) for key in plain.layers)


def test_depth_does_not_fade_them() -> None:
    model = nn.Sequential(*[nn.Conv2d(64, 64, 3, padding=1) for _ in range(30)], *tail(64))
    field = receptive_fields(model, torch.zeros(1, 64, 3, 3)).layers["0"][0]
    assert bool(field.all())


def test_without_an_average_over_all_positions() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ObservationError, match=r"found adaptive_avg_pool2d from \(16, 3, 3, 3\) to \(16, 3, 2, 2\)"):
        receptive_fields(model, torch.randn(1, 2, 5, 5))
