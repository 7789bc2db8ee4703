"""Finite symmetric laws of weights: plus or minus one of some magnitudes, all equally likely."""

from __future__ import annotations

from fractions import Fraction


def signed(magnitudes: list[int]) -> list[int]:
    """List the values.

    Args:
        magnitudes: Numbers that are at least 0.

    Returns:
        Each with both signs.

    Example:
        >>> signed([1, 2])
        [1, -1, 2, -2]
    """
    return [sign * value for value in magnitudes for sign in (1, -1)]


def variance(magnitudes: list[int]) -> Fraction:
    """Compute the variance.

    Args:
        magnitudes: Numbers that are at least 0.

    Returns:
        The mean of their squares.

    Example:
        >>> variance([1, 2])
        Fraction(5, 2)
    """
    return Fraction(sum(value**2 for value in magnitudes), len(magnitudes))
