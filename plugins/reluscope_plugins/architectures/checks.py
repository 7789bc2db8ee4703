"""Checks of the values that a recipe gives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from reluscope.errors import RecipeError, nearest


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


def check_flag(architecture: str, name: str, value: Any) -> bool:
    """Check a truth value.

    Args:
        architecture: Name of the architecture, for the message.
        name: Name of the parameter.
        value: What was got.

    Returns:
        The truth value.

    Raises:
        RecipeError: If it is neither true nor false.

    Example:
        >>> check_flag("vgg", "batch_norm", "no")
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: architecture 'vgg': batch_norm is 'no', expected true or false
    """
    if not isinstance(value, bool):
        raise RecipeError(f"architecture {architecture!r}: {name} is {value!r}, expected true or false")
    return value


def check_choice(architecture: str, name: str, value: Any, choices: Iterable[Any]) -> Any:
    """Check one of a few values.

    Args:
        architecture: Name of the architecture, for the message.
        name: Name of the parameter.
        value: What was got.
        choices: The values that exist, all of one type.

    Returns:
        The value.

    Raises:
        RecipeError: If it is none of them.

    Example:
        >>> check_choice("vgg", "depth", 12, [11, 13, 16, 19])
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: architecture 'vgg': depth is 12, expected one of 11, 13, 16, 19
    """
    known = list(choices)
    if any(type(value) is type(choice) and value == choice for choice in known):
        return value
    if isinstance(value, str) and all(isinstance(choice, str) for choice in known):
        raise RecipeError(f"architecture {architecture!r}: unknown {name} {value!r}. {nearest(value, known)}")
    expected = ", ".join(repr(choice) for choice in known)
    raise RecipeError(f"architecture {architecture!r}: {name} is {value!r}, expected one of {expected}")
