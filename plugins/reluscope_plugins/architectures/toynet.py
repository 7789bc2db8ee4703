"""Stacked convolutions of one width."""

from __future__ import annotations

from torch import nn

from reluscope_plugins.architectures.resnet import cifar_network


def toynet(
    depth: int | None = None,
    *,
    blocks_per_stage: int | None = None,
    activation: str = "relu",
    normalisation: str = "batch",
    groups: int = 8,
    width: int = 32,
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    """Build a chain of 3 x 3 convolutions with the same number of filters everywhere, and global average pooling.

    It is the `convnet` of the same depth whose stages do not grow: height and width are halved where that one halves
    them.

    Args:
        depth: Layers with weights, 6 n + 2; default 20.
        blocks_per_stage: n in place of the depth: 1 to 5 give 2 to 10 convolutions a stage.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        normalisation: `"batch"`, `"group"`, `"layer"` or `"none"`.
        groups: For `"group"`: number of groups, a divisor of the width.
        width: Channels of every convolution.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Hartmann 2025, section 2.2 (networks, i) and section 3.1.3.

    Example:
        >>> model = toynet(8)
        >>> model.stem.conv.out_channels, model.stage3.block1.conv2.out_channels
        (32, 32)
    """
    return cifar_network(
        "toynet",
        depth=depth,
        blocks_per_stage=blocks_per_stage,
        version=1,
        residual=False,
        activation=activation,
        normalisation=normalisation,
        groups=groups,
        width=width,
        growth=1,
        input_channels=input_channels,
        classes=classes,
    )
