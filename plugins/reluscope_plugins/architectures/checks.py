"""Checks of the numbers that a recipe gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reluscope.errors import RecipeError


def check_size(architecture: str, name: str, value: Any) -> int:
    """Check a positive integer.

    Args:
        architecture: Name of the architecture, for the message.
        name: Name of the parameter.
        value: What was got.

    Returns:
        The integer.

    Raises:
        RecipeError: If it is not an integer of at least 1.

    Example:
        >>> check_size("small_cnn", "classes", 0)
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: architecture 'small_cnn': classes is 0, expected an integer of at least 1
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise RecipeError(f"architecture {architecture!r}: {name} is {value!r}, expected an integer of at least 1")
    return value


def check_sizes(architecture: str, name: str, values: Any, *, at_least: int) -> list[int]:
    """Check a list of positive integers.

    Args:
        architecture: Name of the architecture, for the message.
        name: Name of the parameter.
        values: What was got.
        at_least: Least length.

    Returns:
        The integers.

    Raises:
        RecipeError: If it is not a list of at least so many integers, each at least 1.
    """
    expected = f"expected a list of at least {at_least} integers, each at least 1"
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) < at_least:
        raise RecipeError(f"architecture {architecture!r}: {name} is {values!r}, {expected}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise RecipeError(f"architecture {architecture!r}: {name} hold {value!r}, {expected}")
    return list(values)
