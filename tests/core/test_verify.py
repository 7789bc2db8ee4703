"""The verifier finds what is false, however rare, says so with the smallest case, and hides no failure."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

import reluscope as rs
from reluscope import verification
from reluscope.counterexample_search import search
from reluscope.entries import Claim
from reluscope.errors import ClaimError, PluginError, UnknownNameError
from reluscope.verdicts import Verdict

NUMBERS = st.fixed_dictionaries({"n": st.integers(0, 10**6)})


def claim(predicate: Callable[..., Any], strategy: Any = NUMBERS, **fields: Any) -> Claim:
    words = {"name": "a_claim", "summary": "A claim", "statement": "-", "source": "-", "assumption": "-"}
    return Claim(**(words | {"strategy": lambda: strategy, "predicate": predicate} | fields))


def judged(predicate: Callable[..., Any], strategy: Any = NUMBERS, *, examples: int = 200, seed: int = 0) -> Verdict:
    return verification.judge(claim(predicate, strategy), examples=examples, seed=seed)


def plugin(*claims: Claim) -> types.ModuleType:
    module = types.ModuleType("claims_of_a_test")
    module.reluscope_claims = rs.hookimpl(lambda: list(claims))  # type: ignore[attr-defined]
    module.reluscope_claims.__name__ = "reluscope_claims"
    return module


def lab(*claims: Claim) -> rs.Lab:
    return rs.Lab(plugins=[plugin(*claims)])


def test_a_true_claim_holds_in_all_cases() -> None:
    verdict = judged(lambda n: (n + 1) ** 2 == n**2 + 2 * n + 1)
    assert (verdict.verdict, verdict.cases, verdict.counterexample) == ("holds", 200, None)
    assert verdict.as_recorded


@pytest.mark.parametrize("least", [17, 4321, 999_000])
def test_a_false_claim_is_refuted_by_the_smallest_case(least: int) -> None:
    verdict = judged(lambda n: n < least, examples=10_000)
    assert (verdict.verdict, verdict.counterexample) == ("refuted", {"n": least})
    assert not verdict.as_recorded


def test_a_rare_case_is_found_with_more_examples() -> None:
    """One residue of 997 is against the claim: 10 cases miss it, 10,000 find it."""

    def predicate(n: int) -> bool:
        return n % 997 != 5

    assert judged(predicate, examples=10).verdict == "holds"
    verdict = judged(predicate, examples=10_000)
    assert verdict.verdict == "refuted"
    assert verdict.counterexample is not None
    assert verdict.counterexample["n"] % 997 == 5


def test_the_count_stops_at_the_first_case_against_it() -> None:
    tried = []

    def predicate(n: int) -> bool:
        tried.append(n)
        return n < 1000

    verdict = judged(predicate)
    first = next(place for place, n in enumerate(tried) if n >= 1000)
    assert verdict.cases == first + 1


def test_equal_cases_are_tried_once() -> None:
    tried = []

    def predicate(n: int) -> bool:
        tried.append(n)
        return True

    verdict = judged(predicate, st.integers(0, 10**6).map(lambda n: {"n": n % 3}))
    assert (verdict.verdict, verdict.cases, sorted(tried)) == ("holds", 3, [0, 1, 2])


def test_a_seed_gives_the_same_again_and_another_seed_other_cases() -> None:
    def tried(seed: int) -> list[int]:
        found: list[int] = []
        judged(lambda n: bool([found.append(n)]), examples=50, seed=seed)  # type: ignore[func-returns-value]
        return found

    assert tried(3) == tried(3)
    assert tried(3) != tried(4)


def test_a_predicate_that_raises_is_an_error_that_names_claim_and_case() -> None:
    def raising(n: int) -> bool:
        if n > 250_000:
            raise ArithmeticError("too large")
        return True

    verdict = judged(raising)
    assert (verdict.verdict, verdict.counterexample) == ("error", None)
    assert not verdict.as_recorded
    assert "'a_claim': ArithmeticError: too large" in verdict.problem
    assert '{"n": 250001}' in verdict.problem  # the smallest


def test_raising_is_no_counterexample_where_others_are_false() -> None:
    def predicate(n: int) -> bool:
        if n > 500_000:
            raise ArithmeticError("too large")
        return n < 250_000

    assert judged(predicate).verdict == "error"


@pytest.mark.parametrize("answer", [None, 1, "yes"])
def test_an_answer_that_is_no_bool_is_an_error(answer: object) -> None:
    verdict = judged(lambda n: answer)
    assert verdict.verdict == "error"
    assert "expected True or False" in verdict.problem


def test_an_answer_that_changes_is_an_error() -> None:
    asked = []

    def predicate(n: int) -> bool:
        asked.append(n)
        return asked.count(n) > 1

    verdict = judged(predicate)
    assert verdict.verdict == "error"
    assert "depends on the case alone" in verdict.problem


@pytest.mark.parametrize(
    "strategy",
    [
        st.just({"n": (1, 2)}),
        st.just({"n": float("nan")}),
        st.just({"n": 1j}),
        st.just({"n": {1: 2}}),
        st.just([1]),
        st.just({"n": b"1"}),
        st.fractions().map(lambda n: {"n": n}),
    ],
    ids=["tuple", "nan", "complex", "key", "list", "bytes", "fraction"],
)
def test_a_case_that_is_not_json_is_an_error(strategy: Any) -> None:
    verdict = judged(lambda n: True, strategy)
    assert verdict.verdict == "error"
    assert "'a_claim': its strategy gave" in verdict.problem
    assert "plain JSON" in verdict.problem


@pytest.mark.parametrize("kept", [10**9, 1000, 50], ids=["nothing", "a thousandth", "a fiftieth"])
def test_a_strategy_that_filters_too_much_is_an_error(kept: int) -> None:
    strategy = st.integers(1, 10**6).filter(lambda n: n % kept == 0).map(lambda n: {"n": n})
    verdict = judged(lambda n: True, strategy)
    assert verdict.verdict == "error"
    assert "'a_claim': its strategy" in verdict.problem


def test_a_strategy_may_filter_a_little() -> None:
    verdict = judged(lambda n: n % 2 == 0, NUMBERS.filter(lambda case: case["n"] % 2 == 0))
    assert verdict.verdict == "holds"
    assert 100 <= verdict.cases <= 200  # it may draw some again


def test_a_strategy_that_raises_is_an_error() -> None:
    def broken(n: int) -> dict[str, int]:
        raise LookupError("no such table")

    verdict = judged(lambda n: True, st.integers().map(broken))
    assert verdict.verdict == "error"
    assert "LookupError: no such table" in verdict.problem


def test_what_is_no_strategy_is_an_error() -> None:
    assert judged(lambda n: True, 7).verdict == "error"


def test_an_error_stops_no_other_claim() -> None:
    def broken(n: int) -> bool:
        raise ArithmeticError

    verdicts = rs.verify(lab=lab(claim(broken, name="broken"), claim(lambda n: True, name="sound")), examples=20)
    assert dict(zip(verdicts.claim.values.tolist(), verdicts.verdict.values.tolist(), strict=True)) == {
        "broken": "error",
        "sound": "holds",
    }
    assert "ArithmeticError" in str(verdicts.problem.sel(claim="broken").item())


def test_claims_are_named_once_and_in_order() -> None:
    claims = lab(claim(lambda n: True, name="first"), claim(lambda n: True, name="second"))
    verdicts = rs.verify(["second", "first", "second"], lab=claims, examples=5)
    assert verdicts.claim.values.tolist() == ["second", "first"]


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown claim 'frist'\. Did you mean 'first'"):
        rs.verify(["frist"], lab=lab(claim(lambda n: True, name="first")))
    with pytest.raises(UnknownNameError, match="no claims"):
        rs.verify(lab=lab())


def test_what_amends_an_unknown_claim_is_refused() -> None:
    amending = claim(lambda n: True, name="amended", amends="frist")
    with pytest.raises(PluginError, match=r"'amended' amends 'frist', which is unknown\. Did you mean 'first'"):
        rs.verify(["amended"], lab=lab(amending, claim(lambda n: True, name="first")))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"verdict": "true"}, "unknown verdict 'true'"),
        ({"relation": "less"}, "unknown relation 'less'"),
        ({"predicate": None}, "either a predicate or a sample"),
        ({"sample": lambda generator, size: None, "value": 1.0}, "either a predicate or a sample"),
        ({"predicate": None, "sample": lambda generator, size: None}, "go together"),
        ({"value": 1.0}, "go together"),
        ({"effect": 0.0}, "effect is 0.0"),
    ],
)
def test_a_claim_that_is_declared_wrongly_is_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(PluginError, match=words):
        claim(**({"predicate": lambda n: True} | fields))


def test_the_archive_holds_the_verdicts(tmp_path: Path) -> None:
    square = "<svg xmlns='http://www.w3.org/2000/svg'/>"
    claims = lab(
        claim(lambda n: n < 7, name="wrong", verdict="refuted", picture=lambda n: square),
        claim(lambda n: True, name="right", amends="wrong"),
    )
    verdicts = rs.verify(lab=claims, out=tmp_path / "claims.nc", examples=50)
    tree = rs.open_archive(tmp_path / "claims.nc", verify=True)
    found = tree["claims"].to_dataset().sel(claim=verdicts.claim)
    assert found.equals(verdicts)
    wrong = found.sel(claim="wrong")
    assert (wrong.verdict, wrong.counterexample, wrong.picture) == ("refuted", '{"n": 7}', square)
    assert found.amends.sel(claim="right") == "wrong"
    provenance = json.loads(tree.attrs["provenance"])
    assert provenance["seeds"] == [0]
    assert provenance["versions"]["hypothesis"]


def test_a_picture_that_fails_leaves_the_verdict() -> None:
    def broken(n: int) -> str:
        raise ArithmeticError("no pen")

    verdict = verification.judge(claim(lambda n: n < 7, verdict="refuted", picture=broken))
    assert verdict.verdict == "refuted"
    assert "no pen" in verdict.problem


def test_one_case_is_replayed() -> None:
    wrong = claim(lambda n: n < 7)
    against, without = (verification.judge(wrong, case={"n": n}) for n in (7, 6))
    assert (against.verdict, against.cases, against.counterexample) == ("refuted", 1, {"n": 7})
    assert (without.verdict, without.counterexample) == ("holds", None)


def test_search_hides_no_health_check() -> None:
    with pytest.raises(ClaimError, match="'huge'"):
        search("huge", st.lists(st.integers(), min_size=20_000), lambda case: True, examples=50, seed=0)


def test_no_verdict_beyond_the_cases_that_share_the_error_probability(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reluscope.sequential_testing.MOST_CASES", 5)
    fields: dict[str, Any] = {"predicate": None, "relation": "at most", "value": 0.5, "sample": seldom}
    assert verification.judge(claim(**fields), examples=100).verdict == "holds"  # five cases
    verdict = verification.judge(claim(**fields), examples=120)
    assert verdict.verdict == "error"
    assert "more than 5 different cases" in verdict.problem


def seldom(generator: Any, size: int, n: int) -> Any:
    return generator.random(size) < 0.1


def test_cases_with_their_keys_in_another_order_count_once() -> None:
    """Hypothesis draws the keys of a dict in any order; here are 4 cases."""
    few = st.fixed_dictionaries({"n": st.integers(0, 1), "m": st.integers(0, 1)})
    assert judged(lambda n, m: True, few).cases == 4
