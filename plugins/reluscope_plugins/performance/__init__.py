"""How well a classifier does: what is measured beside the pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.performance.accuracy import accuracy
from reluscope_plugins.performance.loss import loss

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of performance.

    Returns:
        The entries.
    """
    return [accuracy, loss]
