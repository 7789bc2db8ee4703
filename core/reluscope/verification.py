"""Claims put to the test: verdicts, and the replay of a single case."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from reluscope.case_types import check_types
from reluscope.counterexample_search import Case, Found, evaluated, identity, search
from reluscope.errors import ClaimError, PluginError, UnknownNameError, nearest
from reluscope.progress import Progress, SilentProgress
from reluscope.verdicts import Verdict, labelled

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.entries import Claim
    from reluscope.lab import Lab
    from reluscope.sequential_testing import Decision

EXAMPLES = 200
"""Cases tried of an exact claim, unless told otherwise."""

EXACT_PER_STATISTICAL = 20
"""Cases tried of an exact claim for each one of a statistical claim, which takes thousands of observations."""


MOST_STATISTICAL = 500
"""Cases tried of a statistical claim at most. Its error probability is shared among 1,000, and those on the way to the
smallest count, too: beyond 1,000 there is no verdict."""


def verify(
    names: Iterable[str] | None = None,
    *,
    examples: int = EXAMPLES,
    seed: int = 0,
    lab: Lab | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Put claims to the test.

    Of an exact claim, hypothesis looks for a case against it and makes what it finds as small as it can. The mean of a
    statistical one is tested in a twentieth as many cases, see `reluscope.sequential_testing`. The same seed gives the
    same verdicts and counterexamples, whichever claims are tested together.

    Args:
        names: Names of claims; None takes all that are installed.
        examples: How many cases are tried of each; of a statistical claim a twentieth, 500 at most.
        seed: Of the cases and observations.
        lab: Where the names are looked up; None takes all that is installed.
        out: An archive to write, verdict by verdict; None writes none.
        resume: Whether to go on with an archive that was begun.
        progress: Told how far the work is.

    Returns:
        `verdict` (`"holds"`, `"refuted"`, `"undecided"`; `"error"` where a claim could not be put to the test, and then
        `problem` says why), `recorded`, `cases`, `counterexample` in JSON, `source` and the rest, along `claim`.

    Raises:
        UnknownNameError: If there is no such claim.
        PluginError: If a claim amends one that does not exist.
        ArchiveError: If the archive exists, or cannot be written; what is in it is kept.
        RecipeError: If the archive was begun with other examples or another seed.

    Example:
        >>> verdicts = verify(["psb_unbiased"], examples=20)
        >>> verdicts["verdict"].item(), 0 < verdicts["cases"].item() <= 20  # different ones
        ('holds', True)
    """
    import xarray as xr

    from reluscope.lab import Lab

    lab = Lab() if lab is None else lab
    claims = chosen(lab, names)
    if out is None:
        found = [labelled(one) for one in verdicts(claims, examples=examples, seed=seed, progress=progress)]
    else:
        from reluscope.verdict_archive import archived

        found = list(archived(claims, out, lab=lab, examples=examples, seed=seed, resume=resume, progress=progress))
    return xr.concat(found, "claim", combine_attrs="override")


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
        examples: How many cases are tried; a statistical claim takes a twentieth, 500 at most.
        seed: Of the cases and observations.
        case: The only case to try; None looks for one against the claim.

    Returns:
        The verdict; `"error"` where the claim could not be put to the test.

    Raises:
        RecipeError: If the case has other keys or other types than the strategy gives.
    """
    start = time.perf_counter()
    examiner = _Examiner(claim, seed)
    verdict, problem, picture = "holds", "", ""
    found = Found(0, None)
    try:
        if case is not None:
            claim.check_parameters(case)
            check_types(claim.name, claim.cases(), case)
            found = Found(1, None if evaluated(claim.name, examiner, case) else case)
        else:
            found = search(claim.name, claim.cases(), examiner, examples=_number(claim, examples), seed=seed)
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
        claim, verdict, found.cases, found.counterexample, time.perf_counter() - start, seed, tested, problem, picture
    )


def _number(claim: Claim, examples: int) -> int:
    return max(1, min(examples // EXACT_PER_STATISTICAL, MOST_STATISTICAL)) if claim.statistical else examples


class _Examiner:
    """Says whether a claim holds in a case, and keeps what a statistical test said of each."""

    def __init__(self, claim: Claim, seed: int) -> None:
        self.claim = claim
        self.seed = seed
        self.found: dict[str, Decision] = {}
        self.spent = False

    def __call__(self, case: Case) -> bool:
        if not self.claim.statistical:
            answer: bool = self.claim.implementation()(**case)
            return answer
        from reluscope.sequential_testing import MOST_CASES, examine

        self.spent |= len(self.found) >= MOST_CASES and identity(case) not in self.found
        if self.spent:
            raise ClaimError(
                f"claim {self.claim.name!r}: more than {MOST_CASES} different cases were tried on the way to the"
                " smallest; its error probability is shared among no more; try fewer examples, or let its strategy give"
                " fewer cases"
            )
        tested = examine(self.claim, case, seed=self.seed)
        self.found[identity(case)] = tested
        return tested.verdict != "refuted"

    def least(self, case: Case | None) -> Decision | None:
        """Return the test of a case, or of the one that it is least certain of."""
        if case is not None:
            return self.found.get(identity(case))
        order = ("refuted", "undecided", "holds")
        return min(self.found.values(), key=lambda tested: (order.index(tested.verdict), tested.power), default=None)
