"""What projections are expected to be at initialisation: laws of the share and of the cosines, and their p-values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from reluscope.errors import ObservationError

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray[Any, np.dtype[np.float64]]
CORRECTIONS = ("holm", "none")
LAWS = ("normal", "sphere")


def sign_p_value(cosines: Array) -> float:
    r"""Test whether as many filters point away from a direction as along it.

    Where weights are drawn independently and symmetrically about zero, each sign is a fair coin's, whatever the
    direction: the number of negative cosines is binomial, $B(F, 1/2)$. Filters that are zero or at a right angle to the
    direction have no sign and do not count.

    Args:
        cosines: `(filter,)`.

    Returns:
        Two-sided p-value, exact; 1 where no filter has a sign.

    References:
        Gamba et al. 2020, section 3.2 (the share at initialisation); Dixon and Mood 1946 (the sign test).

    Example:
        >>> sign_p_value(np.array([-0.1, -0.2, -0.3, -0.1, -0.5]))
        0.0625
    """
    from scipy.stats import binomtest

    negative, positive = int((cosines < 0).sum()), int((cosines > 0).sum())
    return float(binomtest(negative, negative + positive).pvalue) if negative + positive else 1.0


def corrected(p_values: Sequence[float], correction: Literal["holm", "none"] = "holm") -> Array:
    """Correct p-values for the number of tests.

    Args:
        p_values: `(test,)`.
        correction: `"holm"`: the k-th least of m times m - k + 1, none below a lesser one's, at most 1: the probability
            that any of the true nulls is rejected is at most the level; or `"none"`.

    Returns:
        `(test,)`.

    Raises:
        ObservationError: If there is no such correction.

    References:
        Holm 1979, A simple sequentially rejective multiple test procedure.

    Example:
        >>> corrected([0.01, 0.5, 0.02]).tolist()
        [0.03, 0.5, 0.04]
    """
    if correction not in CORRECTIONS:
        raise ObservationError(f"correction: got {correction!r}, expected {' or '.join(map(repr, CORRECTIONS))}")
    values = np.asarray(p_values, dtype=np.float64)
    if correction == "none" or not len(values):
        return values
    order = np.argsort(values)
    found = np.empty_like(values)
    found[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    return found


def check_probability(name: str, value: float) -> None:
    """Refuse what is no probability of an interval.

    Args:
        name: Of the parameter.
        value: What was given.

    Raises:
        ObservationError: If it is not a number between 0 and 1.

    Example:
        >>> check_probability("level", 95)
        Traceback (most recent call last):
        ...
        reluscope.errors.ObservationError: level: got 95, expected a number between 0 and 1, such as 0.95
    """
    if not isinstance(value, int | float) or not 0.0 < value < 1.0:
        raise ObservationError(f"{name}: got {value!r}, expected a number between 0 and 1, such as 0.95")


def share_interval(filters: int, level: float = 0.95) -> tuple[float, float]:
    r"""Return where the share of negative cosines lies at initialisation.

    Args:
        filters: F, how many have a sign: neither zero nor at a right angle to the direction.
        level: Least probability of the interval.

    Returns:
        Lower and upper end: quantiles of $B(F, 1/2) / F$ that leave at most half of the rest on either side.

    Raises:
        ObservationError: If the level is not between 0 and 1.

    Example:
        >>> share_interval(64)
        (0.375, 0.625)
    """
    from scipy.stats import binom

    check_probability("level", level)
    if not filters:
        return (float("nan"), float("nan"))
    lower = float(binom.ppf((1.0 - level) / 2, filters, 0.5)) / filters
    return lower, 1.0 - lower


def cosine_p_value(cosines: Array, inputs: int, law: Literal["normal", "sphere"] = "normal") -> float:
    r"""Test whether cosines within the kernel are distributed as at initialisation.

    The cosine of n independent weights of N(0, s^2) with any direction is one coordinate of a uniform point on the unit
    sphere: $c^2 \sim \text{Beta}(1/2, (n - 1) / 2)$, for large n nearly $N(0, 1 / n)$. The source says normal.

    Args:
        cosines: `(filter,)`; NaN, of zero filters, do not count; what rounding has taken out of -1..1 is cut to it.
        inputs: n, weights of a filter.
        law: `"normal"`: N(0, 1 / n); `"sphere"`: exact for normal weights.

    Returns:
        Two-sided p-value of Kolmogorov and Smirnov's test; NaN where there is no cosine, or n is 1.

    Raises:
        ObservationError: If there is no such law.

    References:
        Gamba et al. 2020, section 3.2.

    Example:
        >>> cosine_p_value(np.full(20, 0.1), inputs=100) < 1e-6
        True
    """
    from scipy import special
    from scipy.stats import kstest

    if law not in LAWS:
        raise ObservationError(f"law: got {law!r}, expected {' or '.join(map(repr, LAWS))}")
    known = cosines[np.isfinite(cosines)].clip(-1.0, 1.0)
    if not len(known) or inputs < 2:
        return float("nan")

    def below(values: Array) -> Array:
        if law == "normal":
            return np.asarray(special.ndtr(values * np.sqrt(inputs)))
        return np.asarray((1.0 + np.sign(values) * special.betainc(0.5, (inputs - 1) / 2, values**2)) / 2)

    return float(kstest(known, below).pvalue)
