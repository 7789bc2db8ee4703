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
from reluscope.errors import ClaimError, PluginError
from reluscope.sequential_testing import FIRST, examine

SEEDS = 1000


def claim(sample: Any, value: Any, relation: str = "equal", **fields: Any) -> Claim:
    words = {"name": "a_mean", "summary": "A mean", "statement": "-", "source": "-", "assumption": "-"}
    cases = {"strategy": lambda: st.just({}), "sample": sample, "value": value, "relation": relation}
    return Claim(**(words | cases | fields))


def bernoulli(p: float) -> Any:
    return lambda generator, size: generator.random(size) < p


def uniform(mean: float, deviation: float = 0.1) -> Any:
    width = deviation * math.sqrt(3)
    return lambda generator, size: generator.uniform(mean - width, mean + width, size)


def rare(mean: float) -> Any:
    """Numbers in [0, 4], of which one in a hundred is large."""
    return lambda generator, size: np.where(generator.random(size) < 0.01, 4.0, (mean - 0.04) / 0.99)


def verdicts(tested: Claim, seeds: int = SEEDS) -> dict[str, int]:
    found = [examine(tested, {}, seed=seed).verdict for seed in range(seeds)]
    return {verdict: found.count(verdict) for verdict in set(found)}


# Null of these tests: a case errs with probability 1e-9 at most, so one of 1,000 seeds does with 1e-6.
@pytest.mark.parametrize(
    ("sample", "value"),
    [(bernoulli(0.96), 0.96), (uniform(2.0), 2.0), (rare(2.0), 2.0)],
    ids=["0-1", "uniform", "rare"],
)
def test_a_true_claim_holds_in_1000_seeds(sample: Any, value: float) -> None:
    assert verdicts(claim(sample, value, bounds=(0.0, 4.0))) == {"holds": SEEDS}


@pytest.mark.parametrize(
    ("sample", "value"),
    [(bernoulli(0.96 * 1.01), 0.96), (uniform(2.0 * 0.99), 2.0), (rare(2.0 * 1.01), 2.0)],
    ids=["0-1", "uniform", "rare"],
)
def test_a_claim_that_is_off_by_one_percent_is_refuted_in_1000_seeds(sample: Any, value: float) -> None:
    assert verdicts(claim(sample, value, bounds=(0.0, 4.0))) == {"refuted": SEEDS}


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
@pytest.mark.parametrize("kind", ["0-1", "uniform"])
def test_one_sided_claims(relation: str, mean: float, verdict: str, kind: str) -> None:
    sample = bernoulli(0.85 * mean) if kind == "0-1" else uniform(0.85 * mean)
    assert verdicts(claim(sample, 0.85, relation, bounds=(0.0, 2.0)), seeds=20) == {verdict: 20}


def test_what_cannot_be_told_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    """One percent is a thirtieth of a standard error of 1,024 observations of a spread of 10."""
    monkeypatch.setattr(sequential_testing, "LOOKS", 1)
    assert verdicts(claim(uniform(1.0, 10.0), 1.0, bounds=(-20, 20)), seeds=20) == {"undecided": 20}


def test_equal_observations_tell_by_their_number_alone() -> None:
    """All ones in [0, 2] reject a mean of 0.9 once 14 log(2 / e) / (3 (n - 1)) is below 0.1: at 2,048 observations."""
    found = examine(claim(lambda generator, size: np.ones(size), 0.9, bounds=(0, 2)), {}, seed=0)
    assert (found.verdict, found.observations) == ("refuted", 2048)


def test_a_value_of_zero_takes_the_effect_as_it_is() -> None:
    assert examine(claim(uniform(0.0), 0.0, bounds=(-1, 1)), {}, seed=0).verdict == "holds"
    assert examine(claim(uniform(0.01), 0.0, bounds=(-1, 1)), {}, seed=0).verdict == "refuted"


@pytest.mark.parametrize(
    ("value", "relation", "verdict"),
    [(1.2, "equal", "refuted"), (1.2, "at least", "refuted"), (-0.1, "at most", "refuted"), (1.2, "at most", "holds")],
)
def test_a_value_outside_the_bounds_needs_one_look(value: float, relation: str, verdict: str) -> None:
    found = examine(claim(uniform(0.5), value, relation, bounds=(0, 1)), {}, seed=0)
    assert (found.verdict, found.observations) == (verdict, FIRST)


def test_the_error_probability_is_kept_by_all_looks_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Null: 2 in a thousand are 1, the mean is 0.002; n = 300 seeds, each of which may err with probability 0.01.

    The test is failed by chance with probability 1e-6 at most. Student's t errs in 22 of the seeds, and fails it.
    """
    monkeypatch.setattr(sequential_testing, "LOOKS", 4)
    monkeypatch.setattr(sequential_testing, "SHARE", 0.01 / 4)

    def sample(generator: np.random.Generator, size: int) -> Any:
        return np.where(generator.random(size) < 0.002, 1.0, 0.0)

    found = verdicts(claim(sample, 0.002, effect=0.001, bounds=(0, 1)), seeds=300)
    assert found.get("refuted", 0) <= stats.binom.isf(1e-6, 300, 0.01)


def test_power_of_numbers_is_less_than_the_share_of_seeds_that_find_the_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a single look at 4,096 observations; 200 seeds err by 5.2 standard errors with probability 1e-6 or so."""
    for key in ("FIRST", "LAST"):
        monkeypatch.setattr(sequential_testing, key, 4096)
    monkeypatch.setattr(sequential_testing, "LOOKS", 1)
    powers = []
    for effect in (0.01, 0.05, 0.075, 0.1, 0.2):
        tested = claim(uniform(0.5 * (1 + effect), 0.2), 0.5, effect=effect, bounds=(0, 1))
        found = [examine(tested, {}, seed=seed) for seed in range(200)]
        share = sum(one.verdict == "refuted" for one in found) / 200
        powers.append(found[0].power)
        assert share >= powers[-1] - 5.2 * 0.5 / 200**0.5
    assert powers == sorted(powers)
    assert powers[0] == 0.0
    assert powers[-1] > 0.999


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
        lambda generator, size: generator.uniform(0, 2 + 1e-2, size),
        lambda generator, size: -generator.random(size),
    ],
)
def test_what_is_no_sample_is_an_error(sample: Any) -> None:
    with pytest.raises(ClaimError, match="'a_mean': its sample gave"):
        examine(claim(sample, 1.0, bounds=(0, 2)), {}, seed=0)


def test_numbers_need_bounds() -> None:
    with pytest.raises(ClaimError, match="its sample gave float64 without bounds; say by `bounds`"):
        examine(claim(uniform(1.0), 1.0), {}, seed=0)


@pytest.mark.parametrize("bounds", [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1.0), (1.0,), ("low", "high")])
def test_bounds_that_are_none_are_refused(bounds: Any) -> None:
    with pytest.raises(PluginError, match="expected two finite numbers, the lower first"):
        claim(uniform(1.0), 1.0, bounds=bounds)
    with pytest.raises(PluginError, match="expected two finite numbers, the lower first"):
        examine(claim(uniform(1.0), 1.0, bounds=lambda: bounds), {}, seed=0)


def test_bounds_of_a_case() -> None:
    def sample(generator: np.random.Generator, size: int, n: int) -> Any:
        return generator.uniform(0, n, size)

    tested = claim(sample, lambda n: n / 2, strategy=lambda: FAMILY, bounds=lambda n: (0, n))
    assert verification.judge(tested, examples=2000).verdict == "holds"
    narrow = claim(sample, lambda n: n / 2, strategy=lambda: FAMILY, bounds=lambda n: (0, min(n, 3)))
    found = verification.judge(narrow, examples=2000)
    assert found.verdict == "error"
    assert 'in the case {"n": 4}, outside its bounds (0.0, 3.0)' in found.problem


def test_a_value_that_is_not_finite_is_an_error() -> None:
    with pytest.raises(ClaimError, match="its value is nan"):
        examine(claim(uniform(1.0), lambda: math.nan, bounds=(0, 2)), {}, seed=0)


FAMILY = st.fixed_dictionaries({"n": st.integers(1, 5)})


def of_family(generator: np.random.Generator, size: int, n: int) -> Any:
    return (n if n < 3 else 1.02 * n) + generator.uniform(-0.1, 0.1, size)


def test_a_family_is_refuted_by_its_smallest_member_and_replays() -> None:
    wrong = claim(of_family, lambda n: n, strategy=lambda: FAMILY, verdict="refuted", bounds=(0, 6))
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
        return 1.0 + generator.uniform(-0.5, 0.5, size) * (1.0 if n == 4 else 0.0001)

    tested = claim(sample, 1.0, strategy=lambda: FAMILY, bounds=lambda n: (0, 2) if n == 4 else (0.9999, 1.0001))
    verdict = verification.judge(tested, examples=2000)
    assert verdict.verdict == "undecided"
    assert verdict.cases == 5
