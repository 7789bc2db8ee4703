"""The table of claims says what the entries and the tables of mutants say, and its counterexamples speak against."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from reluscope.verification import judge

SCRIPT = Path(__file__).parents[2] / "docs" / "claims_table.py"
ROW = re.compile(r"^\| `(\w+)` \|.*\| refuted \| `(\{.*\})` \|", re.MULTILINE)


def script() -> Any:
    spec = importlib.util.spec_from_file_location("claims_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = script()
PAGE = TABLE.PAGE.read_text(encoding="utf-8")
CASES = {name: json.loads(case) for name, case in ROW.findall(PAGE)}
CLAIMS = {claim.name: claim for claim in TABLE.own_claims()}


def test_the_page_is_what_the_entries_and_mutants_say() -> None:
    assert TABLE.page(CLAIMS.values(), CASES, TABLE.mutants()) == PAGE, (
        "write it again: reluscope verify --json > verdicts.jsonl; python docs/claims_table.py verdicts.jsonl"
    )


def test_every_claim_that_is_refuted_has_a_counterexample() -> None:
    assert set(CASES) == {name for name, claim in CLAIMS.items() if claim.verdict == "refuted"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in CLAIMS and CLAIMS[name].statistical else [])
        for name in CASES
    ],
)
def test_a_counterexample_of_the_page_speaks_against_its_claim(name: str) -> None:
    assert judge(CLAIMS[name], case=CASES[name]).verdict == "refuted"


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_counterexample_of_the_page_is_what_the_search_finds(name: str) -> None:
    assert judge(CLAIMS[name]).counterexample == CASES[name]
