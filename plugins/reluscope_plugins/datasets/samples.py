"""Inputs and labels of one split, with what they mean."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch.utils.data import Dataset, TensorDataset


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


class ByteSamples(TensorDataset):
    """Images and labels in memory as bytes, a quarter of what numbers take; a batch becomes numbers when asked for.

    Args:
        images: (sample, channel, height, width), uint8.
        labels: (sample,); stored as int64.
        name: The data set's name.
        classes: Class names in the order of the labels; empty where unknown.
        mean: What is subtracted from each channel, in units of the raw value scaled to 0..1; empty subtracts nothing.
        std: By what each channel is divided afterwards.

    Attributes:
        labels: (sample,), int64.
        name: The data set's name.
        classes: Class names in the order of the labels.
        mean: What is subtracted from each channel.
        std: By what each channel is divided afterwards.

    Example:
        >>> data = ByteSamples(torch.full((5, 1, 2, 2), 255), torch.arange(5), name="white", mean=[0.5], std=[0.25])
        >>> batch, labels = data[torch.tensor([3, 1])]
        >>> batch.shape, batch.max(), labels
        (torch.Size([2, 1, 2, 2]), tensor(2.), tensor([3, 1]))
    """

    def __init__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        *,
        name: str,
        classes: Sequence[str] = (),
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
    ) -> None:
        super().__init__(images.to(torch.uint8), labels.to(torch.int64))
        self.labels = self.tensors[1]
        self.name = name
        self.classes = tuple(classes)
        self.mean = tuple(mean)
        self.std = tuple(std)

    def __getitem__(self, index: int | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one sample, or several as a batch.

        Args:
            index: A number, or a tensor of numbers (sample,).

        Returns:
            The images as float32, normalised, and their labels.
        """
        images, labels = self.tensors
        scaled = images[index].to(torch.float32).div_(255)
        if self.mean:
            scaled = scaled.sub_(torch.tensor(self.mean).reshape(-1, 1, 1)).div_(
                torch.tensor(self.std).reshape(-1, 1, 1)
            )
        return scaled, labels[index]


def tensorwise(data: Dataset[Any]) -> TypeGuard[TensorDataset]:
    """Say whether all that a data set gives comes from a tensor of inputs and a tensor of labels, sample by sample.

    Args:
        data: Any data set.

    Returns:
        True where `with_tensors` can replace the tensors; False for one that computes samples in a way of its own.
    """
    plain = (TensorDataset.__getitem__, ByteSamples.__getitem__)
    return isinstance(data, TensorDataset) and type(data).__getitem__ in plain and len(data.tensors) == 2


def with_tensors(
    data: TensorDataset, *, inputs: torch.Tensor | None = None, labels: torch.Tensor | None = None
) -> TensorDataset:
    """Copy a data set in memory with other inputs or labels; all its other attributes and its type stay.

    Args:
        data: One that `tensorwise` is true of; it stays as it is.
        inputs: (sample, ...), stored as they are; None keeps them.
        labels: (sample,); None keeps them.

    Returns:
        The copy; what is kept is shared, not copied.
    """
    made: TensorDataset = copy.copy(data)
    old_inputs, old_labels = data.tensors
    made.tensors = (old_inputs if inputs is None else inputs, old_labels if labels is None else labels)
    for attribute, tensor in zip(("inputs", "labels"), made.tensors, strict=True):
        if isinstance(getattr(made, attribute, None), torch.Tensor):
            setattr(made, attribute, tensor)
    return made
