"""The hooks: one for each kind of entry, and one that hears what a run records.

A plugin is a module with functions marked `@reluscope.hookimpl`. Each takes nothing and returns a list of entries. A
plugin distribution names its module under the entry point group `reluscope`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from reluscope.context import Record
    from reluscope.entries import (
        Architecture,
        Claim,
        Dataset,
        Experiment,
        Metric,
        NumberSystem,
        Procedure,
        Regularizer,
        Scheduler,
    )

hookspec = pluggy.HookspecMarker("reluscope")
hookimpl = pluggy.HookimplMarker("reluscope")


@hookspec
def reluscope_metrics() -> Sequence[Metric]:  # type: ignore[empty-body]
    """Return metrics: what can be measured on an observation."""


@hookspec
def reluscope_schedulers() -> Sequence[Scheduler]:  # type: ignore[empty-body]
    """Return schedulers: how the learning rate moves."""


@hookspec
def reluscope_number_systems() -> Sequence[NumberSystem]:  # type: ignore[empty-body]
    """Return number systems: how weights are represented."""


@hookspec
def reluscope_architectures() -> Sequence[Architecture]:  # type: ignore[empty-body]
    """Return architectures: networks to build by name."""


@hookspec
def reluscope_datasets() -> Sequence[Dataset]:  # type: ignore[empty-body]
    """Return data sets: what networks are trained and measured on."""


@hookspec
def reluscope_regularizers() -> Sequence[Regularizer]:  # type: ignore[empty-body]
    """Return regularizers: penalties to add to a loss."""


@hookspec
def reluscope_procedures() -> Sequence[Procedure]:  # type: ignore[empty-body]
    """Return procedures: what a recipe can run."""


@hookspec
def reluscope_experiments() -> Sequence[Experiment]:  # type: ignore[empty-body]
    """Return experiments: recipes that ship with the plugin."""


@hookspec
def reluscope_claims() -> Sequence[Claim]:  # type: ignore[empty-body]
    """Return claims: statements of the theory, to be put to the test."""


@hookspec
def reluscope_record(record: Record) -> None:
    """Hear what a run records, as it is recorded: for loggers and dashboards.

    Best effort: it is called on a thread of its own, an error in it becomes a warning that names the plugin, and a sink
    that cannot keep up misses records; it never blocks or ends a run.

    Args:
        record: The archive's name, the group, the point of the sweep and the labelled data.
    """
