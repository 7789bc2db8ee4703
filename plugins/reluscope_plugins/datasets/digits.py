"""Handwritten digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from reluscope_plugins.datasets import constants
from reluscope_plugins.datasets.samples import Samples, standardise
from reluscope_plugins.datasets.splits import choose


def digits(split: str, root: str | Path | None = None, *, split_seed: int = 0, normalise: bool = True) -> Samples:
    """Load the handwritten digits of scikit-learn: 1,797 images of 8 x 8 values.

    A fifth, always the same, is for testing; the rest is divided 90/10 into training and validation.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        root: Not looked at: the data come with scikit-learn.
        split_seed: Seed of the permutation that divides training from validation.
        normalise: Whether the declared mean and standard deviation are applied; if not, values lie within 0..1.

    Returns:
        Images (sample, 1, 8, 8) and labels.

    References:
        Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI.

    Example:
        >>> len(digits("train")), len(digits("validation")), len(digits("test"))
        (1294, 144, 359)
    """
    data = load_digits()
    images = torch.from_numpy((data.images / 16.0).astype(np.float32)).unsqueeze(1)
    labels = torch.from_numpy(data.target.astype(np.int64))
    chosen = choose(split, len(labels), split_seed, dataset="digits", test_share=0.2)
    card = constants.DIGITS
    mean, std = (card.mean, card.std) if normalise else ((), ())
    images = images[chosen]
    if normalise:
        images = standardise(images, mean, std)
    return Samples(images, labels[chosen], name="digits", classes=card.classes, mean=mean, std=std)
