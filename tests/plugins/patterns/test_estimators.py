"""Entropy estimates against dense references, exact values, and draws from known distributions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal, localcontext

import numpy as np
import pytest
from scipy.special import digamma, gammaincinv, hyperu, ndtri
from scipy.stats import binom

from reluscope.errors import ObservationError
from reluscope_plugins.patterns.estimators import corrected_entropy, interval, plug_in_entropy
from reluscope_plugins.patterns.multiplicities import Multiplicities, coverage, multiplicities

ERROR_PROBABILITY = 1e-6

TABLES = [
    [1],
    [1, 1],
    [2],
    [1, 2],
    [1] * 7,
    [2, 2, 2],
    [1, 1, 1, 3],
    [40, 1],
    [1, 1, 2, 3, 5, 8, 13],
    [9, 4, 4, 2, 2, 1, 1, 1, 1, 1, 1],
    [1] * 30 + [2],
    [3, 3, 2, 1],
]


def dense_plug_in(counts: list[int]) -> float:
    samples = [pattern for pattern, count in enumerate(counts) for _ in range(count)]
    shares = [count / len(samples) for count in Counter(samples).values()]
    return -sum(share * math.log2(share) for share in shares)


def dense_corrected(counts: list[int]) -> float:
    """Equation 7 of Chao, Wang and Jost as printed, in decimals of 400 digits; psi(n) - psi(c) is a harmonic sum."""
    if sum(counts) == 1:
        return 0.0
    with localcontext() as context:
        context.prec = 400
        n, once, twice = sum(counts), counts.count(1), counts.count(2)
        total = sum((Decimal(c) / n * sum(Decimal(1) / k for k in range(c, n)) for c in counts), Decimal(0))
        if twice:
            a = Decimal(2 * twice) / ((n - 1) * once + 2 * twice)
        else:
            a = Decimal(2) / ((n - 1) * (once - 1) + 2) if once else Decimal(1)
        if once and a < 1:
            series = sum((1 - a) ** r / r for r in range(1, n))
            total += Decimal(once) / n * (1 - a) ** (1 - n) * (-a.ln() - series)
        return float(total / Decimal(2).ln())


def dense_unseen(n: int, once: int, twice: float) -> float:
    a = 2 * twice / ((n - 1) * once + 2 * twice)
    terms = np.arange(1, 1 + math.ceil(40 / a))
    return float(once / n * np.sum(np.exp(terms * np.log1p(-a)) / (n - 1 + terms))) / math.log(2)


@pytest.mark.parametrize("counts", TABLES)
def test_plug_in_as_a_dense_sum(counts: list[int]) -> None:
    assert plug_in_entropy(multiplicities(counts)) == pytest.approx(dense_plug_in(counts), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("counts", TABLES)
def test_corrected_as_printed(counts: list[int]) -> None:
    assert corrected_entropy(multiplicities(counts)) == pytest.approx(dense_corrected(counts), rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("counts", [table for table in TABLES if 1 < sum(table)])
def test_interval_from_leaving_out_each_sample(counts: list[int]) -> None:
    n = sum(counts)
    centre = dense_corrected(counts)
    left = []
    for pattern, count in enumerate(counts):
        fewer = [c - (other == pattern) for other, c in enumerate(counts)]
        left += [dense_corrected([c for c in fewer if c])] * count
    error = math.sqrt((n - 1) / n * sum((value - np.mean(left)) ** 2 for value in left))
    bias = (n - 1) * (float(np.mean(left)) - centre)
    once, twice = counts.count(1), counts.count(2)
    now = centre - float(sum(c / n * (digamma(n) - digamma(c)) for c in counts)) / math.log(2)
    depth = now - dense_unseen(n, once, gammaincinv(twice + 1, 0.95)) if once else 0.0
    lower = max(0.0, centre - max(ndtri(0.95) * error, depth))
    upper = centre + ndtri(0.95) * error + 3 * max(0.0, -bias) if once < 0.9 * n else math.inf
    assert interval(multiplicities(counts), 0.9) == pytest.approx((lower, upper), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("once", "twice"), [(90_000, 5000), (10**4, 1000), (50, 10**4), (3, 10)])
def test_patterns_not_seen_at_a_hundred_thousand_samples(once: int, twice: int) -> None:
    rest = 10**5 - once - 2 * twice
    counts = {1: once, 2: twice} | ({rest: 1} if rest else {})
    found = Multiplicities(np.array(list(counts)), np.array(list(counts.values())))
    seen = sum(f * c / 10**5 * (digamma(10**5) - digamma(c)) for c, f in counts.items()) / math.log(2)
    unseen = dense_unseen(10**5, once, twice)
    assert corrected_entropy(found) - seen == pytest.approx(unseen, rel=1e-10, abs=1e-14)


@pytest.mark.parametrize("once", [10**9, 9 * 10**8, 5 * 10**8, 10**6, 1000, 2])
@pytest.mark.parametrize("twice", [0, 1, 1000, 10**8])
def test_stable_at_a_thousand_million_samples(once: int, twice: int) -> None:
    n = 10**9
    rest = n - once - 2 * twice
    if rest < 0:
        once, rest = n - 2 * twice, 0
    counts = {c: f for c, f in {1: once, 2: twice, max(rest, 3): int(rest > 0)}.items() if f}
    found = Multiplicities(np.array(list(counts)), np.array(list(counts.values())))
    n = found.samples
    seen = sum(f * c / n * (digamma(n) - digamma(c)) for c, f in counts.items()) / math.log(2)
    # The sum over r from n on is e^x times the exponential integral of x, to within its first term.
    a = 2 * twice / ((n - 1) * once + 2 * twice) if twice else 2 / ((n - 1) * (once - 1) + 2)
    exponent = -math.log1p(-a) * (n - 1)
    unseen = once / n * float(hyperu(1, 1, exponent)) / math.log(2)
    assert corrected_entropy(found) == pytest.approx(seen + unseen, rel=1e-13, abs=2 / n)
    lower, upper = interval(found)
    assert 0 <= lower <= corrected_entropy(found) <= upper


@pytest.mark.parametrize("patterns", [1, 2, 8, 1024, 2**20])
def test_exact_values(patterns: int) -> None:
    alike = Multiplicities(np.array([64]), np.array([patterns]))
    assert plug_in_entropy(alike) == math.log2(patterns)
    assert plug_in_entropy(multiplicities([1] * min(patterns, 4096))) == math.log2(min(patterns, 4096))


def test_a_geometric_distribution() -> None:
    counts = [2**k for k in range(20, -1, -1)] + [1]
    assert plug_in_entropy(multiplicities(counts)) == pytest.approx(2 - 2.0**-20, abs=1e-12)


def test_one_pattern_has_no_entropy_and_no_doubt() -> None:
    found = multiplicities([1000])
    assert (plug_in_entropy(found), corrected_entropy(found), interval(found)) == (0.0, 0.0, (0.0, 0.0))


def test_one_sample_says_nothing() -> None:
    assert interval(multiplicities([1])) == (0.0, math.inf)
    assert interval(multiplicities([1]), limit=6) == (0.0, 6)


def test_all_samples_distinct() -> None:
    found = multiplicities([1] * 1000)
    assert plug_in_entropy(found) == math.log2(1000)
    assert corrected_entropy(found) > math.log2(1000)
    assert corrected_entropy(found, limit=11) == 11
    lower, upper = interval(found, limit=40)
    # No two alike among 1000: a uniform distribution has more than about n^2 / (2 x 3.7) patterns.
    assert lower == pytest.approx(math.log2(1000**2 / (2 * -math.log(0.025))), abs=0.9)
    assert upper == 40


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, math.nan])
def test_no_such_level(level: float) -> None:
    with pytest.raises(ObservationError, match=r"expected one between 0 and 1, such as 0.95"):
        interval(multiplicities([3, 4]), level)


@pytest.mark.parametrize("limit", [-1.0, math.nan])
def test_no_such_limit(limit: float) -> None:
    for estimate in (corrected_entropy, interval):
        with pytest.raises(ObservationError, match=r"got a limit of .* bits, expected at least 0"):
            estimate(multiplicities([3, 4]), limit=limit)


@pytest.mark.parametrize("estimate", [plug_in_entropy, corrected_entropy, interval])
def test_no_estimate_of_nothing(estimate: Callable[[Multiplicities], object]) -> None:
    with pytest.raises(ObservationError, match="got no samples"):
        estimate(multiplicities([]))


# Draws from known distributions. The generators are seeded: a test that passes once passes always.


def uniform(bits: int) -> np.ndarray:
    return np.full(2**bits, 2.0**-bits)


def zipf(exponent: float, patterns: int) -> np.ndarray:
    weights = np.arange(1, patterns + 1.0) ** -exponent
    return weights / weights.sum()


def geometric(rate: float) -> np.ndarray:
    weights = (1 - rate) ** np.arange(math.ceil(-28 / math.log1p(-rate)))
    return weights / weights.sum()


def heavy(share: float, bits: int) -> np.ndarray:
    return np.append((1 - share) * uniform(bits), share)


def biased_bits(bits: int) -> np.ndarray:
    shares = np.ones(1)
    for probability in np.random.default_rng(5).beta(0.5, 0.5, bits):
        shares = np.concatenate([shares * probability, shares * (1 - probability)])
    return shares


def entropy_of(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log2(shares)).sum())


def draws(shares: np.ndarray, samples: int, times: int, seed: int = 0) -> list[Multiplicities]:
    generator = np.random.default_rng(seed)
    edges = np.cumsum(shares)
    drawn = []
    for _ in range(times):
        patterns = np.searchsorted(edges, generator.random(samples) * edges[-1], side="right")
        drawn.append(multiplicities(np.unique(patterns, return_counts=True)[1]))
    return drawn


def miller_madow(found: Multiplicities) -> float:
    return plug_in_entropy(found) + (found.distinct - 1) / (2 * found.samples * math.log(2))


def chao_shen(found: Multiplicities) -> float:
    n = found.samples
    p = (1 - min(found.seen(1), n - 1) / n) * found.count / n
    return float(-(found.patterns * p * np.log2(p) / -np.expm1(n * np.log1p(-p))).sum())


def grassberger(found: Multiplicities) -> float:
    n, c = found.samples, found.count
    logarithm = digamma(c) + (1 - 2 * (c % 2)) / 2 * (digamma((c + 1) / 2) - digamma(c / 2))
    return float(math.log(n) - (found.patterns * c * logarithm).sum() / n) / math.log(2)


CASES = {
    "uniform": (uniform(16), 100_000, 40),
    "zipf": (zipf(1.0, 10**6), 10_000, 40),
    "half in one pattern": (heavy(0.5, 16), 10_000, 40),
    "biased bits": (biased_bits(16), 1000, 200),
}


@pytest.mark.parametrize("case", CASES)
def test_nearer_than_the_others(case: str) -> None:
    """Null: it is nearer to the truth in at most half of all draws. A true null passes once in 10^6."""
    shares, samples, times = CASES[case]
    truth = entropy_of(shares)
    drawn = draws(shares, samples, times)
    for other in (plug_in_entropy, miller_madow, chao_shen, grassberger):
        nearer = sum(abs(corrected_entropy(found) - truth) < abs(other(found) - truth) for found in drawn)
        assert nearer > binom.isf(ERROR_PROBABILITY, times, 0.5), other.__name__


@pytest.mark.parametrize(
    ("shares", "samples"), [(uniform(10), 1000), (uniform(12), 1000), (heavy(0.5, 12), 3000), (geometric(0.5), 300)]
)
def test_little_bias(shares: np.ndarray, samples: int) -> None:
    """Null: its expectation is within 0.02 bits. 300 draws; a true null fails once in 10^6 (normal mean)."""
    errors = np.array([corrected_entropy(found) for found in draws(shares, samples, 300)]) - entropy_of(shares)
    assert abs(errors.mean()) <= 0.02 + ndtri(1 - ERROR_PROBABILITY / 2) * errors.std(ddof=1) / math.sqrt(300)


@pytest.mark.parametrize(
    ("shares", "samples"),
    [
        (uniform(10), 100),
        (uniform(10), 1000),
        (uniform(16), 1000),
        (heavy(0.5, 16), 1000),
        (heavy(0.9, 12), 1000),
        (geometric(0.5), 300),
        (geometric(0.01), 1000),
        (zipf(2.0, 10**5), 1000),
        (biased_bits(16), 10_000),
    ],
)
def test_interval_holds_the_entropy(shares: np.ndarray, samples: int) -> None:
    """Null: it does with probability 0.93 or more, at a level of 0.95. 300 draws; a true null fails once in 10^6."""
    truth = entropy_of(shares)
    ends = [interval(found) for found in draws(shares, samples, 300)]
    held = sum(lower <= truth <= upper for lower, upper in ends)
    assert held >= binom.ppf(ERROR_PROBABILITY, 300, 0.93)


@pytest.mark.parametrize(("samples", "mostly_singletons"), [(100, True), (1000, False)])
def test_interval_falls_short_of_a_heavy_tail(samples: int, mostly_singletons: bool) -> None:
    """As documented. Null: it holds the entropy with probability 0.95; 300 draws; a true null passes once in 10^6.

    The lower end does hold. Null: with probability 0.975 or more; a true null fails once in 10^6.
    """
    shares = zipf(1.0, 10**6)
    truth = entropy_of(shares)
    drawn = draws(shares, samples, 300)
    ends = [interval(found) for found in drawn]
    assert sum(lower <= truth <= upper for lower, upper in ends) < binom.ppf(ERROR_PROBABILITY, 300, 0.95)
    assert sum(lower <= truth for lower, _ in ends) >= binom.ppf(ERROR_PROBABILITY, 300, 0.975)
    assert (np.mean([1 - coverage(found) for found in drawn]) > 0.7) == mostly_singletons
