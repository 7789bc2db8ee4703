"""Inputs and labels of one split, with what they mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import TensorDataset


class Samples(TensorDataset):
    """Inputs and labels in memory, so that a batch is one fancy index.

    Args:
        inputs: (sample, ...); stored as float32.
        labels: (sample,); stored as int64.
        name: The data set's name.
        classes: Class names in the order of the labels; empty where unknown.
        mean: What was subtracted from each channel of the inputs, empty where nothing was.
        std: By what each channel was divided afterwards.

    Attributes:
        inputs: (sample, ...), float32.
        labels: (sample,), int64.
        name: The data set's name.
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
    """

    def __init__(
        self,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        *,
        name: str,
        classes: Sequence[str] = (),
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        super().__init__(inputs.to(torch.float32), labels.to(torch.int64))
        self.inputs, self.labels = self.tensors
        self.name = name
        self.classes = tuple(classes)
        self.mean = tuple(mean)
        self.std = tuple(std)


def standardise(inputs: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Subtract a mean from each channel and divide by a standard deviation.

    Args:
        inputs: (sample, channel, ...), or (sample, feature).
        mean: One number for each channel.
        std: Likewise.

    Returns:
        `(inputs - mean) / std`, of the same shape.

    Example:
        >>> standardise(torch.tensor([[1.0, 5.0]]), mean=[0.0, 1.0], std=[1.0, 2.0])
        tensor([[1., 2.]])
    """
    shape = (1, -1) + (1,) * (inputs.dim() - 2)
    return (inputs - torch.tensor(mean).reshape(shape)).div_(torch.tensor(std).reshape(shape))
