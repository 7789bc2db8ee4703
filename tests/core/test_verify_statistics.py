"""Statistical claims: what is true is not refuted, what is off by 1 % is, and neither is said where it is not known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import stats

from reluscope import sequential_testing, verification
from reluscope.entries import Claim
from reluscope.errors import ClaimError
from reluscope.sequential_testing import FIRST, LAST, LOOKS, SHARE, examine

SEEDS = 1000


def claim(sample: Any, value: Any, relation: str = "equal", **fields: Any) -> Claim:
    words = {"name": "a_mean", "summary": "A mean", "statement": "-", "source": "-", "assumption": "-"}
    cases = {"strategy": lambda: st.just({}), "sample": sample, "value": value, "relation": relation}
    return Claim(**(words | cases | fields))


def bernoulli(p: float) -> Any:
    return lambda generator, size: generator.random(size) < p


def normal(mean: float, deviation: float = 0.1) -> Any:
    return lambda generator, size: generator.normal(mean, deviation, size)


def verdicts(tested: Claim, seeds: int = SEEDS) -> dict[str, int]:
    found = [examine(tested, {}, seed=seed).verdict for seed in range(seeds)]
    return {verdict: found.count(verdict) for verdict in set(found)}


# Null of these tests: a case errs with probability 1e-9 at most, so one of 1,000 seeds does with 1e-6.
@pytest.mark.parametrize(("sample", "value"), [(bernoulli(0.96), 0.96), (normal(2.0), 2.0)], ids=["0-1", "normal"])
def test_a_true_claim_holds_in_1000_seeds(sample: Any, value: float) -> None:
    assert verdicts(claim(sample, value)) == {"holds": SEEDS}


@pytest.mark.parametrize(
    ("sample", "value"), [(bernoulli(0.96 * 1.01), 0.96), (normal(2.0 * 0.99), 2.0)], ids=["0-1", "normal"]
)
def test_a_claim_that_is_off_by_one_percent_is_refuted_in_1000_seeds(sample: Any, value: float) -> None:
    assert verdicts(claim(sample, value)) == {"refuted": SEEDS}


@pytest.mark.parametrize(
    ("relation", "mean", "verdict"),
    [
        ("at most", 1.0, "holds"),
        ("at most", 0.9, "holds"),
        ("at most", 1.01, "refuted"),
        ("at least", 1.0, "holds"),
        ("at least", 1.1, "holds"),
        ("at least", 0.99, "refuted"),
    ],
)
@pytest.mark.parametrize("kind", ["0-1", "normal"])
def test_one_sided_claims(relation: str, mean: float, verdict: str, kind: str) -> None:
    sample = bernoulli(0.85 * mean) if kind == "0-1" else normal(0.85 * mean)
    assert verdicts(claim(sample, 0.85, relation), seeds=20) == {verdict: 20}


def test_what_cannot_be_told_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """With 26 standard errors a percent at most, 1,024 observations of a spread of 10 tell nothing."""
    monkeypatch.setattr(sequential_testing, "LOOKS", 1)
    assert verdicts(claim(normal(1.0, 10.0), 1.0), seeds=20) == {"undecided": 20}


def test_equal_observations_tell_nothing_of_their_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_testing, "LOOKS", 3)
    assert examine(claim(lambda generator, size: np.ones(size), 2.0), {}, seed=0).verdict == "undecided"


def test_a_value_of_zero_takes_the_effect_as_it_is() -> None:
    assert examine(claim(normal(0.0), 0.0), {}, seed=0).verdict == "holds"
    assert examine(claim(normal(0.01), 0.0), {}, seed=0).verdict == "refuted"


def test_the_shares_of_the_error_probability_add_up() -> None:
    assert FIRST * 2 ** (LOOKS - 1) == LAST
    assert math.isclose(SHARE * LOOKS * sequential_testing.MOST_CASES, 1e-6)


@pytest.mark.parametrize("successes", [0, 1, 40, 99, 100])
@pytest.mark.parametrize("bound", [-0.1, 0.0, 0.3, 0.5, 1.0, 1.2])
def test_binomial_tails(successes: int, bound: float) -> None:
    """Against sums of the binomial law; a bound outside [0, 1] is passed by every mean, or by none."""
    sums = sequential_testing._Sums()
    sums.add(np.arange(100) < successes)
    law = stats.binom(100, min(max(bound, 0.0), 1.0)).pmf(np.arange(101))
    above = 0.0 if bound < 0 else law[successes:].sum()
    below = 0.0 if bound > 1 else law[: successes + 1].sum()
    assert sequential_testing._above(sums, bound) == pytest.approx(above, rel=1e-9, abs=1e-300)
    assert sequential_testing._below(sums, bound) == pytest.approx(below, rel=1e-9, abs=1e-300)


def test_student_tails_and_sums_in_parts() -> None:
    values = np.random.default_rng(0).exponential(3.0, 5000)
    sums = sequential_testing._Sums()
    for part in np.split(values, [1, 7, 2000]):
        sums.add(part)
    assert sums.mean == pytest.approx(values.mean(), rel=1e-12)
    assert sums.error == pytest.approx(stats.sem(values), rel=1e-12)
    for bound in (2.8, 3.0, 3.3):
        for alternative, tail in (("greater", sequential_testing._above), ("less", sequential_testing._below)):
            expected = stats.ttest_1samp(values, bound, alternative=alternative).pvalue
            assert tail(sums, bound) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("relation", ["equal", "at most", "at least"])
def test_power_is_the_share_of_seeds_that_find_the_effect(relation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single look at 4,096 observations; 200 seeds err by 5.2 standard errors with probability 1e-6 or so."""
    monkeypatch.setattr(sequential_testing, "LOOKS", 1)
    monkeypatch.setattr(sequential_testing, "FIRST", 4096)
    monkeypatch.setattr(sequential_testing, "LAST", 4096)
    shift = -0.03 if relation == "at least" else 0.03
    tested = claim(bernoulli(0.9 * (1 + shift)), 0.9, relation, effect=0.03)
    found = [examine(tested, {}, seed=seed) for seed in range(200)]
    share = sum(one.verdict == "refuted" for one in found) / 200
    power = found[0].power
    assert 0.05 < power < 0.95
    if relation == "equal":  # the less likely of the two sides
        assert share >= power - 5.2 * 0.5 / 200**0.5
    else:
        assert abs(share - power) <= 5.2 * 0.5 / 200**0.5


@pytest.mark.parametrize(
    "sample",
    [
        lambda generator, size: np.zeros(size + 1),
        lambda generator, size: np.full(size, np.nan),
        lambda generator, size: np.zeros((size, 1)),
        lambda generator, size: np.full(size, "1"),
    ],
)
def test_what_is_no_sample_is_an_error(sample: Any) -> None:
    with pytest.raises(ClaimError, match="'a_mean': its sample gave"):
        examine(claim(sample, 1.0), {}, seed=0)


def test_a_value_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ClaimError, match="its value is nan"):
        examine(claim(normal(1.0), lambda: math.nan), {}, seed=0)


FAMILY = st.fixed_dictionaries({"n": st.integers(1, 5)})


def of_family(generator: np.random.Generator, size: int, n: int) -> Any:
    return generator.normal(n if n < 3 else 1.02 * n, 0.05, size)


def test_a_family_is_refuted_by_its_smallest_member_and_replays() -> None:
    wrong = claim(of_family, lambda n: n, strategy=lambda: FAMILY, verdict="refuted")
    verdict = verification.judge(wrong, examples=400)
    assert (verdict.verdict, verdict.counterexample) == ("refuted", {"n": 3})
    replayed = verification.judge(wrong, case={"n": 3})
    assert replayed.verdict == "refuted"
    assert replayed.tested == verdict.tested
    assert verification.judge(wrong, case={"n": 2}).verdict == "holds"


def test_the_record_states_null_test_error_and_power() -> None:
    record = verification.judge(claim(bernoulli(0.96), 0.96)).record()
    assert record["kind"] == "statistical"
    assert record["null"] == "the mean of the observations equals 0.96"
    assert record["test"].startswith("exact binomial test, two-sided, sequential")
    assert record["error_probability"] == 1e-6
    assert record["power"] > 0.999
    assert record["observations"] >= FIRST


def test_one_undecided_case_leaves_the_claim_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequential_testing, "LOOKS", 1)

    def sample(generator: np.random.Generator, size: int, n: int) -> Any:
        return generator.normal(1.0, 10.0 if n == 4 else 0.001, size)

    verdict = verification.judge(claim(sample, 1.0, strategy=lambda: FAMILY), examples=2000)
    assert verdict.verdict == "undecided"
    assert verdict.cases == 5
