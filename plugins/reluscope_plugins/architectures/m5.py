"""A convolutional network for raw sound."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from reluscope.errors import ObservationError, RecipeError
from reluscope_plugins.architectures.activations import make_activation
from reluscope_plugins.architectures.checks import check_size, check_sizes

FIRST_KERNEL, KERNEL, POOL = 80, 3, 4
"""Samples that the first and the other convolutions see, and that a max-pooling takes together."""


class CheckLength(nn.Module):
    """Hands sound on, and sees to it that it is long enough for the layers that follow.

    Args:
        channels: Channels that a sound must have.
        least: Least number of samples in time.
    """

    def __init__(self, channels: int, least: int) -> None:
        super().__init__()
        self.channels = channels
        self.least = least

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Check a batch.

        Args:
            x: Sounds, (sample, channel, time).

        Returns:
            The same.

        Raises:
            ObservationError: If it is no batch of sounds, or they are too short.
        """
        if x.dim() != 3 or x.shape[1] != self.channels or x.shape[2] < self.least:
            raise ObservationError(
                f"the network takes sounds (sample, channel, time) of {self.channels} channel(s) and at least "
                f"{self.least} steps in time, got a batch of shape {tuple(x.shape)}; load longer pieces, or build it "
                "with a smaller stride"
            )
        return x

    def extra_repr(self) -> str:
        """Say what is expected.

        Returns:
            What `repr` shows in parentheses.
        """
        return f"channels={self.channels}, least={self.least}"


def m5(
    channels: Sequence[int] = (128, 128, 256, 512),
    *,
    stride: int = 4,
    activation: str = "relu",
    input_channels: int = 1,
    classes: int = 10,
) -> nn.Sequential:
    """Build M5: four convolutions over time, each with batch normalisation, activation and max-pooling, and a `head`.

    The first convolution sees 80 samples, which is 10 ms at 8 kHz, the others 3; none is padded. A max-pooling takes 4
    together, the mean over time whatever is left. The defaults are the paper's; `channels=[32, 32, 64, 64]`,
    `stride=16`, `classes=35` is the network of PyTorch's tutorial on Speech Commands. Initial weights are Glorot's
    uniform ones, as the paper has it, biases 0.

    Args:
        channels: Channels that each of the four convolutions gives.
        stride: Step of the first convolution.
        activation: One of `reluscope_plugins.architectures.activations.ACTIVATIONS`.
        input_channels: Channels of a sound.
        classes: Number of outputs.

    Returns:
        The network; it takes (sample, channel, time) of any length from 1772 on, 6848 at a stride of 16.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Dai et al. 2017, table 1 and section 3; Glorot and Bengio 2010, eq. 16 (initial weights); the tutorial is
        Speech Command Classification with torchaudio, PyTorch.

    Example:
        >>> model = m5()
        >>> [name for name, _ in model.named_children()][:5]
        ['length', 'conv1', 'norm1', 'relu1', 'pool1']
        >>> model(torch.zeros(2, 1, 8000)).shape
        torch.Size([2, 10])
    """
    name = "m5"
    widths = check_sizes(name, "channels", channels, at_least=4)
    if len(widths) != 4:
        raise RecipeError(f"architecture {name!r}: channels is {widths}, expected 4 numbers, one for each convolution")
    check_size(name, "stride", stride)
    check_size(name, "classes", classes)
    inputs = check_size(name, "input_channels", input_channels)
    # Backwards from one value after the last max-pooling.
    least = POOL
    for _ in widths[1:]:
        least = (least + KERNEL - 1) * POOL
    layers: OrderedDict[str, nn.Module] = OrderedDict(length=CheckLength(inputs, (least - 1) * stride + FIRST_KERNEL))
    for number, outputs in enumerate(widths, start=1):
        first = number == 1
        layers[f"conv{number}"] = nn.Conv1d(
            inputs, outputs, FIRST_KERNEL if first else KERNEL, stride=stride if first else 1
        )
        layers[f"norm{number}"] = nn.BatchNorm1d(outputs)
        layers[f"{activation}{number}"] = make_activation(activation)
        layers[f"pool{number}"] = nn.MaxPool1d(POOL)
        inputs = outputs
    layers["global_pool"] = nn.AdaptiveAvgPool1d(1)
    layers["flatten"] = nn.Flatten()
    layers["head"] = nn.Linear(inputs, classes)
    for layer in layers.values():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return nn.Sequential(layers)
