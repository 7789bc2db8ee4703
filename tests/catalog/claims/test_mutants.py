"""The verifier can fail: each claim that holds is refuted once a sign, a constant, an index or a relation is off.

The table `MUTANTS` of a module beside this one gives the name of a claim a list of what is changed. A mutant is a dict:
what predicates call to what it is exchanged for (`{"reluscope_catalog.claims.johansson:affine": other}`), or a field of
the claim's entry to what it becomes (`{"value": 0.02}`). Another predicate would say nothing of the claim's own: each
claim has a mutant that keeps predicate, sample and value, and exchanges what they call.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from reluscope.lab import Lab
from reluscope.verification import judge

AT_ONCE = {"test_hartmann_number_systems"}
"""Modules whose mutants are quick, and run with every test."""


Mutant = dict[str, Any]


def tables() -> dict[str, dict[str, list[Mutant]]]:
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        if path != Path(__file__):
            spec = importlib.util.spec_from_file_location(f"mutants_of_{path.stem}", path)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            found[path.stem] = getattr(module, "MUTANTS", {})
    return found


TABLES = tables()


def words(mutant: Mutant) -> str:
    return " ".join(f"{key.rpartition(':')[2]}={getattr(new, '__name__', new)}" for key, new in mutant.items())


def exchange(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Exchange what predicates call, and return what is changed in the entry."""
    for key, new in mutant.items():
        module, _, name = key.partition(":")
        if name:
            monkeypatch.setattr(importlib.import_module(module), name, new)
    return {key: new for key, new in mutant.items() if ":" not in key}


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        pytest.param(name, mutant, id=f"{name}-{words(mutant)}", marks=[] if module in AT_ONCE else [pytest.mark.slow])
        for module, table in TABLES.items()
        for name, mutants in table.items()
        for mutant in mutants
    ],
)
def test_a_mutant_is_refuted(name: str, mutant: Mutant, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = dataclasses.replace(lab.claims[name], **exchange(mutant, monkeypatch))
    verdict = judge(claim, examples=200)
    assert not verdict.problem
    assert verdict.verdict == "refuted"
    monkeypatch.undo()
    if "strategy" not in mutant:  # what speaks against the mutant does not speak against the claim
        assert judge(lab.claims[name], case=verdict.counterexample).verdict == "holds"


def test_each_claim_that_holds_has_a_mutant_and_no_other(lab: Lab) -> None:
    claims = [claim for name, claim in lab.claims.items() if lab.origin("claims", name).name == "catalog"]
    assert {claim.name for claim in claims if claim.verdict == "holds"} == {
        name for table in TABLES.values() for name in table
    }


@pytest.mark.parametrize("name", [name for table in TABLES.values() for name in table])
def test_a_mutant_of_each_claim_runs_what_the_claim_itself_computes(name: str, lab: Lab) -> None:
    """Its predicate, sample and value stay, and what they call is changed: true by themselves, they would stay true."""
    formulas = {"predicate", "sample", "value"}
    whole = {getattr(claim, field) for claim in lab.claims.values() for field in formulas}
    mutants = next(table[name] for table in TABLES.values() if name in table)
    assert any(not (formulas | whole) & set(mutant) for mutant in mutants)
