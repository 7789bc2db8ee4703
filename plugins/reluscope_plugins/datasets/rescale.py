"""Inputs in other units: those of any data set, multiplied by a factor."""

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
    lab: Lab | None = None,
) -> Any:
    """Load a data set and multiply its inputs by a factor, after whatever normalisation it does itself.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set whose inputs are multiplied: its `name` and its parameters.
        factor: Above 0.
        lab: Where the data set is looked up.

    Returns:
        The data of the split: in memory where they are without, and loaded one by one where not. Its attribute `std` is
        divided by the factor.

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
    _, data = load_inner("rescale", dataset, split, root, lab)
    if not tensorwise(data) or isinstance(data, ByteSamples):
        return Rescaled(data, factor)
    made: Any = with_tensors(data, inputs=data.tensors[0] * factor)
    carry_over(data, made)
    made.name = Rescaled.name
    made.std = tuple(std / factor for std in made.std)
    return made


class Rescaled(Dataset[tuple[torch.Tensor, Any]]):
    """A data set whose inputs are multiplied as they are loaded.

    Args:
        data: Map-style; its inputs are tensors.
        factor: By what.

    Attributes:
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
    """

    name = "rescale"

    def __init__(self, data: Any, factor: float) -> None:
        self._data = data
        self._factor = factor
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)
        self.std = tuple(std / factor for std in self.std)
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
            The input multiplied by the factor, and its label.

        Raises:
            ReluscopeError: If the input is no tensor.
        """
        inputs, label = self._data[index]
        if not isinstance(inputs, torch.Tensor):
            raise ReluscopeError(
                f"dataset 'rescale': sample {index} of {type(self._data).__name__} is {type(inputs).__name__}, "
                "expected a tensor"
            )
        return inputs * self._factor, label
