"""Residual networks that widen a little with every block."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size
from reluscope_plugins.architectures.initialisation import he_normal
from reluscope_plugins.architectures.residual import (
    STAGES,
    ResidualBlock,
    Shortcut,
    check_blocks,
    conv3x3,
    make_classifier,
    make_stages,
)


def pyramidnet(
    depth: int | None = None,
    *,
    blocks_per_stage: int | None = None,
    alpha: float = 84,
    activation: str = "relu",
    width: int = 16,
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    r"""Build an additive PyramidNet for small images.

    Block k of N = 3 n gives `round(width + k alpha / N)` channels. A block is norm, conv, norm, relu, conv, norm, plus
    the shortcut, which averages 2 x 2 positions where the block has a stride and appends zero channels; after the last
    block norm and relu. Each block activates once. Initial weights of convolutions are N(0, 2 / fan_out), the linear
    layer's torch's own.

    The paper rounds the widths down at every block (eq. 2), its authors' code once for each block and to the nearest
    (halves to the even), as here.

    Args:
        depth: Layers with weights, 6 n + 2; default 20.
        blocks_per_stage: n in place of the depth.
        alpha: Channels added from the first convolution to the last.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        width: Channels of the first convolution.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Han et al. 2017, eq. 2 and fig. 6d; the authors' code, dyhan0920/PyramidNet-PyTorch.

    Example:
        >>> model = pyramidnet(20, alpha=84)
        >>> [stage[-1].conv2.out_channels for stage in (model.stage1, model.stage2, model.stage3)]
        [44, 72, 100]
        >>> [name for name, _ in model.stage2.block1.named_children()]
        ['norm1', 'conv1', 'norm2', 'relu', 'conv2', 'norm3', 'shortcut']
    """
    name = "pyramidnet"
    blocks = check_blocks(name, depth, blocks_per_stage)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha) or alpha <= 0:
        raise RecipeError(f"architecture {name!r}: alpha is {alpha!r}, expected a number above 0")
    check_size(name, "width", width)
    check_size(name, "input_channels", input_channels)
    check_size(name, "classes", classes)

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        layers: dict[str, nn.Module] = {
            "norm1": nn.BatchNorm2d(inputs),
            "conv1": conv3x3(inputs, outputs, stride),
            "norm2": nn.BatchNorm2d(outputs),
            activation: make_activation(activation),
            "conv2": conv3x3(outputs, outputs),
            "norm3": nn.BatchNorm2d(outputs),
            "shortcut": Shortcut(inputs, outputs, stride, average=True, centred=False),
        }
        return ResidualBlock(OrderedDict(layers))

    total = STAGES * blocks
    widths = [round(width + number * alpha / total) for number in range(1, total + 1)]
    stem = OrderedDict(conv=conv3x3(input_channels, width), norm=nn.BatchNorm2d(width))
    stages = make_stages(block, width, [widths[first : first + blocks] for first in range(0, total, blocks)])
    final = OrderedDict({"norm": nn.BatchNorm2d(widths[-1]), activation: make_activation(activation)})
    parts: OrderedDict[str, nn.Module] = OrderedDict(stem=nn.Sequential(stem)) | stages
    he_normal(nn.ModuleDict(parts), mode="fan_out")
    return nn.Sequential(parts | {"final": nn.Sequential(final)} | make_classifier(widths[-1], classes))
