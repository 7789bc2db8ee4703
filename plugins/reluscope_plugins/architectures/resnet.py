"""Residual networks for small images, and what they are without their shortcuts."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_choice, check_flag, check_size
from reluscope_plugins.architectures.initialisation import he_normal
from reluscope_plugins.architectures.normalisations import make_normalisation
from reluscope_plugins.architectures.residual import (
    STAGES,
    ResidualBlock,
    Shortcut,
    check_blocks,
    conv3x3,
    make_classifier,
    make_stages,
)


def resnet(
    depth: int | None = None,
    *,
    blocks_per_stage: int | None = None,
    version: int = 1,
    residual: bool = True,
    activation: str = "relu",
    normalisation: str = "batch",
    groups: int = 8,
    width: int = 16,
    growth: int = 2,
    input_channels: int = 3,
    classes: int = 10,
) -> nn.Sequential:
    """Build a residual network for small images, the CIFAR variant of ResNet.

    A 3 x 3 convolution, three stages of `blocks_per_stage` blocks of two 3 x 3 convolutions each, the mean over
    positions and a linear layer: 6 n + 2 layers with weights. Stages after the first halve height and width; shortcuts
    have no parameters (option A).

    - Version 1 activates after the convolutions: conv, norm, relu, conv, norm, plus the shortcut, relu.
    - Version 2 before: norm, relu, conv, norm, relu, conv, plus the shortcut; after the last block norm and relu. Here
      the first block is like all others (He et al.'s own code lets its first activation come before the split).

    Without residuals both versions are the same chain of convolution, normalisation and activation. Initial weights are
    N(0, 2 / fan_in), biases 0; convolutions have biases only where there is no normalisation.

    Args:
        depth: Layers with weights, 6 n + 2; default 20.
        blocks_per_stage: n in place of the depth: 1 to 5 give 2 to 10 convolutions a stage.
        version: 1 (activation after addition) or 2 (pre-activation).
        residual: Whether blocks have shortcuts.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        normalisation: `"batch"`, `"group"`, `"layer"` or `"none"`.
        groups: For `"group"`: number of groups, a divisor of the width.
        width: Channels of the first stage.
        growth: Factor from one stage's channels to the next's.
        input_channels: Channels of an image.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, height, width) of any height and width.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        He et al. 2016 (Deep residual learning), section 4.2 and table 6; He et al. 2016 (Identity mappings), fig. 1;
        He et al. 2015, eq. 10 (initial weights).

    Example:
        >>> import torch
        >>> model = resnet(20)
        >>> sum(parameter.numel() for parameter in model.parameters())
        269722
        >>> [name for name, _ in model.stage1.block1.named_children()]
        ['conv1', 'norm1', 'relu1', 'conv2', 'norm2', 'shortcut', 'relu2']
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return cifar_network(
        "resnet",
        depth=depth,
        blocks_per_stage=blocks_per_stage,
        version=version,
        residual=residual,
        activation=activation,
        normalisation=normalisation,
        groups=groups,
        width=width,
        growth=growth,
        input_channels=input_channels,
        classes=classes,
    )


def cifar_network(
    architecture: str,
    *,
    depth: int | None,
    blocks_per_stage: int | None,
    version: int,
    residual: bool,
    activation: str,
    normalisation: str,
    groups: int,
    width: int,
    growth: int,
    input_channels: int,
    classes: int,
) -> nn.Sequential:
    """Build what `resnet`, `convnet` and `toynet` have in common.

    Args:
        architecture: Name of the architecture, for messages.
        depth: As for `resnet`.
        blocks_per_stage: As for `resnet`.
        version: As for `resnet`.
        residual: As for `resnet`.
        activation: As for `resnet`.
        normalisation: As for `resnet`.
        groups: As for `resnet`.
        width: As for `resnet`.
        growth: As for `resnet`.
        input_channels: As for `resnet`.
        classes: As for `resnet`.

    Returns:
        The network.

    Raises:
        RecipeError: If a value is out of its range.
    """
    blocks = check_blocks(architecture, depth, blocks_per_stage)
    check_choice(architecture, "version", version, (1, 2))
    check_flag(architecture, "residual", residual)
    check_size(architecture, "width", width)
    check_size(architecture, "growth", growth)
    check_size(architecture, "input_channels", input_channels)
    check_size(architecture, "classes", classes)
    bias = normalisation == "none"

    def norm(channels: int) -> nn.Module:
        return make_normalisation(architecture, normalisation, channels, groups=groups)

    def unit(inputs: int, outputs: int, stride: int, suffix: str) -> OrderedDict[str, nn.Module]:
        conv = {f"conv{suffix}": conv3x3(inputs, outputs, stride, bias=bias)}
        bend = {
            f"norm{suffix}": norm(outputs if version == 1 else inputs),
            f"{activation}{suffix}": make_activation(activation),
        }
        return OrderedDict(conv | bend if version == 1 else bend | conv)

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        layers = unit(inputs, outputs, stride, "1") | unit(outputs, outputs, 1, "2")
        if residual:
            layers["shortcut"] = Shortcut(inputs, outputs, stride)
            if version == 1:
                layers.move_to_end(f"{activation}2")
        return ResidualBlock(layers)

    widths = [width * growth**stage for stage in range(STAGES)]
    stem: OrderedDict[str, nn.Module] = OrderedDict(conv=conv3x3(input_channels, width, bias=bias))
    last: OrderedDict[str, nn.Module] = OrderedDict()
    if version == 1:
        stem |= {"norm": norm(width), activation: make_activation(activation)}
    else:
        bend = OrderedDict({"norm": norm(widths[-1]), activation: make_activation(activation)})
        last["final"] = nn.Sequential(bend)
    stages = make_stages(block, width, [[outputs] * blocks for outputs in widths])
    layers = OrderedDict(stem=nn.Sequential(stem)) | stages | last | make_classifier(widths[-1], classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model
