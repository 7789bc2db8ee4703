"""Residual networks that train without normalisation."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size
from reluscope_plugins.architectures.initialisation import he_normal
from reluscope_plugins.architectures.residual import (
    STAGES,
    Shortcut,
    check_blocks,
    conv3x3,
    make_classifier,
    make_stages,
)


class Bias(nn.Module):
    """Adds one number, at first 0."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add it.

        Args:
            x: Any shape.

        Returns:
            The same shape.
        """
        return x + self.bias


class FixupBlock(nn.Module):
    """Two convolutions with a number added before and after each, the second's output also multiplied by one.

    `relu2(multiplier conv2(relu1(conv1(x + bias1a) + bias1b) + bias2a) + bias2b + shortcut(x))`. Where the block has a
    stride, the shortcut takes x + bias1a, as in the authors' code.

    Args:
        inputs: Channels that it takes.
        outputs: Channels that it gives.
        stride: Stride of the first convolution.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.

    References:
        Zhang et al. 2019, fig. 1.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, activation: str = "relu") -> None:
        super().__init__()
        self.strided = stride > 1
        self.bias1a = Bias()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bias1b = Bias()
        self._activations = (f"{activation}1", f"{activation}2")
        self.add_module(self._activations[0], make_activation(activation))
        self.bias2a = Bias()
        self.conv2 = conv3x3(outputs, outputs)
        self.multiplier = nn.Parameter(torch.ones(1))
        self.bias2b = Bias()
        self.shortcut = Shortcut(inputs, outputs, stride, centred=False)
        self.add_module(self._activations[1], make_activation(activation))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch.

        Args:
            x: Images, (sample, channel, height, width).

        Returns:
            Images, (sample, channel, height, width).
        """
        inner, outer = (self.get_submodule(name) for name in self._activations)
        shifted = self.bias1a(x)
        value = inner(self.bias1b(self.conv1(shifted)))
        value = self.bias2b(self.multiplier * self.conv2(self.bias2a(value)))
        return outer(value + self.shortcut(shifted if self.strided else x))


def fixup(
    depth: int | None = None,
    *,
    blocks_per_stage: int | None = None,
    activation: str = "relu",
    width: int = 16,
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    r"""Build a residual network with fixed-update initialisation: the `resnet` of this depth without normalisation.

    With L blocks of m = 2 convolutions, a block's first convolution is drawn from N(0, 2 / fan_out), times
    L^(-1 / (2 m - 2)) = L^(-1/2); its last one and the linear layer are 0, the convolution before the blocks is
    N(0, 2 / fan_out); biases are 0 and multipliers 1. So every block is at first the identity (and a relu), and the
    logits are 0. Its authors train biases and multipliers at a tenth of the learning rate.

    Args:
        depth: Layers with weights, 6 n + 2; default 20.
        blocks_per_stage: n in place of the depth.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        width: Channels of the first stage; the second has twice, the third four times as many.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Zhang et al. 2019, section 3 (rules 1 to 3); the authors' code, hongyi-zhang/Fixup.

    Example:
        >>> model = fixup(20)
        >>> model(torch.ones(1, 3, 32, 32)).tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
    """
    name = "fixup"
    blocks = check_blocks(name, depth, blocks_per_stage)
    check_size(name, "width", width)
    check_size(name, "input_channels", input_channels)
    check_size(name, "classes", classes)
    widths = [width * 2**stage for stage in range(STAGES)]
    stem = OrderedDict(conv=conv3x3(input_channels, width), bias=Bias())
    stages = make_stages(
        lambda inputs, outputs, stride: FixupBlock(inputs, outputs, stride, activation),
        width,
        [[outputs] * blocks for outputs in widths],
    )
    classifier = make_classifier(widths[-1], classes)
    classifier["bias"] = Bias()
    classifier.move_to_end("head")
    stem[activation] = make_activation(activation)
    model = nn.Sequential(OrderedDict(stem=nn.Sequential(stem)) | stages | classifier)
    he_normal(model, mode="fan_out")
    with torch.no_grad():
        classifier["head"].get_parameter("weight").zero_()
        for block in model.modules():
            if isinstance(block, FixupBlock):
                block.conv1.weight.mul_((STAGES * blocks) ** -0.5)
                block.conv2.weight.zero_()
    return model
