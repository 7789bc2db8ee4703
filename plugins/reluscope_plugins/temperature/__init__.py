"""Activation pattern temperature: how much of a network's nonlinear structure a step of the optimizer changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.temperature import at_rate

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of temperature.

    Returns:
        The entries.
    """
    return [
        at_rate.pattern_distance,
        at_rate.mean_pattern_distance,
        at_rate.pattern_temperature,
        at_rate.mean_pattern_temperature,
    ]
