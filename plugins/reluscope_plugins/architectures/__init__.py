"""Networks to build by name."""

from __future__ import annotations

from reluscope.entries import Architecture
from reluscope.hookspecs import hookimpl


@hookimpl
def reluscope_architectures() -> list[Architecture]:
    """Return the architectures.

    Returns:
        Their entries.
    """
    return [
        Architecture(
            name="mlp",
            summary="Fully connected layers with an activation after each but the last",
            definition="reluscope_plugins.architectures.mlp:mlp",
            input="(sample, feature), or images, which it flattens",
        ),
        Architecture(
            name="small_cnn",
            summary="Stacked small convolutions, global average pooling and one linear layer",
            definition="reluscope_plugins.architectures.small_cnn:small_cnn",
            input="(sample, channel, height, width)",
        ),
        Architecture(
            name="torchvision",
            summary="Any of torchvision's models by name",
            definition="reluscope_plugins.architectures.torchvision:torchvision",
            input="(sample, channel, height, width)",
        ),
    ]
