"""Writes docs/claims_table.md from the entries, the mutants of the tests, and what `reluscope verify --json` printed.

reluscope verify --json > verdicts.jsonl; python docs/claims_table.py verdicts.jsonl
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import reluscope as rs
from reluscope.entries import Claim

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "claims_table.md"

HEAD = """# Table of claims

Written by `docs/claims_table.py` from what `reluscope verify --json` printed, and tested against the entries.
`reluscope show NAME` prints a statement and its assumption in full; a counterexample can be tried again by
`reluscope verify NAME --replay JSON`.

| claim | source | verdict | smallest counterexample | amended by |
|---|---|---|---|---|
"""

MUTANTS = """
## Mutants

What is exchanged in a claim that holds, mostly something that its predicate calls, and for what; the verifier refutes
every one.

| claim | mutants |
|---|---|
"""


def own_claims() -> list[Claim]:
    """All claims that come with reluscope, source by source."""
    lab = rs.Lab()
    claims = [claim for name, claim in lab.claims.items() if lab.origin("claims", name).name == "catalog"]
    return sorted(claims, key=lambda claim: (claim.source.removeprefix("amends ").split(",")[0], claim.name))


def mutants() -> dict[str, list[str]]:
    """Names of what is changed in each claim."""
    path = ROOT / "tests" / "catalog" / "claims" / "test_mutants.py"
    spec = importlib.util.spec_from_file_location("mutants_of_the_docs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tables = {name: changed for table in module.TABLES.values() for name, changed in table.items()}
    return {name: [module.words(one) for one in tables[name]] for name in sorted(tables)}


def page(claims: Iterable[Claim], counterexamples: Mapping[str, Any], changed: Mapping[str, Iterable[str]]) -> str:
    """Write the page."""
    claims = list(claims)
    amended = {claim.name: [f"`{one.name}`" for one in claims if one.amends == claim.name] for claim in claims}
    rows = []
    for claim in claims:
        case = counterexamples.get(claim.name)
        words = "" if case is None else f"`{json.dumps(case)}`"
        rows.append(
            f"| `{claim.name}` | {claim.source} | {claim.verdict} | {words} | {', '.join(amended[claim.name])} |\n"
        )
    lines = [f"| `{name}` | {', '.join(f'`{one}`' for one in words)} |\n" for name, words in changed.items()]
    return "".join([HEAD, *rows, MUTANTS, *lines])


def main(path: Path) -> None:
    """Write the page from what the command printed."""
    records = {one["claim"]: one for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    claims = own_claims()
    other = [claim.name for claim in claims if records.get(claim.name, {}).get("verdict") != claim.verdict]
    if other:
        sys.exit(f"{path}: no verdict as recorded on {', '.join(other)}; mend the claims, or verify all of them")
    counterexamples = {claim.name: records[claim.name]["counterexample"] for claim in claims}
    PAGE.write_text(page(claims, counterexamples, mutants()), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
