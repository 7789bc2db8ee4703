"""Samples drawn from normal distributions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from reluscope.errors import RecipeError
from reluscope_plugins.datasets.samples import Samples
from reluscope_plugins.datasets.splits import choose


def gaussian(
    split: str,
    root: str | Path | None = None,
    *,
    samples: int = 1000,
    features: int = 10,
    classes: int = 2,
    separation: float = 0.0,
    seed: int = 0,
    split_seed: int = 0,
) -> Samples:
    """Draw samples: `x = separation * c_y + z`, with `z ~ N(0, I)` and labels `y` uniformly at random.

    The directions `c_y` of the classes are drawn uniformly from the unit sphere. Without separation the inputs are
    plain standard normal and the labels say nothing about them.

    Args:
        split: `"train"`, `"validation"` or `"test"`: a fifth, always the same, is for testing, and the rest is divided
            90/10 into training and validation.
        root: Not looked at: nothing is read.
        samples: Number of samples of all splits together.
        features: Number of values of a sample.
        classes: Number of classes.
        separation: Distance of each class's centre from the origin, in standard deviations.
        seed: Seed of the draw.
        split_seed: Seed of the permutation that divides training from validation.

    Returns:
        Inputs (sample, feature) and labels.

    Raises:
        RecipeError: If a value is out of its range.

    Example:
        >>> inputs, labels = gaussian("train", samples=100, features=3)[:]
        >>> inputs.shape
        torch.Size([72, 3])
    """
    _check_integer("samples", samples, 1)
    _check_integer("features", features, 1)
    _check_integer("classes", classes, 1)
    _check_integer("seed", seed, 0)
    number = isinstance(separation, int | float) and not isinstance(separation, bool)
    if not number or not math.isfinite(separation) or separation < 0:
        raise RecipeError(f"dataset 'gaussian': separation is {separation!r}, expected a number of at least 0")
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(classes, features, generator=generator), dim=1)
    labels = torch.randint(classes, (samples,), generator=generator)
    inputs = torch.randn(samples, features, generator=generator) + separation * centres[labels]
    chosen = choose(split, samples, split_seed, dataset="gaussian", test_share=0.2)
    return Samples(inputs[chosen], labels[chosen], name="gaussian", classes=tuple(map(str, range(classes))))


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RecipeError(f"dataset 'gaussian': {name} is {value!r}, expected an integer of at least {least}")
