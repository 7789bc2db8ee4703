"""A convolutional network for small images: two or more convolutions with max-pooling, three linear layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size, check_sizes
from reluscope_plugins.architectures.initialisation import check_drawn, he_normal

KERNEL = 5


def lenet(
    input_shape: Sequence[int] = (1, 28, 28),
    *,
    channels: Sequence[int] = (6, 16),
    convolutions: int = 2,
    widths: Sequence[int] = (120, 84),
    activation: str = "relu",
    init: str = "default",
    classes: int = 10,
) -> nn.Sequential:
    """Build two groups of convolutions with activations, each closed by max-pooling by 2, and three linear layers.

    The sizes are LeNet-5's: of each group the first convolution is 5 x 5, that of the first group padded by 2, that of
    the second not. Its pooling is an average and its activation a hyperbolic tangent, where here is max-pooling and
    ReLU, as the source has it. Further convolutions of a group are 5 x 5 too, and keep channels and size. With six in
    all it stands for the variant of Gamba et al., who print of it only that number.

    Args:
        input_shape: Channels, height and width of an image.
        channels: Channels that the convolutions of the two groups give.
        convolutions: How many in all, an even number: half of them in each group.
        widths: Units of the two hidden linear layers.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        init: `"default"` (torch's own, uniform), or `"he_normal"`: weights N(0, 2 / fan_in), biases 0.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width).

    Raises:
        RecipeError: If a value is out of its range, or the image is too small.

    References:
        LeCun et al. 1998, figure 2 (sizes); Jeong, Barton and Ramirez 2020 (ICERM), convolutional neural network;
        Gamba et al. 2020, section A.7 (six convolutions); He et al. 2015, eq. 10 (`init`).

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
    deep = check_size(name, "convolutions", convolutions)
    if deep % 2:
        raise RecipeError(
            f"architecture {name!r}: convolutions is {deep}, expected an even number: as many in each group"
        )
    inputs = shape[0]
    for number in range(1, deep + 1):
        group, first = (2, deep // 2 + 1) if number > deep // 2 else (1, 1)
        padding = 0 if (group, number) == (2, first) else KERNEL // 2
        layers[f"conv{number}"] = nn.Conv2d(inputs, convolved[group - 1], KERNEL, padding=padding)
        layers[f"{activation}{number}"] = make_activation(activation)
        inputs = convolved[group - 1]
        if number in (deep // 2, deep):
            layers[f"pool{group}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    sizes = [convolved[1] * height * width, *hidden]
    for number in (1, 2):
        layers[f"linear{number}"] = nn.Linear(sizes[number - 1], sizes[number])
        layers[f"{activation}{deep + number}"] = make_activation(activation)
    layers["head"] = nn.Linear(hidden[1], check_size(name, "classes", classes))
    model = nn.Sequential(layers)
    if check_drawn(name, init):
        he_normal(model)
    return model
