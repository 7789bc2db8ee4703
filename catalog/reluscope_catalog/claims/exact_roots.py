"""Signs of sums of square roots, without rounding."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from fractions import Fraction

Term = tuple[Fraction | int, Fraction | int]
"""A factor, and what it multiplies the root of."""


def sign(terms: Iterable[Term]) -> int:
    """Find the sign of a sum of c sqrt(r).

    Roots of different numbers without square factors are linearly independent over the rationals, so that a sum of them
    is zero for factors of zero alone; any other is told from zero by enough digits.

    Args:
        terms: c and r of each; r is not negative, and small enough that its factors can be tried.

    Returns:
        -1, 0 or 1.

    References:
        Besicovitch 1940, On the linear independence of fractional powers of integers.

    Example:
        >>> sign([(1, 2), (1, 3), (-1, 10)]), sign([(1, 2), (1, 8), (-1, 18)])
        (-1, 0)
    """
    factors: defaultdict[int, Fraction] = defaultdict(Fraction)
    for factor, radicand in terms:
        number = Fraction(radicand)
        whole, rest = _square_free(number.numerator * number.denominator)
        factors[rest] += Fraction(factor) * whole / number.denominator
    left = [(factor, rest) for rest, factor in factors.items() if factor and rest]
    if not left:
        return 0
    digits, total, off = 32, Fraction(0), Fraction(1)
    while abs(total) <= off:
        digits *= 2
        total = sum((factor * math.isqrt(rest << 2 * digits) for factor, rest in left), Fraction(0))
        off = sum((abs(factor) for factor, _ in left), Fraction(0))  # each root is short by less than 1
    return 1 if total > 0 else -1


def _square_free(number: int) -> tuple[int, int]:
    # number = whole^2 rest
    whole, divisor = 1, 2
    while divisor**2 <= number:
        while number % divisor**2 == 0:
            number //= divisor**2
            whole *= divisor
        divisor += 1
    return whole, number
