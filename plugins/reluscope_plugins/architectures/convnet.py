"""A residual network without its shortcuts."""

from __future__ import annotations

from torch import nn

from reluscope_plugins.architectures.resnet import cifar_network


def convnet(
    depth: int | None = None,
    *,
    blocks_per_stage: int | None = None,
    activation: str = "relu",
    normalisation: str = "batch",
    groups: int = 8,
    width: int = 16,
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    """Build the network that `resnet` is without its shortcuts: a chain of convolution, normalisation, activation.

    It has the parameters of the `resnet` of the same depth, since those shortcuts have none.

    Args:
        depth: Layers with weights, 6 n + 2; default 20.
        blocks_per_stage: n in place of the depth: 1 to 5 give 2 to 10 convolutions a stage.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        normalisation: `"batch"`, `"group"`, `"layer"` or `"none"`.
        groups: For `"group"`: number of groups, a divisor of the width.
        width: Channels of the first stage; the second has twice, the third four times as many.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Hartmann 2025, section 2.2 (networks, v) and section 3.1.3; He et al. 2016, section 4.2 (plain networks).

    Example:
        >>> model = convnet(8)
        >>> [name for name, _ in model.stage2.block1.named_children()]
        ['conv1', 'norm1', 'relu1', 'conv2', 'norm2', 'relu2']
    """
    return cifar_network(
        "convnet",
        depth=depth,
        blocks_per_stage=blocks_per_stage,
        version=1,
        residual=False,
        activation=activation,
        normalisation=normalisation,
        groups=groups,
        width=width,
        growth=2,
        input_channels=input_channels,
        classes=classes,
    )
