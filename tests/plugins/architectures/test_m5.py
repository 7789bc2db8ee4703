"""The network for raw sound."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

M5 = Lab(plugins=[architectures]).architectures["m5"]
TUTORIAL = {"channels": [32, 32, 64, 64], "stride": 16, "classes": 35}
ERROR = 1e-6


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_parameters_are_as_many_as_published() -> None:
    # Dai et al. 2017, table 1, prints 0.5 million; philipperemy/very-deep-convnets-raw-waveforms prints 559,114.
    convolutions = 80 * 128 + 128 * 3 * 128 + 128 * 3 * 256 + 256 * 3 * 512
    per_channel = (1 + 2) * (128 + 128 + 256 + 512)
    assert convolutions + per_channel + 512 * 10 + 10 == 559_114
    assert count(M5.build()) == 559_114
    # PyTorch's tutorial, Speech Command Classification with torchaudio, prints 26,915.
    convolutions = 80 * 32 + 32 * 3 * 32 + 32 * 3 * 64 + 64 * 3 * 64
    assert convolutions + 3 * (32 + 32 + 64 + 64) + 64 * 35 + 35 == 26_915
    assert count(M5.build(**TUTORIAL)) == 26_915


def test_values_are_those_of_the_loops(scrambled: Callable[..., dict[str, np.ndarray]]) -> None:
    model = M5.build(channels=[2, 3, 2, 4], stride=3, input_channels=2, classes=3).double().eval()
    p = scrambled(model)
    x = torch.randn(2, 2, 1403, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = []
    for sound in x.numpy():
        value = sound
        for number in (1, 2, 3, 4):
            weight, step = p[f"conv{number}.weight"], 3 if number == 1 else 1
            starts = range(0, value.shape[1] - weight.shape[2] + 1, step)
            value = np.array(
                [
                    [(value[:, s : s + weight.shape[2]] * row).sum() + p[f"conv{number}.bias"][i] for s in starts]
                    for i, row in enumerate(weight)
                ]
            )
            scale = p[f"norm{number}.weight"] / np.sqrt(p[f"norm{number}.running_var"] + 1e-5)
            shift = p[f"norm{number}.bias"] - p[f"norm{number}.running_mean"] * scale
            value = np.maximum(value * scale[:, None] + shift[:, None], 0)
            value = np.array([[row[4 * i : 4 * i + 4].max() for i in range(len(row) // 4)] for row in value])
        expected.append(p["head.weight"] @ value.mean(axis=1) + p["head.bias"])
    assert np.allclose(model(x).detach().numpy(), np.array(expected), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("stride", "least"), [(1, 503), (4, 1772), (16, 6848)])
def test_any_length_from_the_least_on(stride: int, least: int) -> None:
    model = M5.build(channels=[4, 4, 4, 4], stride=stride).eval()
    for length in (least, least + 1, 8000, 16000):
        assert model(torch.zeros(2, 1, length)).shape == (2, 10)
    with pytest.raises(ObservationError, match=rf"at least {least} steps in time, got a batch of shape \(2, 1, "):
        model(torch.zeros(2, 1, least - 1))


@pytest.mark.parametrize("shape", [(2, 8000), (2, 2, 8000), (2, 1, 8000, 1), (8000,)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ObservationError, match=r"sounds \(sample, channel, time\) of 1 channel"):
        M5.build(**TUTORIAL)(torch.zeros(*shape))


def test_sites_and_pools_are_named() -> None:
    observation = rs.observe(M5.build(seed=0).eval(), torch.zeros(2, 1, 8000))
    assert list(observation.sites) == [f"relu{number}#0" for number in range(1, 5)]
    assert list(observation.pools) == [f"pool{number}#0" for number in range(1, 5)]
    # (8000 - 80) / 4 + 1 positions of 128 units
    assert observation.pattern["relu1#0"].shape == (2 * 1981, 128)


def test_initial_weights_are_glorots() -> None:
    """Null: U(-b, b), b = sqrt(6 / (fan_in + fan_out)); 5,120 to 393,216 weights in 5 layers; error 1e-6 in all."""
    model = M5.build(seed=0)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv1d | nn.Linear)]
    assert len(layers) == 5
    for layer in layers:
        bound = math.sqrt(6 / (layer.weight[0].numel() + layer.weight[:, 0].numel()))
        numbers = layer.weight.detach().double().flatten().numpy()
        assert abs(numbers).max() <= bound * (1 + 1e-6)
        assert scipy.stats.kstest(numbers, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > ERROR / 5
        assert scipy.stats.kstest(numbers, scipy.stats.uniform(-1.1 * bound, 2.2 * bound).cdf).pvalue < ERROR
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"channels": [32, 32]}, "channels is [32, 32]"),
        ({"channels": [1, 2, 3, 4, 5]}, "expected 4 numbers, one for each convolution"),
        ({"channels": [1, 2, 0, 4]}, "channels hold 0"),
        ({"channels": 32}, "channels is 32"),
        ({"stride": 0}, "stride is 0"),
        ({"classes": "ten"}, "classes is 'ten'"),
        ({"input_channels": 0}, "input_channels is 0"),
        ({"activation": "relu0"}, "Did you mean 'relu"),
        ({"strides": 4}, "Did you mean 'stride'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        M5.build(**params)
    assert message in str(caught.value)
