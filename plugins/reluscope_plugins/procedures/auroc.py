"""Area under the receiver operating characteristic, with a confidence interval."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

Array = np.ndarray[Any, Any]


class Auroc(NamedTuple):
    """An estimated area and what it may be.

    Attributes:
        area: The estimate; NaN where there is no value on one side.
        lower: Lower end of the interval.
        upper: Upper end.
    """

    area: float
    lower: float
    upper: float


def auroc(positive: Array, negative: Array, *, confidence: float = 0.95) -> Auroc:
    r"""Estimate the probability that a positive's value is greater than a negative's.

    $A = \frac{1}{m n} \sum_{i, j} [x_i > y_j] + \frac12 [x_i = y_j]$, the Mann-Whitney statistic divided by $m n$. The
    interval is DeLong's, taken of the logit of $A$ so that it stays within 0..1: with
    $p_i = \frac1n \sum_j [x_i > y_j] + \dots$, and $q_j$ likewise, the variance of $A$ is estimated by
    $s^2 = s_p^2 / m + s_q^2 / n$, and that of its logit by $s^2 / (A (1 - A))^2$. The values must be independent.

    Args:
        positive: `(sample,)`; NaN is left out.
        negative: `(sample,)`; NaN is left out.
        confidence: Probability with which the interval is to hold the area, asymptotically.

    Returns:
        The area and its interval. Where one side has less than two values, or no pair is out of order, the method
        knows nothing of the ends, and they are NaN.

    References:
        DeLong, DeLong and Clarke-Pearson 1988, Comparing the areas under two or more correlated receiver operating
        characteristic curves; Pepe 2003, The statistical evaluation of medical tests, section 5.2.4, for the logit.

    Example:
        >>> auroc(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0])).area
        0.9166666666666666
    """
    x, y = (values[~np.isnan(values)].astype(float) for values in (positive, negative))
    m, n = len(x), len(y)
    if not m or not n:
        return Auroc(math.nan, math.nan, math.nan)
    ranks = scipy.stats.rankdata(np.concatenate([x, y]))
    p = (ranks[:m] - scipy.stats.rankdata(x)) / n
    q = 1 - (ranks[m:] - scipy.stats.rankdata(y)) / m
    area = float(p.mean())
    if min(m, n) < 2 or not 0 < area < 1:
        return Auroc(area, math.nan, math.nan)
    error = math.sqrt(p.var(ddof=1) / m + q.var(ddof=1) / n) / (area * (1 - area))
    width = float(scipy.stats.norm.ppf((1 + confidence) / 2)) * error
    logit = math.log(area / (1 - area))
    return Auroc(area, *(1 / (1 + math.exp(-(logit + sign * width))) for sign in (-1, 1)))
