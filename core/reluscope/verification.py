"""Claims put to the test: verdicts, and the replay of a single case."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reluscope.counterexample_search import Case, Found, evaluated, search, text
from reluscope.errors import ClaimError, PluginError, UnknownNameError, nearest
from reluscope.progress import Progress, SilentProgress
from reluscope.verdicts import GROUP, Verdict, labelled

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.entries import Claim
    from reluscope.lab import Lab
    from reluscope.sequential_testing import Decision

EXAMPLES = 200
"""Cases tried of an exact claim, unless told otherwise."""

EXACT_PER_STATISTICAL = 20
"""Cases tried of an exact claim for each one of a statistical claim, which takes thousands of observations."""


def verify(
    names: Iterable[str] | None = None,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    lab: Lab | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Put claims to the test.

    Of an exact claim, hypothesis looks for a case against it and makes what it finds as small as it can. The mean of a
    statistical one is tested in a twentieth as many cases, see `reluscope.sequential_testing`. The same seed gives the
    same verdicts and counterexamples, whichever claims are tested together.

    Args:
        names: Names of claims; None takes all that are installed.
        examples: How many cases are tried of each.
        seed: Of the cases and observations.
        lab: Where the names are looked up; None takes all that is installed.
        out: An archive to write; None writes none.
        progress: Told how far the work is.

    Returns:
        `verdict` (`"holds"`, `"refuted"`, `"undecided"`; `"error"` where a claim could not be put to the test, and then
        `problem` says why), `recorded`, `cases`, `counterexample` in JSON, `source` and the rest, along `claim`.

    Raises:
        UnknownNameError: If there is no such claim.
        PluginError: If a claim amends one that does not exist.

    Example:
        >>> verdicts = verify(["psb_unbiased"], examples=20)
        >>> verdicts["verdict"].item(), verdicts["cases"].item()
        ('holds', 20)
    """
    import xarray as xr

    from reluscope.lab import Lab

    lab = Lab() if lab is None else lab
    claims = chosen(lab, names)
    found = list(verdicts(claims, examples=examples, seed=seed, progress=progress))
    if out is not None:
        write(found, out, lab=lab, examples=examples, seed=seed)
    labels = [verdict.claim.name for verdict in found]
    claim = xr.Variable("claim", labels, {"long_name": "claim", "units": "1"})
    return xr.concat([labelled(verdict) for verdict in found], claim, combine_attrs="override")


def chosen(lab: Lab, names: Iterable[str] | None) -> list[Claim]:
    """Look claims up.

    Args:
        lab: Where.
        names: Their names; None takes all.

    Returns:
        The claims, each once.

    Raises:
        UnknownNameError: If there is no such claim, or none at all.
        PluginError: If a claim amends one that does not exist.
    """
    claims = [lab.claims[name] for name in dict.fromkeys(lab.claims if names is None else names)]
    if not claims:
        raise UnknownNameError("no claims to verify; install a plugin that offers some")
    for claim in claims:
        if claim.amends and claim.amends not in lab.claims:
            raise PluginError(
                f"claim {claim.name!r} amends {claim.amends!r}, which is unknown. {nearest(claim.amends, lab.claims)}"
            )
    return claims


def verdicts(
    claims: Sequence[Claim], *, examples: int = EXAMPLES, seed: int = 0, progress: Progress | None = None
) -> Iterator[Verdict]:
    """Put claims to the test, one after the other.

    Args:
        claims: The claims.
        examples: How many cases are tried of each.
        seed: Of the cases and observations.
        progress: Told how far the work is.

    Yields:
        A verdict for each, in order.
    """
    progress = SilentProgress() if progress is None else progress
    progress.start("Verifying", len(claims))
    try:
        for claim in claims:
            progress.message(claim.name)
            yield judge(claim, examples=examples, seed=seed)
            progress.advance()
    finally:
        progress.finish()


def judge(claim: Claim, *, examples: int = EXAMPLES, seed: int = 0, case: Case | None = None) -> Verdict:
    """Put one claim to the test.

    Args:
        claim: The claim.
        examples: How many cases are tried; a statistical claim takes a twentieth.
        seed: Of the cases and observations.
        case: The only case to try; None looks for one against the claim.

    Returns:
        The verdict; `"error"` where the claim could not be put to the test.
    """
    start = time.perf_counter()
    examiner = _Examiner(claim, seed)
    verdict, problem, picture = "holds", "", ""
    found = Found(0, None)
    try:
        if case is not None:
            claim.check_parameters(case)
            found = Found(1, None if evaluated(claim.name, examiner, case) else case)
        else:
            number = max(1, min(examples // EXACT_PER_STATISTICAL, 500)) if claim.statistical else examples
            found = search(claim.name, claim.cases(), examiner, examples=number, seed=seed)
    except (ClaimError, PluginError) as error:
        verdict, problem = "error", str(error)
    tested = examiner.least(found.counterexample)
    if found.counterexample is not None:
        verdict = "refuted"
    elif verdict == "holds" and tested is not None:
        verdict = tested.verdict
    if found.counterexample is not None:
        try:
            picture = claim.draw(found.counterexample)
        except Exception as error:  # a picture decides nothing
            problem = f"claim {claim.name!r}: its picture cannot be drawn: {type(error).__name__}: {error}"
    return Verdict(
        claim, verdict, found.cases, found.counterexample, time.perf_counter() - start, tested, problem, picture
    )


def write(found: Sequence[Verdict], out: str | Path, *, lab: Lab, examples: int, seed: int) -> xr.DataTree:
    """Write verdicts into an archive.

    Args:
        found: The verdicts.
        out: The archive.
        lab: Whose plugins offer the claims.
        examples: How many cases were tried of each.
        seed: Of the cases and observations.

    Returns:
        The archive, in memory.
    """
    from reluscope import provenance
    from reluscope.archive import ArchiveWriter

    plugins = {origin.name: origin for origin in (lab.origin("claims", verdict.claim.name) for verdict in found)}
    attrs: dict[str, Any] = {
        "title": "Claims put to the test",
        "sweep_dims": json.dumps(["claim"]),
        "examples": examples,
        "provenance": provenance.collect(
            seeds=[seed],
            plugins=plugins.values(),
            packages=provenance.required(),
        ),
    }
    with ArchiveWriter(out, attrs=attrs) as writer:
        for verdict in found:
            writer.append(GROUP, labelled(verdict), {"claim": verdict.claim.name})
        return writer.finish()


class _Examiner:
    """Says whether a claim holds in a case, and keeps what a statistical test said of each."""

    def __init__(self, claim: Claim, seed: int) -> None:
        self.claim = claim
        self.seed = seed
        self.found: dict[str, Decision] = {}

    def __call__(self, case: Case) -> bool:
        if not self.claim.statistical:
            answer: bool = self.claim.implementation()(**case)
            return answer
        from reluscope.sequential_testing import examine

        tested = examine(self.claim, case, seed=self.seed)
        self.found[text(case)] = tested
        return tested.verdict != "refuted"

    def least(self, case: Case | None) -> Decision | None:
        """Return the test of a case, or of the one that it is least certain of."""
        if case is not None:
            return self.found.get(text(case))
        order = ("refuted", "undecided", "holds")
        return min(self.found.values(), key=lambda tested: (order.index(tested.verdict), tested.power), default=None)
