"""Other labels for any data set: in memory by new tensors, else by a thin cover that loads nothing by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from reluscope.entries import Dataset as Entry
from reluscope.errors import ReluscopeError
from reluscope_plugins.datasets.building import carry_over, listed
from reluscope_plugins.datasets.samples import tensorwise, with_tensors


class Relabelled(Dataset[tuple[Any, torch.Tensor]]):
    """A data set with other labels; each input is loaded when it is asked for, as it would be without.

    Args:
        data: The data set, map-style.
        labels: (sample,), int64: those to give in place of its own.
        clean_labels: (sample,), int64: its own.

    Attributes:
        labels: (sample,), int64.
        classes: Class names in the order of the labels.
        mean: What was subtracted from each channel of the inputs.
        std: By what each channel was divided afterwards.
    """

    def __init__(self, data: Any, labels: torch.Tensor, clean_labels: torch.Tensor) -> None:
        self._data = data
        self._own = clean_labels
        self.labels = labels
        self.classes: tuple[str, ...]
        self.mean: tuple[float, ...]
        self.std: tuple[float, ...]
        carry_over(data, self)

    def __len__(self) -> int:
        """Return the number of samples.

        Returns:
            It.
        """
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, torch.Tensor]:
        """Load one sample.

        Args:
            index: From 0.

        Returns:
            Its input, and the label in place of its own.

        Raises:
            ReluscopeError: If its own label is not what the data set said it was.
        """
        inputs, label = sample_of(self._data, index)
        if label != int(self._own[index]):
            raise ReluscopeError(
                f"{type(self._data).__name__}: sample {index} has the label {label}, but its attribute labels or "
                f"targets says {int(self._own[index])}; mend the data set: both must agree"
            )
        return inputs, self.labels[index]


def sample_of(data: Any, index: int) -> tuple[Any, int]:
    """Load one sample of any data set.

    Args:
        data: Map-style.
        index: From 0.

    Returns:
        Its input and its label.

    Raises:
        ReluscopeError: If it is no pair of an input and an integer.
    """
    sample = data[index]
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        raise ReluscopeError(
            f"{type(data).__name__}: sample {index} is a {type(sample).__name__}, expected a pair (input, label)"
        )
    label = np.asarray(sample[1])
    if label.dtype.kind not in "iu" or label.size != 1:
        raise ReluscopeError(
            f"{type(data).__name__}: the label of sample {index} is {sample[1]!r}, expected an integer: the class"
        )
    return sample[0], int(label.reshape(()))


def labels_of(data: Any) -> torch.Tensor:
    """Return all labels of a data set, without loading its inputs where it has them at hand.

    Tensors in memory, a subset of a data set, and an attribute `labels` or `targets` (as torchvision's have) are looked
    into; where there is none of these, each sample is loaded once.

    Args:
        data: Map-style.

    Returns:
        (sample,), int64.

    Raises:
        ReluscopeError: If the labels are not integers from 0, one for each sample.

    Example:
        >>> labels_of([("a", 1), ("b", 0)])
        tensor([1, 0])
    """
    if tensorwise(data):
        labels = data.tensors[1]
        if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
            raise ReluscopeError(
                f"{type(data).__name__}: its labels have shape {tuple(labels.shape)} and type {labels.dtype}, expected "
                "(sample,) of integers: the classes"
            )
    elif type(data) is Subset:
        labels = labels_of(data.dataset)[torch.as_tensor(data.indices, dtype=torch.int64)]
    else:
        at_hand = (_integers(getattr(data, name, None), len(data)) for name in ("labels", "targets"))
        known = next((numbers for numbers in at_hand if numbers is not None), None)
        labels = torch.tensor([sample_of(data, i)[1] for i in range(len(data))]) if known is None else known
    labels = labels.to(torch.int64)
    if len(labels) and int(labels.min()) < 0:
        raise ReluscopeError(f"{type(data).__name__}: a label is {int(labels.min())}, expected integers from 0")
    return labels


def _integers(value: Any, samples: int) -> torch.Tensor | None:
    # anybody's attribute of this name may be something else, such as the names of the classes
    if not isinstance(value, list | tuple | np.ndarray | torch.Tensor) or len(value) != samples:
        return None
    numbers = np.asarray(value)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        return None
    return torch.from_numpy(numbers.astype(np.int64))


def number_of_classes(data: Any, entry: Entry, labels: torch.Tensor) -> int:
    """Return how many classes there are.

    Args:
        data: The loaded split; its attribute `classes` counts, if it has one.
        entry: Its entry; the classes it declares count next.
        labels: (sample,): the greatest counts where neither is known.

    Returns:
        The number.

    Raises:
        ReluscopeError: If a label is beyond the classes.
    """
    names = listed(data, "classes") or entry.classes
    greatest = int(labels.max())
    if names and greatest >= len(names):
        raise ReluscopeError(
            f"dataset {entry.name!r}: a label is {greatest}, but there are only {len(names)} classes; mend the data set"
        )
    return len(names) or greatest + 1


def relabelled(data: Any, labels: torch.Tensor, *, name: str) -> Any:
    """Give a data set other labels.

    Args:
        data: Map-style, in memory or not.
        labels: (sample,), int64.
        name: Name of the data set that is made.

    Returns:
        One with the attributes `labels`, `clean_labels` (those before any relabelling) and `mislabelled` ((sample,),
        bool: where both differ): a copy of the same type where the data are tensors in memory, else `Relabelled`.

    Example:
        >>> data = relabelled([("a", 1), ("b", 0)], torch.tensor([1, 1]), name="doubtful")
        >>> data[1], data.mislabelled
        (('b', tensor(1)), tensor([False,  True]))
    """
    own = labels_of(data)
    clean = getattr(data, "clean_labels", own)
    made: Any = with_tensors(data, labels=labels) if tensorwise(data) else Relabelled(data, labels, own)
    made.name, made.labels, made.clean_labels = name, labels, clean
    made.mislabelled = labels != clean
    if hasattr(data, "redrawn"):
        made.redrawn = data.redrawn
    return made
