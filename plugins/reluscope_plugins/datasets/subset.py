"""Fewer samples of any data set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import Dataset

from reluscope.random_state import derived_seed
from reluscope_plugins.datasets.building import carry_over, load_inner
from reluscope_plugins.datasets.checks import SPLITS, check_choice, check_integer
from reluscope_plugins.datasets.samples import tensorwise, with_tensors

if TYPE_CHECKING:
    from reluscope.lab import Lab


class Chosen(Dataset[Any]):
    """Some samples of a data set, each loaded when it is asked for.

    Args:
        data: Map-style.
        chosen: (sample,), int64: which.

    Attributes:
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
        labels: Labels of the samples, and likewise `targets`, `clean_labels`, `mislabelled` and `redrawn`: each only
            where the data set has it.
    """

    def __init__(self, data: Any, chosen: torch.Tensor) -> None:
        self._data = data
        self._chosen = chosen.tolist()
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)
        _select(data, self, chosen)

    def __len__(self) -> int:
        """Return the number of samples.

        Returns:
            It.
        """
        return len(self._chosen)

    def __getitem__(self, index: int) -> Any:
        """Load one sample.

        Args:
            index: From 0.

        Returns:
            What the data set gives.
        """
        return self._data[self._chosen[index]]


def subset(
    split: str,
    root: str | Path | None = None,
    *,
    dataset: Mapping[str, Any],
    train: int | None = None,
    validation: int | None = None,
    test: int | None = None,
    seed: int = 0,
    lab: Lab | None = None,
) -> Any:
    """Load a data set and keep so many samples of each split, drawn at random, for a smaller run of the same thing.

    They come in the order in which they were drawn; a greater number with the same seed keeps those of a smaller one,
    and more after them.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        dataset: The data set: its `name` and its parameters.
        train: Samples of the train split that are kept, at least 1; None keeps all, as does a number beyond them.
        validation: The same of the validation split.
        test: The same of the test split.
        seed: Seed of the draws.
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
    check_integer("subset", "seed", seed, 0)
    check_choice("subset", "split", split, wanted)
    _, data = load_inner("subset", dataset, split, root, lab)
    samples = wanted[split]
    if samples is None or samples >= len(data):
        return data
    generator = torch.Generator().manual_seed(derived_seed(seed, SPLITS.index(split)))
    chosen = torch.randperm(len(data), generator=generator)[:samples]
    if not tensorwise(data):
        return Chosen(data, chosen)
    inputs, labels = data.tensors
    made: Any = with_tensors(data, inputs=inputs[chosen], labels=labels[chosen])
    _select(data, made, chosen)
    return made


def _select(data: Any, made: Any, chosen: torch.Tensor) -> None:
    # what is known of each sample, under the names that our data sets and torchvision's use
    for attribute in ("labels", "targets", "clean_labels", "mislabelled", "redrawn"):
        known = getattr(data, attribute, None)
        if not isinstance(known, list | tuple | np.ndarray | torch.Tensor) or len(known) != len(data):
            continue
        if isinstance(known, list | tuple):
            setattr(made, attribute, [known[index] for index in chosen.tolist()])
        else:
            setattr(made, attribute, known[chosen if isinstance(known, torch.Tensor) else chosen.numpy()])
