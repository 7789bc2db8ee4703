"""The catalog: a recipe for every figure and table of the sources, and a claim for every theorem."""

from __future__ import annotations

from pathlib import Path

from reluscope.entries import Claim, Experiment
from reluscope.hookspecs import hookimpl


@hookimpl
def reluscope_experiments() -> list[Experiment]:
    """Return one experiment for each recipe in the folder `experiments`."""
    folder = Path(__file__).parent / "experiments"
    return [Experiment.from_toml(path) for path in sorted(folder.glob("*.toml"))]


@hookimpl
def reluscope_claims() -> list[Claim]:
    """Return the claims that the package `claims` declares."""
    from reluscope_catalog.claims import declared

    return declared()
