"""A small convolutional network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

from reluscope.errors import RecipeError, nearest
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size, check_sizes

POOLINGS: Mapping[str, Callable[[], nn.Module] | None] = MappingProxyType(
    {"max": lambda: nn.MaxPool2d(2), "average": lambda: nn.AvgPool2d(2), "none": None}
)
"""Name to what halves the image between two convolutions."""


def small_cnn(
    input_shape: Sequence[int] = (1, 28, 28),
    *,
    classes: int = 10,
    channels: Sequence[int] = (16, 32, 32),
    kernel: int = 3,
    batch_norm: bool = False,
    pooling: str = "max",
    pool_every: int = 1,
    global_pool: bool = True,
    activation: str = "relu",
) -> nn.Sequential:
    """Build stacked convolutions: `conv1`, (`norm1`), `relu1`, (`pool1`), `conv2`, ..., and a linear `head`.

    Convolutions keep height and width; pooling halves them after so many convolutions, but not after the last; the head
    sees each channel's mean (`global_pool`), or all values.

    Args:
        input_shape: Channels, height and width of an image.
        classes: Number of outputs.
        channels: Channels that each convolution gives.
        kernel: Width of a convolution, odd.
        batch_norm: Whether batch normalisation comes before each activation; convolutions then have no bias.
        pooling: `"max"`, `"average"` or `"none"`.
        pool_every: Convolutions between two poolings.
        global_pool: Whether each channel's mean is taken before the head.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.

    Returns:
        The network; it takes (sample, channel, height, width).

    Raises:
        RecipeError: If a value is out of its range, or the image is too small to be halved so often.

    Example:
        >>> import torch
        >>> model = small_cnn([1, 8, 8], channels=[4, 8])
        >>> [name for name, _ in model.named_children()]
        ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'global_pool', 'flatten', 'head']
        >>> model(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """
    name = "small_cnn"
    shape = check_sizes(name, "input_shape", input_shape, at_least=3)
    if len(shape) != 3:
        raise RecipeError(f"architecture {name!r}: input_shape is {shape}, expected [channels, height, width]")
    widths = check_sizes(name, "channels", channels, at_least=1)
    check_size(name, "classes", classes)
    if check_size(name, "kernel", kernel) % 2 == 0:
        raise RecipeError(f"architecture {name!r}: kernel is {kernel}, expected an odd number, which keeps the size")
    if pooling not in POOLINGS:
        raise RecipeError(f"architecture {name!r}: unknown pooling {pooling!r}. {nearest(str(pooling), POOLINGS)}")
    make_pool = POOLINGS[pooling]
    halvings = (len(widths) - 1) // check_size(name, "pool_every", pool_every)
    if make_pool is not None and min(shape[1:]) >> halvings < 1:
        raise RecipeError(
            f"architecture {name!r}: an image of {shape[1]} x {shape[2]} cannot be halved {halvings} times; give fewer "
            "channels or pooling = 'none'"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = shape[0]
    for number, outputs in enumerate(widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not batch_norm)
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(outputs)
        layers[f"{activation}{number}"] = make_activation(activation)
        if make_pool is not None and number % pool_every == 0 and number < len(widths):
            layers[f"pool{number}"] = make_pool()
        inputs = outputs
    height, width = (size >> (halvings if make_pool is not None else 0) for size in shape[1:])
    if global_pool:
        layers["global_pool"] = nn.AdaptiveAvgPool2d(1)
        height = width = 1
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(inputs * height * width, classes)
    return nn.Sequential(layers)
