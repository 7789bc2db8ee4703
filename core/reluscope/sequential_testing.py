"""Sequential tests of a mean: Student's t, or the exact binomial test where an observation is 0 or 1."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special, stats

from reluscope.counterexample_search import draw_seed, text
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
        power: Probability that a deviation by `effect` is found by the last look, at the spread observed.
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
    """Number, mean and squared deviations of what was observed so far."""

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
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.squares / (self.number - 1) / self.number)

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
    probability, half of it on either side. Student's t is exact for normal observations and asymptotic for others, the
    binomial test is exact.

    Args:
        claim: A statistical claim.
        case: One of its cases.
        seed: Of the observations; with the claim and the case it decides them.

    Returns:
        The verdict and what it rests on.

    Raises:
        ClaimError: If what was drawn is not as many finite numbers as were asked for, or the value is not finite.

    References:
        Student 1908, The probable error of a mean; Clopper and Pearson 1934, Biometrika 26.
    """
    value = claim.expected(case)
    if not math.isfinite(value):
        raise ClaimError(f"claim {claim.name!r}: its value is {value} in the case {text(case)}; expected a number")
    margin = claim.effect * (abs(value) or 1.0)
    generator = np.random.default_rng(draw_seed(seed, claim.name, "observations", text(case)))
    sums, verdict = _Sums(), "undecided"
    for look in range(LOOKS):
        _observe(claim, case, generator, FIRST * 2**look, sums)
        verdict = _decided(sums, value, margin, claim.relation)
        if verdict != "undecided":
            break
    kind = "exact binomial test" if sums.boolean else "Student's t-test"
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


# Probability of a mean so high, or higher, if the true one is at most `bound`.
def _above(sums: _Sums, bound: float) -> float:
    if not sums.boolean:
        return float(special.stdtr(sums.number - 1, (bound - sums.mean) / sums.error)) if sums.error else 1.0
    if bound < 0 or not sums.successes:
        return float(bound >= 0)
    return float(special.betainc(sums.successes, sums.failures + 1, min(bound, 1.0)))


# Probability of a mean so low, or lower, if the true one is at least `bound`.
def _below(sums: _Sums, bound: float) -> float:
    if not sums.boolean:
        return float(special.stdtr(sums.number - 1, (sums.mean - bound) / sums.error)) if sums.error else 1.0
    if bound > 1 or not sums.failures:
        return float(bound <= 1)
    return float(special.betainc(sums.failures, sums.successes + 1, min(1 - bound, 1.0)))


# Of the last look alone: that of all looks is at least this. Deviations to a mean that cannot be count for nothing.
def _power(sums: _Sums, value: float, margin: float, relation: str) -> float:
    if not sums.boolean:
        error = math.sqrt(sums.squares / (sums.number - 1) / LAST)
        return float(stats.norm.sf(stats.t.isf(SHARE / 2, LAST - 1) - margin / error)) if error else math.nan
    found = []
    if relation != "at least" and value + margin <= 1:
        found.append(stats.binom.sf(stats.binom.isf(SHARE / 2, LAST, max(value, 0.0)), LAST, max(value + margin, 0.0)))
    if relation != "at most" and value - margin >= 0:
        lowest = stats.binom.ppf(SHARE / 2, LAST, min(value, 1.0)) - 1
        found.append(stats.binom.cdf(lowest, LAST, min(value - margin, 1.0)))
    return float(min(found, default=1.0))
