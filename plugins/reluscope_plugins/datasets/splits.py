"""Which samples are for training, for validation and for testing."""

from __future__ import annotations

from typing import Any

import torch

from reluscope.errors import RecipeError, ReluscopeError

TEST_SEED = 20250101
"""Seed of the test part of data sets that come without one; fixed, so that no choice in a recipe moves it."""


def holdout(samples: int, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide samples at random in two.

    Args:
        samples: How many there are.
        share: Share of the second part, rounded to a whole number of samples.
        seed: Seed of the permutation.

    Returns:
        Indices of the first and of the second part, disjoint and complete.

    Example:
        >>> rest, held_out = holdout(10, 0.1, seed=0)
        >>> len(rest), len(held_out)
        (9, 1)
    """
    order = torch.randperm(samples, generator=torch.Generator().manual_seed(seed))
    cut = samples - round(samples * share)
    return order[:cut], order[cut:]


def choose(split: str, samples: int, split_seed: Any, *, dataset: str, test_share: float = 0.0) -> torch.Tensor:
    """Choose the samples of one split: 90 % of those that are not for testing train, 10 % validate.

    Args:
        split: `"train"`, `"validation"` or `"test"`.
        samples: How many there are in all.
        split_seed: Seed of the permutation that divides training from validation.
        dataset: Its name, for the message.
        test_share: Share of samples for testing, 0 where the data set has a test set of its own.

    Returns:
        Indices of the split's samples.

    Raises:
        RecipeError: If the seed is not an integer.
        ReluscopeError: If there are so few samples that the split would be empty.

    References:
        Hartmann 2025, section 2.1.1: training data are divided into 90 % training and 10 % validation.
    """
    if isinstance(split_seed, bool) or not isinstance(split_seed, int):
        raise RecipeError(f"dataset {dataset!r}: split_seed is {split_seed!r}, expected an integer")
    rest, test = holdout(samples, test_share, TEST_SEED)
    train, validation = holdout(len(rest), 0.1, split_seed)
    chosen = {"train": rest[train], "validation": rest[validation], "test": test}[split]
    if not len(chosen):
        raise ReluscopeError(
            f"dataset {dataset!r}: {samples} samples leave none for {split}; expected at least 10 beside those for "
            "testing; give more samples"
        )
    return chosen
