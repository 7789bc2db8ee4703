"""Sequential tests of the mean of bounded observations, valid for every law and every number of observations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from reluscope.counterexample_search import draw_seed, identity, text
from reluscope.errors import ClaimError

if TYPE_CHECKING:
    from reluscope.entries import Claim

ERROR = 1e-6
"""Error probability of a verdict: of all cases and all looks together, on each of its two sides."""

MOST_CASES = 1000
"""Cases of one claim among which the error probability is shared, whether or not so many are tried."""

FIRST, LAST = 2**10, 2**22
"""Number of observations at the first look and at the last; it doubles from one to the next."""

LOOKS = round(math.log2(LAST / FIRST)) + 1
SHARE = ERROR / MOST_CASES / LOOKS
"""Error probability of one case at one look."""

_CHUNK = 2**16


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the observations of one case say.

    Attributes:
        verdict: `"holds"`, `"refuted"` or `"undecided"`.
        null: The relation that was tested, in words.
        test: The test, in words.
        error: Error probability of the verdict of the claim.
        power: Probability at least that a deviation by `effect` is found by the last look; of numbers, at the variance
            observed.
        observations: How many were drawn.
        mean: Their mean.
    """

    verdict: str
    null: str
    test: str
    error: float
    power: float
    observations: int
    mean: float


@dataclasses.dataclass
class _Sums:
    """Number, mean and squared deviations of what was observed so far, and the limits of an observation."""

    limits: tuple[float, float] = (0.0, 1.0)
    number: int = 0
    mean: float = 0.0
    squares: float = 0.0
    boolean: bool = True

    def add(self, values: np.ndarray[Any, Any]) -> None:
        numbers = values.astype(np.float64)
        mean, number = float(numbers.mean()), len(numbers)
        delta, total = mean - self.mean, self.number + number
        self.squares += float(np.square(numbers - mean).sum()) + delta**2 * self.number * number / total
        self.mean += delta * number / total
        self.number = total
        self.boolean &= values.dtype == np.bool_

    @property
    def variance(self) -> float:
        """Sample variance."""
        return self.squares / (self.number - 1)

    @property
    def successes(self) -> int:
        """How many of the observations are 1."""
        return round(self.mean * self.number)

    @property
    def failures(self) -> int:
        """How many of them are 0."""
        return self.number - self.successes


def examine(claim: Claim, case: Mapping[str, Any], *, seed: int) -> Decision:
    """Test whether the mean of a claim's observations stands to its value as the claim says.

    With the mean m, the value v and the margin d, which is effect abs(v), or the effect itself where v is 0: the claim
    m = v is refuted where m = v is rejected, and holds where abs(m - v) >= d is; the claims m <= v and m >= v likewise,
    on one side. Looks are taken at 2^10, 2^11, ... 2^22 observations; each spends the same share of the error
    probability, half of it on either side. Bools are tested by the exact binomial test, numbers by the empirical
    Bernstein inequality: with n observations in [a, b], of mean X and sample variance V, the true mean is above
    X + sqrt(2 V log(2 / e) / n) + 7 (b - a) log(2 / e) / (3 (n - 1)) with probability e at most, and so from below.
    Both keep their error probability for every n and every law.

    Args:
        claim: A statistical claim.
        case: One of its cases.
        seed: Of the observations; with the claim and the case it decides them.

    Returns:
        The verdict and what it rests on.

    Raises:
        ClaimError: If what was drawn is not as many finite numbers within the bounds as were asked for, or the value is
            not finite.

    References:
        Maurer and Pontil 2009, Empirical Bernstein bounds and sample-variance penalization, Theorem 4; Clopper and
        Pearson 1934, Biometrika 26.
    """
    value = claim.expected(case)
    if not math.isfinite(value):
        raise ClaimError(f"claim {claim.name!r}: its value is {value} in the case {text(case)}; expected a number")
    margin = claim.effect * (abs(value) or 1.0)
    generator = np.random.default_rng(draw_seed(seed, claim.name, "observations", identity(case)))
    sums, verdict = _Sums(claim.limits(case) or (0.0, 1.0)), "undecided"
    for look in range(LOOKS):
        _observe(claim, case, generator, FIRST * 2**look, sums)
        verdict = _decided(sums, value, margin, claim.relation)
        if verdict != "undecided":
            break
    kind = "exact binomial test" if sums.boolean else "empirical Bernstein test"
    sides = "two-sided" if claim.relation == "equal" else "one-sided"
    words = {"equal": "equals", "at most": "is at most", "at least": "is at least"}[claim.relation]
    return Decision(
        verdict=verdict,
        null=f"the mean of the observations {words} {value:.6g}",
        test=f"{kind}, {sides}, sequential: looks at {FIRST}, {2 * FIRST}, ... {LAST} observations",
        error=ERROR,
        power=_power(sums, value, margin, claim.relation),
        observations=sums.number,
        mean=sums.mean,
    )


def _observe(claim: Claim, case: Mapping[str, Any], generator: np.random.Generator, total: int, sums: _Sums) -> None:
    sample = claim.implementation()
    while sums.number < total:
        size = min(total - sums.number, _CHUNK)
        values = np.asarray(sample(generator, size, **case))
        if values.shape != (size,) or values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise ClaimError(
                f"claim {claim.name!r}: its sample gave {values.dtype} of shape {values.shape} in the case "
                f"{text(case)}, expected {size} finite numbers"
            )
        if values.dtype != np.bool_ and claim.bounds is None:
            raise ClaimError(
                f"claim {claim.name!r}: its sample gave {values.dtype} without bounds; say by `bounds` between which "
                "numbers they lie, or give bools"
            )
        low, high = sums.limits
        outside = values[(values < low) | (values > high)]
        if outside.size:
            raise ClaimError(
                f"claim {claim.name!r}: its sample gave {float(outside[0])!r} in the case {text(case)}, outside its "
                f"bounds {sums.limits}; mend the sample, or the bounds"
            )
        sums.add(values)


def _decided(sums: _Sums, value: float, margin: float, relation: str) -> str:
    limit = SHARE / 2
    above = relation != "at least" and _above(sums, value) < limit
    below = relation != "at most" and _below(sums, value) < limit
    if above or below:
        return "refuted"
    not_above = relation == "at least" or _below(sums, value + margin) < limit
    not_below = relation == "at most" or _above(sums, value - margin) < limit
    return "holds" if not_above and not_below else "undecided"


# Probability, at most, of a mean so high, or higher, if the true one is at most `bound`.
def _above(sums: _Sums, bound: float) -> float:
    if not sums.boolean:
        return _tail(sums, sums.mean - bound) if bound >= sums.limits[0] else 0.0
    if bound < 0 or not sums.successes:
        return float(bound >= 0)
    return float(special.betainc(sums.successes, sums.failures + 1, min(bound, 1.0)))


# Probability, at most, of a mean so low, or lower, if the true one is at least `bound`.
def _below(sums: _Sums, bound: float) -> float:
    if not sums.boolean:
        return _tail(sums, bound - sums.mean) if bound <= sums.limits[1] else 0.0
    if bound > 1 or not sums.failures:
        return float(bound <= 1)
    return float(special.betainc(sums.failures, sums.successes + 1, min(1 - bound, 1.0)))


# The error probability e at which the width of the interval, s sqrt(l) + c l with l = log(2 / e), is `distance`.
def _tail(sums: _Sums, distance: float) -> float:
    if distance <= 0:
        return 1.0
    s, c = _widths(sums, sums.number)
    root = 2 * distance / (s + math.sqrt(s**2 + 4 * c * distance))
    return min(1.0, 2 * math.exp(-(root**2)))


def _widths(sums: _Sums, number: int) -> tuple[float, float]:
    low, high = sums.limits
    return math.sqrt(2 * sums.variance / number), 7 * (high - low) / (3 * (number - 1))


# Of the last look alone: that of all looks is at least this. Deviations to a mean that cannot be count for nothing.
def _power(sums: _Sums, value: float, margin: float, relation: str) -> float:
    if not sums.boolean:
        return _power_of_numbers(sums, value, margin, relation)
    found = []
    if relation != "at least" and value + margin <= 1:
        found.append(stats.binom.sf(stats.binom.isf(SHARE / 2, LAST, max(value, 0.0)), LAST, max(value + margin, 0.0)))
    if relation != "at most" and value - margin >= 0:
        lowest = stats.binom.ppf(SHARE / 2, LAST, min(value, 1.0)) - 1
        found.append(stats.binom.cdf(lowest, LAST, min(value - margin, 1.0)))
    return float(min(found, default=1.0))


# By Bernstein's inequality: how far the mean may fall behind the deviation and still be outside the interval.
def _power_of_numbers(sums: _Sums, value: float, margin: float, relation: str) -> float:
    low, high = sums.limits
    if (relation == "at least" or value + margin > high) and (relation == "at most" or value - margin < low):
        return 1.0
    s, c = _widths(sums, LAST)
    length = math.log(4 / SHARE)
    spare = margin - s * math.sqrt(length) - c * length
    if spare <= 0:
        return 0.0
    return -math.expm1(-LAST * spare**2 / (2 * sums.variance + 2 * (high - low) * spare / 3))
