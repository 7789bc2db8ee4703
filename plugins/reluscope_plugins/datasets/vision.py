"""Image data sets that torchvision reads: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

import warnings
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


def mnist(
    split: str,
    root: str | Path | None = None,
    *,
    split_seed: int = 0,
    normalise: bool = True,
    download: bool = False,
) -> Samples:
    """Load MNIST: 60,000 + 10,000 handwritten digits of 28 x 28 pixels.

    Args:
        split: `"train"` (90 % of the official training set), `"validation"` (the other 10 %) or `"test"`.
        root: Folder that holds `MNIST/raw`; None looks where RELUSCOPE_DATA points.
        split_seed: Seed of the permutation that divides training from validation.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        download: Whether to fetch the data if they are not there.

    Returns:
        Images (sample, 1, 28, 28) and labels.

    References:
        LeCun, Cortes and Burges 1998, The MNIST database.
    """
    return _load("mnist", "MNIST", "MNIST/raw", split, root, split_seed, normalise, download)


def fashion_mnist(
    split: str,
    root: str | Path | None = None,
    *,
    split_seed: int = 0,
    normalise: bool = True,
    download: bool = False,
) -> Samples:
    """Load Fashion-MNIST: 60,000 + 10,000 pieces of clothing of 28 x 28 pixels.

    Args:
        split: `"train"` (90 % of the official training set), `"validation"` (the other 10 %) or `"test"`.
        root: Folder that holds `FashionMNIST/raw`; None looks where RELUSCOPE_DATA points.
        split_seed: Seed of the permutation that divides training from validation.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        download: Whether to fetch the data if they are not there.

    Returns:
        Images (sample, 1, 28, 28) and labels.

    References:
        Xiao, Rasul and Vollgraf 2017, Fashion-MNIST.
    """
    return _load("fashion_mnist", "FashionMNIST", "FashionMNIST/raw", split, root, split_seed, normalise, download)


def cifar10(
    split: str,
    root: str | Path | None = None,
    *,
    split_seed: int = 0,
    normalise: bool = True,
    download: bool = False,
) -> Samples:
    """Load CIFAR-10: 50,000 + 10,000 photographs of 32 x 32 pixels, 10 classes.

    The official files are pickles; torchvision reads them only if their checksums are the published ones.

    Args:
        split: `"train"` (90 % of the official training set), `"validation"` (the other 10 %) or `"test"`.
        root: Folder that holds `cifar-10-batches-py`; None looks where RELUSCOPE_DATA points.
        split_seed: Seed of the permutation that divides training from validation.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        download: Whether to fetch the data if they are not there.

    Returns:
        Images (sample, 3, 32, 32) and labels.

    References:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _load("cifar10", "CIFAR10", "cifar-10-batches-py", split, root, split_seed, normalise, download)


def cifar100(
    split: str,
    root: str | Path | None = None,
    *,
    split_seed: int = 0,
    normalise: bool = True,
    download: bool = False,
) -> Samples:
    """Load CIFAR-100: 50,000 + 10,000 photographs of 32 x 32 pixels, 100 classes.

    The official files are pickles; torchvision reads them only if their checksums are the published ones.

    Args:
        split: `"train"` (90 % of the official training set), `"validation"` (the other 10 %) or `"test"`.
        root: Folder that holds `cifar-100-python`; None looks where RELUSCOPE_DATA points.
        split_seed: Seed of the permutation that divides training from validation.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.
        download: Whether to fetch the data if they are not there.

    Returns:
        Images (sample, 3, 32, 32) and labels.

    References:
        Krizhevsky 2009, Learning multiple layers of features from tiny images.
    """
    return _load("cifar100", "CIFAR100", "cifar-100-python", split, root, split_seed, normalise, download)


def _load(
    name: str,
    reader: str,
    layout: str,
    split: str,
    root: str | Path | None,
    split_seed: int,
    normalise: bool,
    download: bool,
) -> Samples:
    for parameter, value in (("download", download), ("normalise", normalise)):
        if not isinstance(value, bool):
            raise RecipeError(f"dataset {name!r}: {parameter} is {value!r}, expected true or false")
    images, labels = _read(name, reader, data_folder(name, root), layout, split != "test", download)
    card = KNOWN[name]
    if len(images) != len(labels) or tuple(images.shape[1:]) != card.shape:
        raise ReluscopeError(
            f"dataset {name!r}: got {len(images)} images of shape {tuple(images.shape[1:])} and {len(labels)} labels, "
            f"expected as many labels as images of shape {card.shape}; the files are damaged: fetch them anew"
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


def _read(
    name: str, reader: str, folder: Path, layout: str, train: bool, download: bool
) -> tuple[torch.Tensor, torch.Tensor]:
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
