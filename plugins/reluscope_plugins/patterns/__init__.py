"""Activation patterns: which units are active on which samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.patterns.dead_units import dead_units
from reluscope_plugins.patterns.firing_rate import firing_rate

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of activation patterns.

    Returns:
        The entries.
    """
    return [dead_units, firing_rate]
