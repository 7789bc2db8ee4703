"""Verdicts in an archive, each as soon as it is reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reluscope import provenance
from reluscope.archive import ArchiveWriter
from reluscope.errors import RecipeError
from reluscope.progress import Progress
from reluscope.verdicts import GROUP, labelled

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.entries import Claim
    from reluscope.lab import Lab


def archived(
    claims: Sequence[Claim],
    out: str | Path,
    *,
    lab: Lab,
    examples: int,
    seed: int,
    resume: bool = False,
    progress: Progress | None = None,
) -> Iterator[xr.Dataset]:
    """Put claims to the test, and keep the verdicts.

    A verdict is written once the next is asked for, so that it can be shown first; a kill loses the last one at most.

    Args:
        claims: The claims.
        out: The archive, which is finished after the last verdict.
        lab: Whose plugins offer the claims.
        examples: How many cases are tried of each.
        seed: Of the cases and observations.
        resume: Whether to go on with an archive that was begun; its verdicts are not reached again.
        progress: Told how far the work is.

    Yields:
        The verdict on each claim, labelled; first those that the archive holds.

    Raises:
        RecipeError: If the archive was begun with other examples or another seed, or is finished without a claim.
    """
    from reluscope import verification

    plugins = {origin.name: origin for origin in (lab.origin("claims", claim.name) for claim in claims)}
    given = {"examples": examples, "seed": str(seed)}
    attrs: dict[str, Any] = {
        "title": "Claims put to the test",
        "sweep_dims": json.dumps(["claim"]),
        "provenance": provenance.collect(
            seeds=[seed],
            plugins=plugins.values(),
            packages=provenance.required(),
        ),
    }
    with ArchiveWriter(out, attrs=attrs | given, resume=resume) as writer:
        begun = {key: writer.attrs.get(key) for key in given}
        if begun != given:
            raise RecipeError(
                f"{out} was begun with {begun['examples']} examples and seed {begun['seed']}, got {examples} and "
                f"{seed}; give the same, or choose another name"
            )
        kept = _kept(writer, claims)
        yield from kept.values()
        left = [claim for claim in claims if claim.name not in kept]
        if left and writer.finished:
            raise RecipeError(f"{out} is finished, without a verdict on {left[0].name!r}; choose another name")
        for number, verdict in enumerate(
            verification.verdicts(left, examples=examples, seed=seed, progress=progress), len(kept) + 1
        ):
            data = labelled(verdict)
            yield data
            writer.append(GROUP, data.drop_vars("claim"), {"claim": verdict.claim.name})
            writer.flush({"verdicts": number})
        writer.finish()


def _kept(writer: ArchiveWriter, claims: Sequence[Claim]) -> dict[str, xr.Dataset]:
    if writer.finished:
        group = writer.finish()[GROUP].to_dataset()
        return {claim.name: group.sel(claim=claim.name) for claim in claims if claim.name in group["claim"]}
    found = {claim.name: writer.recorded(GROUP, {"claim": claim.name}) for claim in claims}
    return {name: data.assign_coords(claim=name) for name, data in found.items() if data}
