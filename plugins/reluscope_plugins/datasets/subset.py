"""Fewer samples of any data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reluscope_plugins.datasets.building import carry_over, load_inner
from reluscope_plugins.datasets.checks import check_choice, check_integer
from reluscope_plugins.datasets.samples import tensorwise, with_tensors

if TYPE_CHECKING:
    from reluscope.lab import Lab


class First(Dataset[Any]):
    """The first samples of a data set, each loaded when it is asked for.

    Args:
        data: Map-style.
        samples: How many; at most as many as there are.

    Attributes:
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
        labels: Labels of the samples, and likewise `targets`, `clean_labels`, `mislabelled` and `redrawn`: each only
            where the data set has it.
    """

    def __init__(self, data: Any, samples: int) -> None:
        self._data = data
        self._samples = samples
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)
        _shorten(data, self, samples)

    def __len__(self) -> int:
        """Return the number of samples.

        Returns:
            It.
        """
        return self._samples

    def __getitem__(self, index: int) -> Any:
        """Load one sample.

        Args:
            index: From 0.

        Returns:
            What the data set gives.

        Raises:
            IndexError: If there are fewer samples.
        """
        if not -self._samples <= index < self._samples:
            raise IndexError(f"sample {index} of {self._samples}")
        return self._data[index % self._samples]


def subset(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    lab: Lab | None = None,
) -> Any:
    """Load a data set and keep the first so many samples of each split, for a smaller run of the same thing.

    Training samples are in a random order already wherever a split was drawn; a test set is in the order of its file.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set: its `name` and its parameters.
        train: Samples of the train split that are kept, at least 1; None keeps all, as does a number beyond them.
        validation: The same of the validation split.
        test: The same of the test split.
        lab: Where the data set is looked up.

    Returns:
        The data of the split: in memory where they are without, and loaded one by one where not.

    Raises:
        RecipeError: If a parameter does not fit.

    Example:
        >>> from reluscope.lab import Lab
        >>> from reluscope_plugins import datasets
        >>> lab = Lab(plugins=[datasets])
        >>> [len(subset(split, dataset={"name": "digits"}, train=64, lab=lab)) for split in ("train", "test")]
        [64, 359]
    """
    wanted = {"train": train, "validation": validation, "test": test}
    for name, samples in wanted.items():
        if samples is not None:
            check_integer("subset", name, samples, 1)
    check_choice("subset", "split", split, wanted)
    _, data = load_inner("subset", dataset, split, root, lab)
    samples = wanted[split]
    if samples is None or samples >= len(data):
        return data
    if not tensorwise(data):
        return First(data, samples)
    inputs, labels = data.tensors
    # copies, so that the samples left out do not stay in memory
    made: Any = with_tensors(data, inputs=inputs[:samples].clone(), labels=labels[:samples].clone())
    _shorten(data, made, samples)
    return made


def _shorten(data: Any, made: Any, samples: int) -> None:
    # what is known of each sample, under the names that our data sets and torchvision's use
    for attribute in ("labels", "targets", "clean_labels", "mislabelled", "redrawn"):
        known = getattr(data, attribute, None)
        if isinstance(known, list | tuple | np.ndarray | torch.Tensor) and len(known) == len(data):
            setattr(made, attribute, known[:samples])
