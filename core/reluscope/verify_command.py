"""The command `verify`: claims put to the test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reluscope import console
from reluscope.command_parts import FILE, as_json_option, fail, must_be_a_file, refuse, write_page

if TYPE_CHECKING:
    from reluscope.cli import Session
    from reluscope.verdicts import Verdict


@click.command()
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@click.option("--examples", type=click.IntRange(min=1), metavar="N", help="Cases tried of each.  [default: 200]")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="S", help="Of the cases.", show_default=True)
@click.option("--replay", metavar="JSON", help="Try this case of CLAIM only, such as a counterexample.")
@click.option("--out", type=FILE, help="Write the verdicts into this archive, and a page beside it.")
@as_json_option
@click.pass_obj
def verify(
    session: Session,
    claims: tuple[str, ...],
    examples: int | None,
    seed: int,
    replay: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Put CLAIMs to the test, or all that are installed: look for a case against each.

    The exit code is 0 where every verdict is the one that the catalogue records.
    """
    case = None if replay is None else _case(claims, replay)
    if case is not None and (examples is not None or out is not None):
        refuse("--replay tries one case; leave out --examples and --out")
    if out is not None:
        must_be_a_file(out)
        if out.exists():
            refuse(f"--out {out} exists; choose another name, or remove it first")
    from reluscope import verification
    from reluscope.progress import BarProgress

    lab = session.lab
    chosen = verification.chosen(lab, claims or None)
    examples = verification.EXAMPLES if examples is None else examples
    found = []
    if case is not None:
        chosen[0].check_parameters(case)
        verdicts = iter([verification.judge(chosen[0], seed=seed, case=case)])
    else:
        verdicts = verification.verdicts(chosen, examples=examples, seed=seed, progress=BarProgress())
    for verdict in verdicts:
        found.append(verdict)
        if as_json:
            console.objects([verdict.record()])
    if not as_json:
        console.verdicts([verdict.record() for verdict in found])
    if out is not None:
        tree = verification.write(found, out, lab=lab, examples=examples, seed=seed)
        page = write_page(tree, out.with_suffix(".html"))
        if not as_json:
            console.places(out, page)
    for verdict in found:
        if verdict.problem:
            console.warning(verdict.problem)
    # one case can speak against a claim, never for it
    _compare(found if case is None else [one for one in found if one.verdict != "holds"])


def _case(claims: Sequence[str], replay: str) -> dict[str, Any]:
    if len(claims) != 1:
        refuse(f"--replay tries one case of one claim, got {len(claims)} claims; name the one")
    try:
        case = json.loads(replay)
    except (ValueError, RecursionError) as error:
        refuse(f"--replay: not JSON ({error}); give the case as `--json` prints it, in single quotes")
    if not isinstance(case, dict):
        refuse(f'--replay: got {replay:.80}, expected a JSON object such as {{"n": 3}}')
    return case


def _compare(found: Sequence[Verdict]) -> None:
    other = [
        f"{verdict.claim.name} is {verdict.verdict}, recorded as {verdict.claim.verdict}"
        for verdict in found
        if not verdict.as_recorded
    ]
    if other:
        fail(
            f"{len(other)} of {len(found)} verdicts are not as recorded: {'; '.join(other)}; mend the claim, or record "
            "what was found"
        )
