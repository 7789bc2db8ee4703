"""Checks of parameters that several data sets share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from reluscope.errors import RecipeError, nearest

SPLITS = ("train", "validation", "test")
"""The splits, in the order that numbers their streams of draws."""


def check_integer(dataset: str, name: str, value: Any, least: int, most: int | None = None) -> None:
    """See to it that a parameter is an integer within bounds.

    Args:
        dataset: The data set's name, for the message.
        name: The parameter's name.
        value: What was got.
        least: Least value.
        most: Greatest value; None where there is none.

    Raises:
        RecipeError: If it is not.
    """
    integer = isinstance(value, int) and not isinstance(value, bool)
    if not integer or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise RecipeError(f"dataset {dataset!r}: {name} is {value!r}, expected an integer {bounds}")


def check_fraction(dataset: str, name: str, value: Any) -> None:
    """See to it that a parameter is a number from 0 to 1.

    Args:
        dataset: The data set's name, for the message.
        name: The parameter's name.
        value: What was got.

    Raises:
        RecipeError: If it is not.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 1:
        raise RecipeError(f"dataset {dataset!r}: {name} is {value!r}, expected a number from 0 to 1")


def check_flag(dataset: str, name: str, value: Any) -> None:
    """See to it that a parameter is true or false.

    Args:
        dataset: The data set's name, for the message.
        name: The parameter's name.
        value: What was got.

    Raises:
        RecipeError: If it is not.
    """
    if not isinstance(value, bool):
        raise RecipeError(f"dataset {dataset!r}: {name} is {value!r}, expected true or false")


def check_choice(dataset: str, name: str, value: Any, known: Iterable[str]) -> None:
    """See to it that a parameter is one of several words.

    Args:
        dataset: The data set's name, for the message.
        name: The parameter's name.
        value: What was got.
        known: The words.

    Raises:
        RecipeError: If it is not; names the nearest.
    """
    known = tuple(known)
    if value not in known:
        raise RecipeError(f"dataset {dataset!r}: unknown {name} {value!r}. {nearest(str(value), known)}")


def check_splits(dataset: str, splits: Any) -> None:
    """See to it that a parameter is a list of splits.

    Args:
        dataset: The data set's name, for the message.
        splits: What was got.

    Raises:
        RecipeError: If it is not.
    """
    if isinstance(splits, str) or not isinstance(splits, Sequence):
        raise RecipeError(f"dataset {dataset!r}: splits is {splits!r}, expected a list such as ['train']")
    for split in splits:
        check_choice(dataset, "split", split, SPLITS)
