"""The verifier can fail: each claim that holds is refuted once a sign, a constant, an index or a relation is off.

The table `MUTANTS` of a module beside this one gives the name of a claim a list of what is changed. A change is a dict:
a field of the claim's entry to what it becomes (`{"value": 0.02}`), or a function that predicates call to what it is
exchanged for (`{"reluscope_catalog.claims.johansson:affine": other}`). A function alone is a predicate.
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


def tables() -> dict[str, dict[str, list[Any]]]:
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


def changes(mutant: Any) -> dict[str, Any]:
    return mutant if isinstance(mutant, dict) else {"predicate": mutant}


def words(mutant: Any) -> str:
    found = []
    for key, new in changes(mutant).items():
        name = getattr(new, "__name__", str(new))
        part = key.rpartition(":")[2]
        told = "" if "<" in name else name
        found.append(told if key == "predicate" and told else f"{part}={told}" if told else part)
    return " ".join(found)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        pytest.param(name, mutant, id=f"{name}-{words(mutant)}", marks=[] if module in AT_ONCE else [pytest.mark.slow])
        for module, table in TABLES.items()
        for name, mutants in table.items()
        for mutant in mutants
    ],
)
def test_a_mutant_is_refuted(name: str, mutant: Any, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = changes(mutant)
    for part in [key for key in fields if ":" in key]:
        module, _, function = part.partition(":")
        monkeypatch.setattr(importlib.import_module(module), function, fields[part])
    claim = dataclasses.replace(lab.claims[name], **{key: new for key, new in fields.items() if ":" not in key})
    verdict = judge(claim, examples=200)
    assert not verdict.problem
    assert verdict.verdict == "refuted"


def test_each_claim_that_holds_has_a_mutant_and_no_other(lab: Lab) -> None:
    claims = [claim for name, claim in lab.claims.items() if lab.origin("claims", name).name == "catalog"]
    assert {claim.name for claim in claims if claim.verdict == "holds"} == {
        name for table in TABLES.values() for name in table
    }
