"""Inputs in other units: those of any data set, multiplied by a factor and shifted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

from reluscope.errors import RecipeError, ReluscopeError
from reluscope_plugins.datasets.building import carry_over, load_inner
from reluscope_plugins.datasets.samples import ByteSamples, tensorwise, with_tensors

if TYPE_CHECKING:
    from reluscope.lab import Lab


def rescale(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    factor: float,
    offset: float = 0.0,
    lab: Lab | None = None,
) -> Any:
    """Load a data set, multiply its inputs by a factor and add an offset, after whatever normalisation it does itself.

    A factor of 2 and an offset of -1 take values within 0..1 to -1..1.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set whose inputs are multiplied: its `name` and its parameters.
        factor: Above 0.
        offset: What is added to the product.
        lab: Where the data set is looked up.

    Returns:
        The data of the split: in memory where they are without, and loaded one by one where not. Its attributes `mean`
        and `std` are those that lead to the new inputs; one number for all channels where the data are not normalised.

    Raises:
        RecipeError: If a parameter does not fit.

    Example:
        >>> from reluscope.lab import Lab
        >>> from reluscope_plugins import datasets
        >>> lab = Lab(plugins=[datasets])
        >>> plain = lab.datasets["digits"].load("test")
        >>> doubled = rescale("test", dataset={"name": "digits"}, factor=2, lab=lab)
        >>> torch.equal(doubled.inputs, 2 * plain.inputs)
        True
    """
    good = isinstance(factor, int | float) and not isinstance(factor, bool) and math.isfinite(factor) and factor > 0
    if not good:
        raise RecipeError(f"dataset 'rescale': factor is {factor!r}, expected a number above 0")
    if not isinstance(offset, int | float) or isinstance(offset, bool) or not math.isfinite(offset):
        raise RecipeError(f"dataset 'rescale': offset is {offset!r}, expected a finite number")
    _, data = load_inner("rescale", dataset, split, root, lab)
    if not tensorwise(data) or isinstance(data, ByteSamples):
        return Rescaled(data, factor, offset)
    made: Any = with_tensors(data, inputs=data.tensors[0] * factor + offset)
    carry_over(data, made)
    made.name = Rescaled.name
    made.mean, made.std = _constants(made, factor, offset)
    return made


class Rescaled(Dataset[tuple[torch.Tensor, Any]]):
    """A data set whose inputs are multiplied and shifted as they are loaded.

    Args:
        data: Map-style; its inputs are tensors.
        factor: By what they are multiplied.
        offset: What is added.

    Attributes:
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
    """

    name = "rescale"

    def __init__(self, data: Any, factor: float, offset: float) -> None:
        self._data = data
        self._factor, self._offset = factor, offset
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)
        self.mean, self.std = _constants(self, factor, offset)
        for attribute in ("labels", "targets", "clean_labels", "mislabelled", "redrawn"):
            if (value := getattr(data, attribute, None)) is not None:
                setattr(self, attribute, value)

    def __len__(self) -> int:
        """Return the number of samples.

        Returns:
            It.
        """
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, Any]:
        """Load one sample.

        Args:
            index: From 0.

        Returns:
            The input in its new units, and its label.

        Raises:
            ReluscopeError: If the input is no tensor.
        """
        inputs, label = self._data[index]
        if not isinstance(inputs, torch.Tensor):
            raise ReluscopeError(
                f"dataset 'rescale': sample {index} of {type(self._data).__name__} is {type(inputs).__name__}, "
                "expected a tensor"
            )
        return inputs * self._factor + self._offset, label


# (value - mean) / std, times the factor, plus the offset, is (value - (mean - offset * std / factor)) / (std / factor)
def _constants(data: Any, factor: float, offset: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    means, stds = data.mean or (0.0,), tuple(std / factor for std in data.std or (1.0,))
    return tuple(mean - offset * std for mean, std in zip(means, stds, strict=True)), stds
