"""VGG networks for small images."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_choice, check_flag, check_size
from reluscope_plugins.architectures.initialisation import he_normal
from reluscope_plugins.architectures.residual import conv3x3, make_classifier

CONVOLUTIONS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
)
"""Depth to the number of convolutions in each of the five groups: configurations A, B, D and E."""

MULTIPLES = (1, 2, 4, 8, 8)
"""Channels of the convolutions of each group, in units of those of the first."""


def vgg(
    depth: int = 16,
    *,
    batch_norm: bool = True,
    width: int = 64,
    weight_std: float | None = None,
    activation: str = "relu",
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    """Build a VGG network with the head that is usual for small images: one linear layer.

    Five groups of 3 x 3 convolutions (`conv1_1`, `norm1_1`, `relu1_1`, ...), each closed by a max-pooling (`pool1`,
    ...) that halves height and width, rounding up; then each channel's mean and a linear layer in place of the three of
    the original, so that two layers fewer have weights than the depth says. Convolutions have biases. Initial weights
    are N(0, 2 / fan_in), biases 0; the original draws N(0, 0.01), a standard deviation of 0.1, and starts its deeper
    networks from a trained one.

    Args:
        depth: 11, 13, 16 or 19.
        batch_norm: Whether batch normalisation comes before each activation.
        width: Channels of the first group; the others have 2, 4, 8 and 8 times as many.
        weight_std: Standard deviation of all initial weights, which are normal, with mean 0; None draws them by He.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Simonyan and Zisserman 2015, table 1, section 3.1 (N(0, 0.01)); He et al. 2015, eq. 10 (initial weights).

    Example:
        >>> model = vgg(11)
        >>> [name for name, _ in model.named_children()][:8]
        ['conv1_1', 'norm1_1', 'relu1_1', 'pool1', 'conv2_1', 'norm2_1', 'relu2_1', 'pool2']
    """
    name = "vgg"
    check_choice(name, "depth", depth, CONVOLUTIONS)
    check_flag(name, "batch_norm", batch_norm)
    check_size(name, "classes", classes)
    check_size(name, "width", width)
    known = isinstance(weight_std, int | float) and not isinstance(weight_std, bool) and math.isfinite(weight_std)
    if weight_std is not None and (not known or weight_std <= 0):
        raise RecipeError(f"architecture {name!r}: weight_std is {weight_std!r}, expected a number above 0")
    inputs = check_size(name, "input_channels", input_channels)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for group, (convolutions, multiple) in enumerate(zip(CONVOLUTIONS[depth], MULTIPLES, strict=True), start=1):
        outputs = multiple * width
        for number in range(1, convolutions + 1):
            layers[f"conv{group}_{number}"] = conv3x3(inputs, outputs, bias=True)
            if batch_norm:
                layers[f"norm{group}_{number}"] = nn.BatchNorm2d(outputs)
            layers[f"{activation}{group}_{number}"] = make_activation(activation)
            inputs = outputs
        layers[f"pool{group}"] = nn.MaxPool2d(2, ceil_mode=True)
    model = nn.Sequential(layers | make_classifier(inputs, classes))
    he_normal(model)
    if weight_std is not None:
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=weight_std)
    return model
