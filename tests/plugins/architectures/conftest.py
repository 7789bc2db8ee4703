"""What the tests of architectures share: slow, obvious layers, and a check of initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

ERROR = 1e-6


@pytest.fixture(scope="session")
def has_variance() -> Callable[..., bool]:
    """Whether values are independent N(0, variance): sum of squares, and Kolmogorov-Smirnov against the normal.

    Null: they are; the sum of squares over the variance is chi-square. Refuses a true null with probability `error` at
    most.
    """

    def check(values: torch.Tensor, variance: float, error: float = ERROR) -> bool:
        numbers = values.detach().double().flatten().numpy()
        total = float((numbers**2).sum() / variance)
        low, high = scipy.stats.chi2.ppf(error / 4, numbers.size), scipy.stats.chi2.isf(error / 4, numbers.size)
        normal = scipy.stats.kstest(numbers / math.sqrt(variance), "norm").pvalue > error / 2
        return bool(low < total < high and normal)

    return check


@pytest.fixture(scope="session")
def are_he_normal(has_variance: Callable[..., bool]) -> Callable[..., bool]:
    """Whether the weights of each of some layers are N(0, 2 / fan_in), or fan_out, and the biases 0.

    The error probability is split evenly over the layers.
    """

    def check(layers: list[nn.Module], *, mode: str = "fan_in", factor: float = 1.0) -> bool:
        good = []
        for layer in layers:
            weight, bias = layer.weight, layer.bias
            fan = weight[0].numel() if mode == "fan_in" else weight[:, 0].numel()
            good.append(has_variance(weight, factor**2 * 2 / fan, ERROR / len(layers)))
            good.append(bias is None or not bias.any())
        return all(good)

    return check


def convolve(image: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None, stride: int = 1) -> np.ndarray:
    """One image, (channel, height, width), convolved position by position with one zero on each side."""
    _, height, width = image.shape
    padded = np.pad(image, [(0, 0), (1, 1), (1, 1)])
    rows, columns = range(0, height, stride), range(0, width, stride)
    result = np.empty((len(weight), len(rows), len(columns)))
    for out in range(len(weight)):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                result[out, i, j] = (padded[:, row : row + 3, column : column + 3] * weight[out]).sum()
        result[out] += 0 if bias is None else bias[out]
    return result


def normalise(image: np.ndarray, p: dict[str, np.ndarray], name: str, groups: int | None = None) -> np.ndarray:
    """One image normalised channel by channel: with running statistics, or with its own within each group."""
    result = np.empty_like(image)
    for channel, plane in enumerate(image):
        if groups is None:
            mean, variance = p[f"{name}.running_mean"][channel], p[f"{name}.running_var"][channel]
        else:
            size = len(image) // groups
            first = channel // size * size
            values = image[first : first + size]
            mean, variance = values.mean(), values.var()
        scaled = (plane - mean) / math.sqrt(variance + 1e-5)
        result[channel] = p[f"{name}.weight"][channel] * scaled + p[f"{name}.bias"][channel]
    return result


def shortcut(image: np.ndarray, channels: int, stride: int, *, before: int, average: bool = False) -> np.ndarray:
    """One image with fewer positions and more channels, value by value."""
    _, height, width = image.shape
    rows, columns = range(0, height, stride), range(0, width, stride)
    result = np.zeros((channels, len(rows), len(columns)))
    for channel, plane in enumerate(image):
        for i, row in enumerate(rows):
            for j, column in enumerate(columns):
                patch = plane[row : row + stride, column : column + stride]
                result[before + channel, i, j] = patch.mean() if average else patch[0, 0]
    return result


@pytest.fixture(scope="session")
def dense() -> SimpleNamespace:
    """The layers above, by name."""
    return SimpleNamespace(convolve=convolve, normalise=normalise, shortcut=shortcut)


@pytest.fixture(scope="session")
def scrambled() -> Callable[[nn.Module], dict[str, np.ndarray]]:
    """Gives every parameter and running statistic of a model a value of its own; returns them by name."""

    def scramble(model: nn.Module, seed: int = 0) -> dict[str, np.ndarray]:
        generator = torch.Generator().manual_seed(seed)
        values = {}
        with torch.no_grad():
            for name, tensor in model.state_dict().items():
                if tensor.is_floating_point():
                    tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype))
                    if name.endswith("running_var"):
                        tensor.abs_().add_(0.5)
                    values[name] = tensor.numpy()
        return values

    return scramble
