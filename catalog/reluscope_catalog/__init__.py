"""The catalog: a recipe for every figure and table of the sources, and later a claim for every theorem."""

from __future__ import annotations

from pathlib import Path

from reluscope.entries import Experiment
from reluscope.hookspecs import hookimpl


@hookimpl
def reluscope_experiments() -> list[Experiment]:
    """Return one experiment for each recipe in the folder `experiments`."""
    folder = Path(__file__).parent / "experiments"
    return [Experiment.from_toml(path) for path in sorted(folder.glob("*.toml"))]
