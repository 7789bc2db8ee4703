"""The samples of a training: batches of them, and what is known of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

if TYPE_CHECKING:
    from torch.utils.data import Dataset


def description(data: dict[str, Dataset[Any]]) -> xr.Dataset:
    """Describe the data set of a training.

    Args:
        data: Split to its samples.

    Returns:
        Samples of each split and class, class names, normalisation constants.
    """
    found = xr.Dataset()
    known = data["train"]
    labels = [int(one.tensors[1].max()) for one in data.values() if isinstance(one, torch.utils.data.TensorDataset)]
    names = tuple(getattr(known, "classes", ())) or tuple(map(str, range(max(labels, default=-1) + 1)))
    for split, samples in data.items():
        about = {"long_name": f"Samples of the {split} split", "units": "1", "split": split}
        if isinstance(samples, torch.utils.data.TensorDataset):
            counts = torch.bincount(samples.tensors[1], minlength=len(names)).numpy()
            found[f"{split}_samples"] = ("class", counts, about)
        else:
            found[f"{split}_samples"] = ((), len(samples), about)  # type: ignore[arg-type]
    if names:
        found = found.assign_coords({"class": ("class", list(names), {"long_name": "Class", "units": "1"})})
    for key, long_name in (("mean", "subtracted from"), ("std", "that divides")):
        constants = np.asarray(getattr(known, key, ()), dtype=np.float64)
        if constants.size:
            about = {"long_name": f"Normalisation constant {long_name} each channel", "units": "1"}
            found[f"normalisation_{key}"] = ("feature", constants, about)
    return found


def batches(data: Dataset[Any], order: torch.Tensor, batch_size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Load samples in a given order.

    Args:
        data: The samples; those of a `TensorDataset` are taken a batch at a time.
        order: `(sample,)`: indices.
        batch_size: Samples of a batch; the last one may have fewer.

    Yields:
        Inputs `(sample, ...)` and labels `(sample,)`.
    """
    for chosen in order.split(batch_size):
        if isinstance(data, torch.utils.data.TensorDataset):
            yield data[chosen]
        else:
            yield torch.utils.data.default_collate([data[int(index)] for index in chosen])
