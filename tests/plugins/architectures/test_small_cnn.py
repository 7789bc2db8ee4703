"""The small convolutional network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

SMALL_CNN = Lab(plugins=[architectures]).architectures["small_cnn"]


def convolve(image: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One image, (channel, height, width), convolved pixel by pixel, edges padded with zeros."""
    outputs, _, size, _ = weight.shape
    padded = np.pad(image, [(0, 0), (size // 2, size // 2), (size // 2, size // 2)])
    result = np.empty((outputs, *image.shape[1:]))
    for out in range(outputs):
        for row in range(image.shape[1]):
            for column in range(image.shape[2]):
                patch = padded[:, row : row + size, column : column + size]
                result[out, row, column] = (patch * weight[out]).sum() + bias[out]
    return result


def pool(image: np.ndarray, how: Any) -> np.ndarray:
    channels, height, width = image.shape
    result = np.empty((channels, height // 2, width // 2))
    for row in range(height // 2):
        for column in range(width // 2):
            result[:, row, column] = how(image[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2], axis=(1, 2))
    return result


@pytest.mark.parametrize(("pooling", "how"), [("max", np.max), ("average", np.mean), ("none", None)])
@pytest.mark.parametrize("kernel", [3, 5])
def test_values_are_those_of_the_loops(pooling: str, how: Any, kernel: int) -> None:
    model = SMALL_CNN.build(
        input_shape=[2, 7, 6], classes=3, channels=[3, 4], kernel=kernel, pooling=pooling, seed=0
    ).double()
    x = torch.randn(2, 2, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters()}
    expected = []
    for image in x.numpy():
        value = np.maximum(convolve(image, parameters["conv1.weight"], parameters["conv1.bias"]), 0)
        value = pool(value, how) if how else value
        value = np.maximum(convolve(value, parameters["conv2.weight"], parameters["conv2.bias"]), 0)
        expected.append(parameters["head.weight"] @ value.mean(axis=(1, 2)) + parameters["head.bias"])
    assert np.allclose(model(x).detach().numpy(), np.array(expected), atol=1e-12)


@pytest.mark.parametrize(("pooling", "size"), [("max", 3 * 3), ("none", 7 * 6)])
def test_without_global_pool_the_head_sees_all_values(pooling: str, size: int) -> None:
    model = SMALL_CNN.build(input_shape=[2, 7, 6], channels=[3, 4], pooling=pooling, global_pool=False)
    assert "global_pool" not in dict(model.named_children())
    assert model.head.in_features == 4 * size
    x = torch.randn(2, 2, 7, 6, generator=torch.Generator().manual_seed(1))
    seen = model[:-2](x).reshape(2, -1)
    torch.testing.assert_close(model(x), seen @ model.head.weight.T + model.head.bias)


def test_parts_are_named() -> None:
    model = SMALL_CNN.build(input_shape=[3, 32, 32], channels=[8, 16], batch_norm=True, activation="prelu")
    assert [name for name, _ in model.named_children()] == [
        *("conv1", "norm1", "prelu1", "pool1"),
        *("conv2", "norm2", "prelu2"),
        *("global_pool", "flatten", "head"),
    ]
    assert model.conv1.bias is None
    assert isinstance(model.pool1, nn.MaxPool2d)
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("every", "pools"), [(1, [1, 2, 3, 4]), (2, [2, 4]), (3, [3]), (5, []), (9, [])])
def test_pooling_comes_after_so_many_convolutions(every: int, pools: list[int]) -> None:
    model = SMALL_CNN.build(input_shape=[1, 17, 16], channels=[2] * 5, pool_every=every, global_pool=False)
    names = [name for name, _ in model.named_children()]
    assert [int(name.removeprefix("pool")) for name in names if name.startswith("pool")] == pools
    for number in pools:
        assert names[names.index(f"pool{number}") - 1] == f"relu{number}"
    assert model(torch.zeros(1, 1, 17, 16)).shape == (1, 10)


def test_defaults_take_28_by_28_and_other_sizes() -> None:
    model = SMALL_CNN.build()
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_seed_gives_the_weights() -> None:
    first, again = (SMALL_CNN.build(seed=5).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"input_shape": [28, 28]}, "input_shape is [28, 28]"),
        ({"input_shape": [1, 28, 28, 1]}, "expected [channels, height, width]"),
        ({"channels": []}, "channels is []"),
        ({"channels": [8, -1]}, "channels hold -1"),
        ({"classes": 0}, "classes is 0"),
        ({"kernel": 4}, "expected an odd number"),
        ({"kernel": "3"}, "kernel is '3'"),
        ({"pool_every": 0}, "pool_every is 0"),
        ({"pooling": "maxi"}, "Did you mean 'max'"),
        ({"activation": "relu7"}, "Did you mean 'relu"),
        ({"input_shape": [1, 8, 3], "channels": [2, 2, 2]}, "8 x 3 cannot be halved 2 times"),
        ({"chanels": [8]}, "Did you mean 'channels'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        SMALL_CNN.build(**params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
