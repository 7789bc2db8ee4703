"""Entropy of patterns from how often each was seen, and how far the number can be trusted."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import digamma, gammaincinv, ndtri

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.multiplicities import Multiplicities, needed, saturated

SLOWEST_DECAY = 1 / 3
r"""The interval allows for a bias that falls as $n^{-1/3}$ or faster: as of Zipf's law with exponent 3/2."""

# Nodes and weights of $\int_0^\infty e^{-u} f(u) du$: the trapezoidal rule after u = exp(t - exp(-t)), which converges
# doubly exponentially also where f has a logarithm's kink near 0.
_STEP = 1 / 16
_T = np.arange(-4.0, 5.0, _STEP)
_NODES = np.exp(_T - np.exp(-_T))
_WEIGHTS = _STEP * _NODES * (1 + np.exp(-_T)) * np.exp(-_NODES)


def plug_in_entropy(found: Multiplicities) -> float:
    r"""Activation pattern entropy of the samples at hand.

    $H = - \sum_A \frac{c(A)}{n} \log_2 \frac{c(A)}{n}$ over the patterns $A$ seen, where $c(A)$ samples have pattern
    $A$ and $n = \sum_A c(A)$. The source prints $N_l$ for the denominator, which it defines as $2^{d_l}$, the number of
    possible patterns of $d_l$ units. Then the terms do not sum to 1, and there is no distribution to take the entropy
    of. Taken here is the sample size, which makes it the entropy of the observed distribution and agrees with the bound
    $\log_2 n$ that the source states in eq. 3.10.

    Args:
        found: How many patterns were seen how often.

    Returns:
        Bits, between 0 and $\log_2 n$.

    References:
        Hartmann (2025), eq. 3.9.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> plug_in_entropy(multiplicities([5, 5, 5, 5]))
        2.0
    """
    samples = needed(found)
    entropy = found.patterns @ (found.count / samples * np.log2(samples / found.count))
    return min(float(entropy), math.log2(samples))


def corrected_entropy(found: Multiplicities, *, limit: float = math.inf) -> float:
    r"""Entropy of the distribution that the samples come from, corrected for the patterns not seen.

    $$H = \sum_A \frac{c(A)}{n} \left( \psi(n) - \psi(c(A)) \right)
    + \frac{f_1}{n} (1 - a)^{1-n} \left( -\ln a - \sum_{r=1}^{n-1} \frac{(1 - a)^r}{r} \right)$$

    in nats, where $f_i$ patterns were seen $i$ times among $n$ samples and $a = 2 f_2 / ((n-1) f_1 + 2 f_2)$ estimates
    the mean probability of a pattern seen once ($2 / ((n-1)(f_1 - 1) + 2)$ where $f_2 = 0$). The first term is free of
    bias up to the patterns not seen; the second puts in what they would add. It is computed as $\frac{f_1}{n}
    \int_0^\infty e^{-u} \ln(1 + \frac{1-a}{a} (1 - e^{-u/(n-1)})) du$, which cancels nowhere.

    It assumes independent samples. The positions of a convolution in one image are not: they show patterns twice that
    another image would not show again, so the correction falls short, down to almost none where all come twice.

    Of these estimators its error is the smallest, or within 2 % of it, in 53 of 65 cases (13 distributions at 100 to
    10^6 samples); in the other 12 Chao and Shen's is, whose bias goes from below to above as samples come in, and
    reaches 1.13 bits where this one's error is 0.03 (the last row). Root mean square error in bits, at $n$ samples of
    which the share $s$ have a pattern of their own (60 to 400 draws each):

    ======================= ====== ======= ==== ======= ============ ========= =========== =====
    distribution            bits   n       s    plug-in Miller-Madow Chao-Shen Grassberger this
    ======================= ====== ======= ==== ======= ============ ========= =========== =====
    uniform, 2^16           16.00  10,000  0.86 2.861   2.192        0.057     1.289       0.055
    uniform, 2^16           16.00  100,000 0.22 0.547   0.178        0.301     0.018       0.004
    Zipf, exponent 1, 10^6  13.41  1,000   0.63 4.714   4.214        3.407     3.540       2.392
    Zipf, exponent 1, 10^6  13.41  100,000 0.31 1.356   1.085        0.709     0.766       0.426
    geometric, 0.0001       14.73  10,000  0.63 1.883   1.309        0.324     0.698       0.304
    half in one, rest 2^16  9.00   1,000   0.50 3.520   3.161        1.556     2.612       0.461
    16 biased bits          8.48   1,000   0.23 0.854   0.590        0.443     0.373       0.269
    Zipf, exponent 1.5      4.62   10,000  0.04 0.233   0.187        0.042     0.145       0.113
    half in one, rest 2^16  9.00   100,000 0.23 0.524   0.273        1.129     0.074       0.027
    ======================= ====== ======= ==== ======= ============ ========= =========== =====

    Args:
        found: How many patterns were seen how often.
        limit: Bits that the entropy cannot exceed: the number of units of a site with two states a unit.

    Returns:
        Bits, at least the plug-in entropy; it may exceed $\log_2 n$, but not the limit.

    References:
        Chao, Wang and Jost (2013), Methods in Ecology and Evolution 4, eq. 7; compared with Miller (1955), Chao and
        Shen (2003) and Grassberger (2003).

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> found = multiplicities([1, 1, 1, 1, 2, 2])
        >>> round(plug_in_entropy(found), 3), round(corrected_entropy(found), 3)
        (2.5, 3.42)
    """
    samples = needed(found)
    _check_limit(limit)
    within = found.patterns @ (found.count / samples * (digamma(samples) - digamma(found.count)))
    nats = float(within) + _unseen(samples, found.seen(1), found.seen(2))
    return min(nats / math.log(2), limit)


def interval(found: Multiplicities, level: float = 0.95, *, limit: float = math.inf) -> tuple[float, float]:
    r"""Confidence interval of the entropy around its corrected value.

    $[H - \max(z \sigma, H - H'),\; H + z \sigma + 3 \max(0, -\beta)]$, where $\sigma$ is the jackknife's standard error
    of the corrected value $H$, $\beta$ its estimate of the bias left in it, and $z$ the normal quantile. A bias that
    falls as $n^{-\alpha}$ is $\beta / \alpha$, and the factor 3 allows for `SLOWEST_DECAY`. The bias left goes
    downwards only: rare patterns of unequal probability are more than the correction can tell. $H'$ is $H$ with $f_2$
    replaced by the upper confidence bound of a Poisson mean: where almost no pattern was seen twice, the jackknife does
    not notice that the correction hangs on them. Where saturated, the sample gives a lower end only, and the upper one
    is the limit.

    The samples are taken for independent; where they are not, as positions of a convolution, it is too narrow. Measured
    by simulation: at a level of 0.95 the interval holds the entropy in this share of draws (1,000 draws, 300 at 10,000
    samples, 150 at 100,000; * where mostly saturated):

    ======================= ===== ===== ====== =======
    distribution            n=100 1,000 10,000 100,000
    ======================= ===== ===== ====== =======
    uniform, 2^10           0.96* 1.00  0.99   0.99
    uniform, 2^16           1.00* 1.00* 1.00   1.00
    Zipf, exponent 1, 10^6  0.40  0.47  0.91   1.00
    Zipf, exponent 1.5      0.83  0.86  0.93   0.97
    Zipf, exponent 2        0.95  0.95  0.97   0.99
    geometric, 0.5          0.95  0.95  0.96   0.99
    geometric, 0.0001       1.00* 1.00* 0.86   1.00
    half in one, rest 2^16  0.99  0.99  0.98   0.95
    0.9 in one, rest 2^12   0.88  0.98  0.99   0.97
    16 biased bits          0.84  0.96  1.00   1.00
    ======================= ===== ===== ====== =======

    All that is missed beyond 0.05 lies above the interval. So with a heavy tail and a sample that shows little of it,
    or none, the lower end holds and the upper one does not.

    Args:
        found: How many patterns were seen how often.
        level: Probability with which it should hold the entropy.
        limit: Bits that the entropy cannot exceed: the number of units of a site with two states a unit.

    Returns:
        Lower and upper end in bits.

    Raises:
        ObservationError: If the level does not lie between 0 and 1.

    References:
        Efron and Stein (1981), Annals of Statistics 9, for the jackknife's variance; Quenouille (1956) for its bias.

    Example:
        >>> from reluscope_plugins.patterns.multiplicities import multiplicities
        >>> lower, upper = interval(multiplicities([400, 300, 200, 100]))
        >>> lower < 1.846 < upper
        True
    """
    if not 0 < level < 1:
        raise ObservationError(f"got a level of {level}, expected one between 0 and 1, such as 0.95")
    tail = 0.5 + level / 2
    centre = corrected_entropy(found, limit=limit)
    error, bias = _jackknife(found)
    samples, once, twice = found.samples, found.seen(1), found.seen(2)
    shifted = _unseen(samples, once, float(gammaincinv(twice + 1, tail)))
    depth = (_unseen(samples, once, twice) - shifted) / math.log(2)
    reach = float(ndtri(tail)) * error
    upper = math.inf if saturated(found) else centre + reach + max(0.0, -bias) / SLOWEST_DECAY
    return max(0.0, centre - max(reach, depth)), min(upper, limit)


def _unseen(samples: int, once: float, twice: float) -> float:
    # Nats that the patterns not seen add.
    if samples == 1 or once == 0:
        return 0.0
    odds = (samples - 1) * (once / (2 * twice) if twice else (once - 1) / 2)  # (1 - a) / a
    return once / samples * float(_WEIGHTS @ np.log1p(odds * -np.expm1(-_NODES / (samples - 1))))


def _jackknife(found: Multiplicities) -> tuple[float, float]:
    # Standard error and bias of the corrected entropy in bits, from leaving out one sample at a time.
    samples, count = found.samples, found.count
    if samples == 1:
        return 0.0, 0.0
    once, twice = found.seen(1), found.seen(2)
    # A sample left out moves its pattern to the next lower multiplicity. In n - 1 times the change that this makes,
    # psi(n) - psi(n - 1) and c psi(c) - (c - 1) psi(c - 1) come down to what stands here, and no digits are lost.
    shares = count * found.patterns / samples
    logarithms = digamma(count)
    change: npt.NDArray[np.float64] = logarithms - shares @ logarithms - (count == 1)
    unseen = np.full(count.shape, _unseen(samples - 1, once, twice))
    moves = {1: (-1, 0), 2: (1, -1), 3: (0, 1)}
    for index, times in enumerate(count[:3].tolist()):
        if times in moves:
            unseen[index] = _unseen(samples - 1, once + moves[times][0], twice + moves[times][1])
    change += (samples - 1) * (unseen - _unseen(samples, once, twice))
    bias = float(shares @ change)
    error = math.sqrt(float(shares @ (change - bias) ** 2) / (samples - 1))
    return error / math.log(2), bias / math.log(2)


def _check_limit(limit: float) -> None:
    if not limit >= 0:
        raise ObservationError(f"got a limit of {limit} bits, expected at least 0; give the number of units, or none")
