"""The command `verify`: claims put to the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reluscope import console
from reluscope.command_parts import FILE, as_json_option, fail, must_be_a_file, refuse, write_page
from reluscope.errors import RecipeError

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.cli import Session
    from reluscope.lab import Lab

Record = Mapping[str, Any]


@click.command()
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@click.option(
    "--examples",
    type=click.IntRange(min=1),
    metavar="N",
    help="Cases tried of each; of a statistical claim a twentieth, 500 at most.  [default: 200]",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=0,
    metavar="S",
    help="Of the cases and observations.",
    show_default=True,
)
@click.option("--replay", metavar="JSON", help="Try this case of CLAIM only, such as a counterexample.")
@click.option("--out", type=FILE, help="Write the verdicts into this archive as they come, and a page beside it.")
@click.option("--resume", is_flag=True, help="Go on with an archive that was begun.")
@as_json_option
@click.pass_obj
def verify(
    session: Session,
    claims: tuple[str, ...],
    examples: int | None,
    seed: int,
    replay: str | None,
    out: Path | None,
    resume: bool,
    as_json: bool,
) -> None:
    """Put CLAIMs to the test, or all that are installed: look for a case against each.

    The exit code is 0 where every verdict is the one that the catalogue records.
    """
    if replay is not None and (examples is not None or out is not None):
        refuse("--replay tries one case; leave out --examples and --out")
    if resume and out is None:
        refuse("--resume goes on with an archive; name it with --out")
    if out is not None:
        must_be_a_file(out)
        if out.exists() and not resume:
            refuse(f"--out {out} exists; choose another name, or remove it first")
    from reluscope import verification
    from reluscope.progress import BarProgress
    from reluscope.verdicts import labelled, record

    lab = session.lab
    if replay is not None:
        _replay(claims, replay, lab, seed=seed, as_json=as_json)
        return
    chosen = verification.chosen(lab, claims or None)
    examples = verification.EXAMPLES if examples is None else examples
    session.archive = out
    if out is None:
        verdicts: Iterator[xr.Dataset] = map(
            labelled, verification.verdicts(chosen, examples=examples, seed=seed, progress=BarProgress())
        )
    else:
        from reluscope.verdict_archive import archived

        verdicts = archived(chosen, out, lab=lab, examples=examples, seed=seed, resume=resume, progress=BarProgress())
    records = _shown(map(record, verdicts), as_json=as_json)
    session.archive = None
    if out is not None:
        from reluscope.opening import open_archive

        page = write_page(open_archive(out, max_bytes=None), out.with_suffix(".html"))
        if not as_json:
            console.places(out, page)
    for one in records:
        if one["problem"]:
            console.warning(one["problem"])
    _compare(records)


# Each at once as JSON, or all as a table, also where something stops them in between.
def _shown(records: Iterable[Record], *, as_json: bool) -> list[Record]:
    found = []
    try:
        for one in records:
            found.append(one)
            if as_json:
                console.objects([one])
    finally:
        if found and not as_json:
            console.verdicts([dict(one) for one in found])
    return found


def _replay(names: Sequence[str], words: str, lab: Lab, *, seed: int, as_json: bool) -> None:
    from reluscope import verification
    from reluscope.case_types import read_case

    if len(names) != 1:
        refuse(f"--replay tries one case of one claim, got {len(names)} claims; name the one")
    claim = verification.chosen(lab, names)[0]
    try:
        case = read_case(words)
    except RecipeError as error:
        refuse(f"--replay: {error}")
    claim.check_parameters(case)
    verdict = verification.judge(claim, seed=seed, case=case)
    _shown([verdict.record()], as_json=as_json)
    if verdict.verdict == "error":
        refuse(f"--replay: {verdict.problem}; or give a case within what is assumed: {claim.assumption}")
    if verdict.problem:
        console.warning(verdict.problem)
    if verdict.verdict != "holds":  # one case can speak against a claim, never for it
        _compare([verdict.record()])


def _compare(records: Sequence[Record]) -> None:
    other = [
        f"{one['claim']} is {one['verdict']}, recorded as {one['recorded']}"
        for one in records
        if one["verdict"] != one["recorded"]
    ]
    if other:
        fail(
            f"{len(other)} of {len(records)} verdicts are not as recorded: {'; '.join(other)}; mend the claim, or "
            "record what was found"
        )
