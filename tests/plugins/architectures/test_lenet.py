"""The convolutional network of the talk: its layers and its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

LENET = Lab(plugins=[architectures]).architectures["lenet"]


def convolve(image: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int) -> np.ndarray:
    padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)])
    outputs, _, size, _ = weight.shape
    height, width = padded.shape[1] - size + 1, padded.shape[2] - size + 1
    result = np.empty((outputs, height, width))
    for out in range(outputs):
        for row in range(height):
            for column in range(width):
                patch = padded[:, row : row + size, column : column + size]
                result[out, row, column] = (patch * weight[out]).sum() + bias[out]
    return result


def halve(image: np.ndarray) -> np.ndarray:
    channels, height, width = image.shape
    result = np.empty((channels, height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            result[:, row, column] = image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(1, 2))
    return result


def test_values_are_those_of_the_loops() -> None:
    model = LENET.build(input_shape=[2, 13, 16], channels=[3, 4], widths=[6, 5], classes=3, seed=0).double()
    x = torch.randn(2, 2, 13, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    expected = []
    for image in x.numpy():
        value = halve(np.maximum(convolve(image, p["conv1.weight"], p["conv1.bias"], 2), 0))
        value = halve(np.maximum(convolve(value, p["conv2.weight"], p["conv2.bias"], 0), 0)).ravel()
        for name in ("linear1", "linear2"):
            value = np.maximum(p[f"{name}.weight"] @ value + p[f"{name}.bias"], 0)
        expected.append(p["head.weight"] @ value + p["head.bias"])
    assert np.allclose(model(x).detach().numpy(), np.array(expected), atol=1e-12)


def test_six_convolutions() -> None:
    """Three in each group: only the first of the second group shrinks the image."""
    model = LENET.build(input_shape=[1, 12, 15], channels=[2, 3], convolutions=6, widths=[4, 4], seed=0).double()
    names = [name for name, _ in model.named_children()]
    assert names[:8] == ["conv1", "relu1", "conv2", "relu2", "conv3", "relu3", "pool1", "conv4"]
    assert names[12:15] == ["relu6", "pool2", "flatten"]
    image = torch.randn(1, 12, 15, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p = {name: value.detach().numpy() for name, value in model.named_parameters()}
    value = image.numpy()
    for number in range(1, 7):
        value = convolve(value, p[f"conv{number}.weight"], p[f"conv{number}.bias"], 0 if number == 4 else 2)
        value = np.maximum(value, 0)
        value = halve(value) if number in (3, 6) else value
    assert value.shape == (3, 1, 1)
    flat = model[: names.index("flatten") + 1](image[None]).detach().numpy()
    assert np.allclose(flat, value.reshape(1, -1), atol=1e-12)
    assert model(image[None]).shape == (1, 10)


def test_sizes_are_lenet_5s() -> None:
    model = LENET.build()
    # LeCun et al. 1998: layers C1, C3 (there sparse: here every map sees all), C5, F6; and ten outputs of 84 values
    counts = {name: sum(v.numel() for v in module.parameters()) for name, module in model.named_children()}
    assert {name: count for name, count in counts.items() if count} == {
        "conv1": 156,
        "conv2": 2416,
        "linear1": 48120,
        "linear2": 10164,
        "head": 850,
    }
    observation = rs.observe(model.double(), torch.zeros(2, 1, 28, 28, dtype=torch.float64), affine=True)
    assert observation.sites == ("relu1#0", "relu2#0", "relu3#0", "relu4#0")
    assert observation.pools == ("pool1#0", "pool2#0")
    assert observation.affine().weight.shape == (2, 10, 784)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"input_shape": [28, 28]}, "input_shape is [28, 28]"),
        ({"input_shape": [1, 11, 28]}, "11 x 28 is too small, expected at least 12 x 12"),
        ({"channels": [6, 16, 32]}, "channels is [6, 16, 32], expected 2 numbers"),
        ({"widths": [120, 0]}, "widths hold 0"),
        ({"convolutions": 3}, "convolutions is 3, expected an even number"),
        ({"convolutions": 0}, "convolutions is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"activation": "relu7"}, "Did you mean 'relu"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        LENET.build(**params)
    assert message in str(caught.value)


@pytest.mark.parametrize("convolutions", [2, 6])
def test_normal_weights(convolutions: int) -> None:
    """Null: weights N(0, 2 / fan_in). Sum of squares of each of up to 9 layers, two-sided; error below 1e-6."""
    model = LENET.build(convolutions=convolutions, init="he_normal", seed=2)
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == convolutions + 3
    for layer in layers:
        weight = layer.weight.detach().double()
        law = scipy.stats.chi2(weight.numel())
        squares = float(weight.square().sum()) * weight[0].numel() / 2
        assert min(law.sf(squares), law.cdf(squares)) > 5e-8
        assert layer.bias is not None
        assert not layer.bias.any()


def test_initial_weights_are_torch_s_unless_told() -> None:
    plain, told = (LENET.build(seed=2, **keys).state_dict() for keys in ({}, {"init": "default"}))
    assert all(torch.equal(value, told[name]) for name, value in plain.items())
    assert plain["conv1.bias"].any()
    with pytest.raises(ReluscopeError, match="init"):
        LENET.build(init="gaussian")


def test_the_smallest_image() -> None:
    assert LENET.build(input_shape=[1, 12, 12])(torch.zeros(2, 1, 12, 12)).shape == (2, 10)
