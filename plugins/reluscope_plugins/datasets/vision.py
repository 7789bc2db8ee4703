"""Image data sets that torchvision reads: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision.datasets
from numpy.exceptions import VisibleDeprecationWarning

from reluscope.errors import RecipeError, ReluscopeError
from reluscope_plugins.datasets.constants import KNOWN
from reluscope_plugins.datasets.folder import VARIABLE, data_folder
from reluscope_plugins.datasets.samples import Samples, standardise
from reluscope_plugins.datasets.splits import choose

# What torchvision and numpy raise on files that are missing, cut short or damaged, and on a download that fails.
UNREADABLE = (RuntimeError, OSError, ValueError, AssertionError, TypeError, LookupError, EOFError)


READERS = {
    "mnist": ("MNIST", "MNIST/raw"),
    "fashion_mnist": ("FashionMNIST", "FashionMNIST/raw"),
    "cifar10": ("CIFAR10", "cifar-10-batches-py"),
    "cifar100": ("CIFAR100", "cifar-100-python"),
}
"""Name of a data set to torchvision's class, and to where that looks below the root."""


def _loader(name: str) -> Callable[..., Samples]:
    def load(
        split: str,
        root: str | Path | None = None,
        *,
        split_seed: int = 0,
        normalise: bool = True,
        download: bool = False,
    ) -> Samples:
        """Load one split of the images and labels.

        The official files of CIFAR are pickles; torchvision reads them only if their checksums are the published ones.

        Args:
            split: `"train"` (90 % of the official training set), `"validation"` (the other 10 %) or `"test"`.
            root: Folder that holds the files of `READERS`; None looks where RELUSCOPE_DATA points.
            split_seed: Seed of the permutation that divides training from validation.
            normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
            download: Whether to fetch the data if they are not there.

        Returns:
            Images (sample, channel, height, width) and labels.

        Raises:
            RecipeError: If a parameter does not fit.
            ReluscopeError: If the files are missing or damaged.
        """
        for parameter, value in (("download", download), ("normalise", normalise)):
            if not isinstance(value, bool):
                raise RecipeError(f"dataset {name!r}: {parameter} is {value!r}, expected true or false")
        images, labels = _read(name, data_folder(name, root), split != "test", download)
        card = KNOWN[name]
        if len(images) != len(labels) or tuple(images.shape[1:]) != card.shape:
            raise ReluscopeError(
                f"dataset {name!r}: got {len(images)} images of shape {tuple(images.shape[1:])} and {len(labels)} "
                f"labels, expected as many labels as images of shape {card.shape}; the files are damaged: fetch them "
                "anew"
            )
        if split == "test":
            if not len(images):
                raise ReluscopeError(f"dataset {name!r}: the test files hold no images; fetch them anew")
        else:
            chosen = choose(split, len(images), split_seed, dataset=name)
            images, labels = images[chosen], labels[chosen]
        mean, std = (card.mean, card.std) if normalise else ((), ())
        scaled = images.to(torch.float32).div_(255)
        if normalise:
            scaled = standardise(scaled, mean, std)
        return Samples(scaled, labels, name=name, classes=card.classes, mean=mean, std=std)

    load.__name__ = load.__qualname__ = name
    return load


mnist = _loader("mnist")
fashion_mnist = _loader("fashion_mnist")
cifar10 = _loader("cifar10")
cifar100 = _loader("cifar100")


def _read(name: str, folder: Path, train: bool, download: bool) -> tuple[torch.Tensor, torch.Tensor]:
    reader, layout = READERS[name]
    try:
        with warnings.catch_warnings():
            # The official CIFAR pickles are of 2009: their dtypes say align=0 where numpy 2.4 wants False.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align", category=VisibleDeprecationWarning)
            found: Any = getattr(torchvision.datasets, reader)(folder, train=train, download=download)
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        # torchvision's own advice is a Python argument; ours follows.
        reason = reason.removesuffix(" You can use download=True to download it")
        raise ReluscopeError(
            f"dataset {name!r}: cannot read {folder / layout}: {reason.rstrip('.')}; set the environment variable "
            f"{VARIABLE} to the folder that holds {layout}, or fetch the data with download = true"
        ) from error
    if isinstance(found.data, np.ndarray):
        return torch.from_numpy(found.data).permute(0, 3, 1, 2), torch.tensor(found.targets, dtype=torch.int64)
    return found.data.unsqueeze(1), found.targets
