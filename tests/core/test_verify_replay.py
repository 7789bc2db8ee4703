"""The replay of one case: what does not fit the claim is refused in a line that says what to do."""

from __future__ import annotations

import types
from typing import Any

import pytest
from hypothesis import strategies as st

from reluscope import cli, hookimpl
from reluscope.case_types import check_types, read_case
from reluscope.entries import Claim
from reluscope.errors import ClaimError, RecipeError
from reluscope.lab import Lab
from reluscope.verification import judge

CASES = st.fixed_dictionaries(
    {
        "n": st.integers(0, 9),
        "x": st.sampled_from([0.5, 1.5]),
        "p": st.sampled_from(["1/3", "1/2"]),
        "on": st.booleans(),
        "rows": st.lists(st.lists(st.integers(-2, 2)), max_size=3),
        "either": st.one_of(st.none(), st.integers(0, 3)),
    }
)
CASE = {"n": 3, "x": 0.5, "p": "1/2", "on": True, "rows": [[1], []], "either": None}


def within(n: int, **rest: Any) -> bool:
    if n > 9:
        raise ClaimError(f"n is {n}, which is not assumed; give one below 10")
    return n != 3


CLAIM = Claim(
    name="a_claim",
    summary="A claim",
    statement="-",
    source="-",
    assumption="n is below 10",
    strategy=lambda: CASES,
    predicate=within,
    verdict="refuted",
)


def outcome(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str) -> tuple[int, str]:
    module = types.ModuleType("claims_of_a_test")

    def reluscope_claims() -> list[Claim]:
        return [CLAIM]

    module.reluscope_claims = hookimpl(reluscope_claims)  # type: ignore[attr-defined]
    monkeypatch.setattr(cli.Session, "lab", property(lambda session: Lab(plugins=[module])))
    with pytest.raises(SystemExit) as exit_:
        cli.main(["verify", "a_claim", "--json", "--replay", words])
    return int(exit_.value.code or 0), capsys.readouterr().err


def words(**changed: str) -> str:
    fields = {"n": "3", "x": "0.5", "p": '"1/2"', "on": "true", "rows": "[[1], []]", "either": "null"} | changed
    return "{" + ", ".join(f'"{key}": {value}' for key, value in fields.items()) + "}"


def test_a_case_that_fits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(monkeypatch, capsys, words()) == (0, "")
    assert outcome(monkeypatch, capsys, words(x="2", either="1", rows="[]")) == (0, "")


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (words(n="NaN"), "NaN is no finite number"),
        (words(x="Infinity"), "Infinity is no finite number"),
        (words(rows="[[-Infinity]]"), "-Infinity is no finite number"),
        (words(x="1e999"), "1e999 is no finite number"),
        (
            words(extra="1"),
            "the case has 'either', 'extra', 'n', 'on', 'p', 'rows', 'x', expected 'either', 'n', 'on', ",
        ),
        ("{}", "parameter 'n' is missing; give it a value"),
        ('{"n": 3}', "the case has 'n', expected 'either', 'n', 'on', 'p', 'rows', 'x' as in the case"),
        (words(n="2.5"), 'n is 2.5, expected a whole number as in the case {"n": 0,'),
        (words(n='"3"'), 'n is "3", expected a whole number'),
        (words(n="true"), "n is true, expected a whole number"),
        (words(on="1"), "on is 1, expected true or false"),
        (words(x="null"), "x is null, expected a number"),
        (words(p="0.5"), "p is 0.5, expected text"),
        (words(rows="[1]"), "rows[] is 1, expected a list"),
        (words(rows="[[1], [0.5]]"), "rows[][] is 0.5, expected a whole number"),
        (words(rows='{"a": 1}'), "expected a list"),
        (words(either='"1"'), 'either is "1", expected a whole number or null'),
        (words(n="12"), "n is 12, which is not assumed; give one below 10"),
        ("[1]", "expected a JSON object"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_case_that_does_not_fit(
    case: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = outcome(monkeypatch, capsys, case)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_case_outside_the_assumption_refutes_nothing() -> None:
    verdict = judge(CLAIM, case=CASE | {"n": 12})
    assert (verdict.verdict, verdict.counterexample, verdict.problem[:9]) == ("error", None, "n is 12, ")


def test_every_case_of_a_strategy_fits() -> None:
    from reluscope.counterexample_search import search

    def fits(case: Any) -> bool:
        check_types("a_claim", CASES, case)
        return True

    found = search("other", CASES, fits, examples=50, seed=9)
    assert found.counterexample is None
    assert 40 <= found.cases <= 50  # different ones


def test_a_case_is_checked_from_python_too() -> None:
    with pytest.raises(RecipeError, match=r"n is 2\.5, expected a whole number"):
        judge(CLAIM, case=CASE | {"n": 2.5})


def test_numbers_are_read_as_they_are() -> None:
    assert read_case('{"n": 1, "x": 1.0}') == {"n": 1, "x": 1.0}
    assert type(read_case('{"n": 1}')["n"]) is int
