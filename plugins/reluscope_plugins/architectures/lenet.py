"""A convolutional network for small images: two convolutions with max-pooling, three linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size, check_sizes

KERNEL = 5


def lenet(
    input_shape: Sequence[int] = (1, 28, 28),
    *,
    channels: Sequence[int] = (6, 16),
    widths: Sequence[int] = (120, 84),
    activation: str = "relu",
    classes: int = 10,
) -> nn.Sequential:
    """Build two convolutions, each with an activation and max-pooling by 2, and three linear layers.

    The sizes are LeNet-5's: 5 x 5 convolutions, the first padded by 2, the second not. Its pooling is an average and
    its activation a hyperbolic tangent, where here is max-pooling and ReLU, as the source has it.

    Args:
        input_shape: Channels, height and width of an image.
        channels: Channels that the two convolutions give.
        widths: Units of the two hidden linear layers.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width).

    Raises:
        RecipeError: If a value is out of its range, or the image is too small.

    References:
        LeCun et al. 1998, figure 2 (sizes); Jeong, Barton and Ramirez 2020 (ICERM), convolutional neural network.

    Example:
        >>> import torch
        >>> model = lenet()
        >>> model(torch.zeros(5, 1, 28, 28)).shape, model.linear1.in_features
        (torch.Size([5, 10]), 400)
    """
    name = "lenet"
    shape = check_sizes(name, "input_shape", input_shape, at_least=3)
    convolved = check_sizes(name, "channels", channels, at_least=2)
    hidden = check_sizes(name, "widths", widths, at_least=2)
    for key, values, number in (("input_shape", shape, 3), ("channels", convolved, 2), ("widths", hidden, 2)):
        if len(values) != number:
            raise RecipeError(f"architecture {name!r}: {key} is {values}, expected {number} numbers")
    height, width = ((size // 2 - KERNEL + 1) // 2 for size in shape[1:])
    if min(height, width) < 1:
        raise RecipeError(
            f"architecture {name!r}: an image of {shape[1]} x {shape[2]} is too small, expected at least 12 x 12"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (inputs, outputs) in enumerate(zip([shape[0], convolved[0]], convolved, strict=True), start=1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, KERNEL, padding=2 if number == 1 else 0)
        layers[f"{activation}{number}"] = make_activation(activation)
        layers[f"pool{number}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    sizes = [convolved[1] * height * width, *hidden]
    for number in (1, 2):
        layers[f"linear{number}"] = nn.Linear(sizes[number - 1], sizes[number])
        layers[f"{activation}{number + 2}"] = make_activation(activation)
    layers["head"] = nn.Linear(hidden[1], check_size(name, "classes", classes))
    return nn.Sequential(layers)
