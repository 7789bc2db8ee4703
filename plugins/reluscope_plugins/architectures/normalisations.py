"""Normalisation layers of images by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.checks import check_choice, check_size

NORMALISATIONS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "batch": lambda channels, groups: nn.BatchNorm2d(channels),
        "group": lambda channels, groups: nn.GroupNorm(groups, channels),
        "layer": lambda channels, groups: nn.GroupNorm(1, channels),
        "none": lambda channels, groups: nn.Identity(),
    }
)
"""Name to what makes the layer from the number of channels and of groups."""


def make_normalisation(architecture: str, name: str, channels: int, *, groups: int = 8) -> nn.Module:
    """Make a normalisation layer for images (sample, channel, height, width).

    `"batch"` takes mean and variance of a channel over samples and positions, `"group"` over positions and the channels
    of a group, `"layer"` over positions and all channels, that is, one group; `"none"` hands its input on.

    Args:
        architecture: Name of the architecture, for messages.
        name: One of `NORMALISATIONS`.
        channels: Number of channels.
        groups: For `"group"`: number of groups, a divisor of the number of channels.

    Returns:
        A new module.

    Raises:
        RecipeError: If there is none of this name, or the groups do not divide the channels.

    References:
        Wu and He 2018, eqs. 1 to 7.

    Example:
        >>> layer = make_normalisation("resnet", "group", 16)
        >>> layer.num_groups, layer.num_channels
        (8, 16)
    """
    check_choice(architecture, "normalisation", name, NORMALISATIONS)
    check_size(architecture, "groups", groups)
    if name == "group" and channels % groups:
        raise RecipeError(
            f"architecture {architecture!r}: groups is {groups}, expected a divisor of each layer's number of channels "
            f"(here {channels})"
        )
    return NORMALISATIONS[name](channels, groups)
