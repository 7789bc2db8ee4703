"""What the residual networks for small images are put together from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.checks import check_size

STAGES = 3
"""Number of stages; each but the first halves height and width."""


class ResidualBlock(nn.Sequential):
    """Layers in a row, but for the one named `shortcut`: it maps the block's input, and the result is added there.

    Without a layer of this name it is a plain `torch.nn.Sequential`.

    Example:
        >>> block = ResidualBlock(OrderedDict(tanh=nn.Hardtanh(), shortcut=nn.Identity(), relu=nn.ReLU()))
        >>> block(torch.tensor([3.0, -1.0])).tolist()
        [4.0, 0.0]
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Map a batch.

        Args:
            input: Images, (sample, channel, height, width).

        Returns:
            Images, (sample, channel, height, width).
        """
        value = input
        for name, layer in self.named_children():
            value = value + layer(input) if name == "shortcut" else layer(value)
        return value


class Shortcut(nn.Module):
    """A shortcut without parameters: fewer positions where the branch has a stride, zeros as the channels that miss.

    Args:
        inputs: Channels of the block's input.
        outputs: Channels of its output, at least as many.
        stride: Stride of its first convolution.
        average: Whether positions are averaged; otherwise the first of each patch is taken.
        centred: Whether half of the zero channels come before the others; otherwise all come after.

    References:
        He et al. 2016, section 3.3, option A; Han et al. 2017.

    Example:
        >>> Shortcut(1, 3, stride=2)(torch.arange(4.0).reshape(1, 1, 2, 2)).tolist()
        [[[[0.0]], [[0.0]], [[0.0]]]]
        >>> Shortcut(1, 2, stride=2, average=True, centred=False)(torch.arange(4.0).reshape(1, 1, 2, 2)).tolist()
        [[[[1.5]], [[0.0]]]]
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, average: bool = False, centred: bool = True) -> None:
        super().__init__()
        self.stride = stride
        self.average = average
        before = (outputs - inputs) // 2 if centred else 0
        self.channels = (before, outputs - inputs - before)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch.

        Args:
            x: Images, (sample, channel, height, width).

        Returns:
            Images, (sample, channel, height, width), as the branch gives them.
        """
        if self.stride > 1 and self.average:
            # Rounding up, as the convolution does.
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        elif self.stride > 1:
            x = x[:, :, :: self.stride, :: self.stride]
        return F.pad(x, (0, 0, 0, 0, *self.channels)) if any(self.channels) else x

    def extra_repr(self) -> str:
        """Say what it does.

        Returns:
            What `repr` shows in parentheses.
        """
        return f"stride={self.stride}, average={self.average}, zero_channels={self.channels}"


def conv3x3(inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Make a 3 x 3 convolution padded by one zero on each side.

    Args:
        inputs: Channels that it takes.
        outputs: Channels that it gives.
        stride: Step between two positions.
        bias: Whether it has one; none is needed where a normalisation follows.

    Returns:
        A new module.
    """
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


def check_blocks(architecture: str, depth: Any, blocks_per_stage: Any) -> int:
    """Work out how many blocks of two convolutions there are in each of the three stages.

    Args:
        architecture: Name of the architecture, for the message.
        depth: Number of layers with weights, 6 n + 2, or None: 20 where blocks_per_stage is None too.
        blocks_per_stage: n, or None.

    Returns:
        n.

    Raises:
        RecipeError: If the depth is not of this form, or the two contradict each other.

    Example:
        >>> check_blocks("resnet", 56, None), check_blocks("resnet", None, 5), check_blocks("resnet", None, None)
        (9, 5, 3)
    """
    if blocks_per_stage is not None:
        blocks = check_size(architecture, "blocks_per_stage", blocks_per_stage)
        if depth is not None and depth != 6 * blocks + 2:
            raise RecipeError(
                f"architecture {architecture!r}: depth is {depth!r} and blocks_per_stage is {blocks}, which makes a "
                f"depth of {6 * blocks + 2}; give one of the two"
            )
        return blocks
    depth = 20 if depth is None else depth
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 8 or depth % 6 != 2:
        raise RecipeError(
            f"architecture {architecture!r}: depth is {depth!r}, expected 6 n + 2 layers, such as 8, 14, 20, 32, 44, "
            "56 or 110"
        )
    return (depth - 2) // 6


def make_stages(
    make_block: Callable[[int, int, int], nn.Module], inputs: int, widths: Sequence[Sequence[int]]
) -> OrderedDict[str, nn.Module]:
    """Chain blocks to stages `stage1`, `stage2`, ... of blocks `block1`, `block2`, ...

    Args:
        make_block: From channels in, channels out and stride to a block.
        inputs: Channels of the first block's input.
        widths: For each stage the channels that each of its blocks gives.

    Returns:
        The stages by name; each but the first begins with a stride of 2.
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, outputs_of_stage in enumerate(widths, start=1):
        blocks: OrderedDict[str, nn.Module] = OrderedDict()
        for number, outputs in enumerate(outputs_of_stage, start=1):
            blocks[f"block{number}"] = make_block(inputs, outputs, 2 if stage > 1 and number == 1 else 1)
            inputs = outputs
        stages[f"stage{stage}"] = nn.Sequential(blocks)
    return stages


def make_classifier(inputs: int, classes: int) -> OrderedDict[str, nn.Module]:
    """Make the layers from images to logits: each channel's mean, and one linear layer.

    Args:
        inputs: Channels of the images.
        classes: Number of outputs.

    Returns:
        `global_pool`, `flatten` and `head`.
    """
    return OrderedDict(global_pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), head=nn.Linear(inputs, classes))
