"""The command `verify`: what it prints, its exit codes, and counterexamples that replay in a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from reluscope import cli, hookimpl
from reluscope.entries import Claim
from reluscope.lab import Lab

KEYS = {"claim", "verdict", "kind", "cases", "counterexample", "source", "amends", "seconds"}


def outcome(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit_:
        cli.main(list(words))
    captured = capsys.readouterr()
    return int(exit_.value.code or 0), captured.out, captured.err


def fresh(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "", "COLUMNS": "200"}
    command = [sys.executable, "-m", "reluscope", "verify", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def claim(name: str, **fields: Any) -> Claim:
    words = {"summary": "A claim", "statement": f"{name} & <more>", "source": "A 2025", "assumption": "-"}
    cases = {"strategy": lambda: st.fixed_dictionaries({"n": st.integers(0, 1000)}), "predicate": lambda n: n < 7}
    return Claim(name=name, **(words | cases | fields))


def raising(n: int) -> bool:
    raise ArithmeticError("no such number")


def near_one(generator: np.random.Generator, size: int, n: int) -> Any:
    return generator.uniform(0.98, 1.02, size)


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab of claims of all sorts."""
    square = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
    mean = {"predicate": None, "sample": near_one, "value": 1.0, "bounds": (0.0, 2.0)}
    found = [
        claim("false_and_known", verdict="refuted", picture=lambda n: square),
        claim("true_and_known", predicate=lambda n: n >= 0, amends="false_and_known"),
        claim("mean_and_known", **mean),
        claim("false_and_new"),
        claim("broken", predicate=raising),
        claim("astray", predicate=lambda n: True, amends="false_and_knwon"),
    ]
    module = types.ModuleType("claims_of_a_test")

    def reluscope_claims() -> list[Claim]:
        return found

    module.reluscope_claims = hookimpl(reluscope_claims)  # type: ignore[attr-defined]
    monkeypatch.setattr(cli.Session, "lab", property(lambda session: Lab(plugins=[module])))


KNOWN = ("false_and_known", "true_and_known", "mean_and_known")


@pytest.mark.usefixtures("claims")
class TestCommand:
    def test_json_is_one_object_a_claim(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "verify", *KNOWN, "--json")
        assert (code, err) == (0, "")
        rows = {row["claim"]: row for row in map(json.loads, out.splitlines())}
        assert list(rows) == list(KNOWN)
        assert all(set(row) >= KEYS for row in rows.values())
        assert rows["false_and_known"]["counterexample"] == {"n": 7}
        assert rows["true_and_known"]["counterexample"] is None
        assert rows["true_and_known"]["amends"] == "false_and_known"
        assert [row["verdict"] for row in rows.values()] == ["refuted", "holds", "holds"]
        assert [row["kind"] for row in rows.values()] == ["exact", "exact", "statistical"]
        assert rows["mean_and_known"]["null"]
        assert rows["mean_and_known"]["power"] > 0.999
        assert rows["true_and_known"]["cases"] == 200
        assert rows["true_and_known"]["source"] == "A 2025"

    def test_a_table_for_people(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, _ = outcome(capsys, "verify", "false_and_known")
        assert code == 0
        assert {"false_and_known", "refuted", '{"n":', "7}"} <= set(out.split())

    def test_the_same_seed_prints_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        def rows(*words: str) -> list[dict[str, Any]]:
            _, out, _ = outcome(capsys, "verify", *words, "--json", "--seed", "5")
            return [json.loads(line) | {"seconds": 0} for line in out.splitlines()]

        together = rows(*KNOWN)
        assert together == rows(*KNOWN)
        assert together == [row for name in KNOWN for row in rows(name)]

    def test_a_verdict_that_is_not_as_recorded(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "verify", "false_and_new", "true_and_known", "--json")
        assert code == 1
        assert len(out.splitlines()) == 2
        assert "1 of 2 verdicts are not as recorded: false_and_new is refuted, recorded as holds" in err

    def test_a_predicate_that_raises(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "verify", "broken", "true_and_known", "--json")
        assert code == 1
        assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["error", "holds"]
        assert "claim 'broken': ArithmeticError: no such number in the case {\"n\": 0}" in err

    def test_the_number_of_examples(self, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = outcome(capsys, "verify", "true_and_known", "--json", "--examples", "31")
        assert json.loads(out)["cases"] == 31

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["false_and_knwon"], "unknown claim 'false_and_knwon'. Did you mean 'false_and_known'?"),
            (["broken", "--examples", "0"], "--examples"),
            (["broken", "--seed", "-1"], "--seed"),
            (["--replay", "{}"], "got 0 claims"),
            (["broken", "astray", "--replay", "{}"], "got 2 claims"),
            (["broken", "--replay", '{"n": 1, "m": 2}'], "unknown parameter 'm'"),
            (["broken", "--replay", '{"n": 1}', "--examples", "3"], "leave out --examples"),
            (["broken", "--out", "."], "is a folder"),
        ],
    )
    def test_words_that_are_off(self, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = outcome(capsys, "verify", *words)
        assert (code, out) == (2, "")
        assert said in err
        assert err.count("\n") == 1

    def test_a_claim_that_amends_an_unknown_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, _, err = outcome(capsys, "verify", "astray")
        assert code == 1
        assert "'astray' amends 'false_and_knwon', which is unknown. Did you mean 'false_and_known'?" in err

    @pytest.mark.parametrize(
        ("name", "case", "verdict", "code"),
        [
            ("false_and_known", '{"n": 7}', "refuted", 0),
            ("false_and_known", '{"n": 6}', "holds", 0),
            ("false_and_new", '{"n": 7}', "refuted", 1),
            ("mean_and_known", '{"n": 7}', "holds", 0),
            ("broken", '{"n": 7}', "error", 2),
        ],
    )
    def test_replay(self, name: str, case: str, verdict: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        found, out, _ = outcome(capsys, "verify", name, "--replay", case, "--json")
        row = json.loads(out)
        assert (found, row["verdict"], row["cases"]) == (code, verdict, verdict != "error")


def test_progress_is_told_and_ended_also_after_an_error() -> None:
    from reluscope import verification

    told: list[str] = []
    progress = types.SimpleNamespace(
        start=lambda description, total: told.append(f"start {total}"),
        advance=lambda n=1.0: told.append("advance"),
        message=told.append,
        finish=lambda: told.append("finish"),
    )
    claims = [claim("broken", predicate=raising), claim("known", verdict="refuted")]
    list(verification.verdicts(claims, examples=5, progress=progress))
    assert told == ["start 2", "broken", "advance", "known", "advance", "finish"]


def test_a_counterexample_replays_in_a_fresh_process() -> None:
    first = fresh("psb_relative_maximum", "--json")
    assert first.returncode == 0, first.stderr
    case = json.loads(first.stdout)["counterexample"]
    again = fresh("psb_relative_maximum", "--replay", json.dumps(case), "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["verdict"] == "refuted"
