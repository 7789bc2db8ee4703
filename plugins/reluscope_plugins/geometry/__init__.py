"""Geometry of the linear pieces: rank, and later distances and angles, of the local affine map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.geometry.affine_rank import affine_rank
from reluscope_plugins.geometry.preactivation_rank import preactivation_rank

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of the local affine map.

    Returns:
        The entries.
    """
    return [affine_rank, preactivation_rank]
