"""Activation pattern temperature: how much of a network's nonlinear structure a step of the optimizer changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.temperature import at_rate, divergence, sensitivity

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
        sensitivity.learning_rate_sensitivity,
        sensitivity.mean_learning_rate_sensitivity,
        sensitivity.transition_mu,
        sensitivity.transition_sigma,
        sensitivity.transition_error,
        sensitivity.mean_transition_mu,
        sensitivity.mean_transition_sigma,
        sensitivity.mean_transition_error,
        sensitivity.mean_transition_residual,
        *sensitivity.COMPARED,
        divergence.divergence_warning,
    ]
