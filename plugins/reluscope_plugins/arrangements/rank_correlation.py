"""Spearman's rank correlation with a confidence interval."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from reluscope.errors import ObservationError
from reluscope_plugins.arrangements.null_distribution import check_probability

_LEAST = 4


class RankCorrelation(NamedTuple):
    """A rank correlation and what it may be.

    Attributes:
        value: The correlation, within -1..1; NaN where it is not defined.
        lower: Lower end of the interval.
        upper: Upper end.
    """

    value: float
    lower: float
    upper: float


def rank_correlation(x: ArrayLike, y: ArrayLike, *, confidence: float = 0.95) -> RankCorrelation:
    r"""Estimate Spearman's rank correlation of two columns.

    $r$ is the correlation of the ranks, ties sharing their mean rank. The interval is
    $\tanh(\operatorname{artanh} r \pm z \sqrt{(1 + r^2 / 2) / (n - 3)})$ with the quantile $z$ of the normal
    distribution: Fisher's transform with the standard error of Bonett and Wright, which is for $n$ independent pairs.

    Args:
        x: `(pair,)`; a pair with NaN on either side is left out.
        y: `(pair,)`.
        confidence: Probability with which the interval is to hold the correlation, asymptotically.

    Returns:
        The correlation and its interval: all NaN with fewer than 4 pairs or where one column is constant; the ends are
        NaN at a correlation of exactly -1 or 1, of which the transform is infinite.

    Raises:
        ObservationError: If these are not two columns of numbers of one length, or the confidence is not between 0 and
            1.

    References:
        Bonett and Wright 2000, Sample size requirements for estimating Pearson, Kendall and Spearman correlations.

    Example:
        >>> [round(number, 3) for number in rank_correlation([0.0, 1.0, 2.0, 3.0, 4.0], [0.0, 1.0, 2.0, 4.0, 3.0])]
        [0.9, -0.169, 0.996]
    """
    check_probability("confidence", confidence)
    try:
        first, second = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ObservationError(f"x, y: {error}; expected numbers (pair,)") from error
    if first.ndim != 1 or first.shape != second.shape:
        raise ObservationError(f"x, y: got the shapes {first.shape} and {second.shape}, expected (pair,) twice")
    known = ~(np.isnan(first) | np.isnan(second))
    first, second = first[known], second[known]
    pairs = len(first)
    if pairs < _LEAST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return RankCorrelation(math.nan, math.nan, math.nan)
    value = float(scipy.stats.spearmanr(first, second).statistic)
    if abs(value) >= 1 - np.finfo(float).eps * pairs:
        return RankCorrelation(round(value), math.nan, math.nan)
    width = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * math.sqrt((1 + value**2 / 2) / (pairs - 3))
    lower, upper = (math.tanh(math.atanh(value) + sign * width) for sign in (-1, 1))
    return RankCorrelation(value, lower, upper)
