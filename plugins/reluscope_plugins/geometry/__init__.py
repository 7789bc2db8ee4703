"""Geometry of the linear pieces: rank, singular values, slope, and distance to the edge; and of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.geometry.affine_frobenius_norm import affine_frobenius_norm
from reluscope_plugins.geometry.affine_rank import affine_rank, affine_rank_bound, rank_deficiency
from reluscope_plugins.geometry.bounded_region_share import bounded_region_share
from reluscope_plugins.geometry.edge_distance import edge_distance, least_edge_distance
from reluscope_plugins.geometry.layers import (
    distance_from_initialisation,
    frobenius_norm,
    spectral_norm,
    stable_rank,
    weight_rank,
)
from reluscope_plugins.geometry.preactivation_rank import preactivation_rank
from reluscope_plugins.geometry.rank_collapse import rank_collapse
from reluscope_plugins.geometry.reciprocal_condition_number import reciprocal_condition_number
from reluscope_plugins.geometry.singular_values import singular_values
from reluscope_plugins.geometry.slope import slope
from reluscope_plugins.geometry.slope_interval import slope_interval

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of the local affine map.

    Returns:
        The entries.
    """
    return [
        affine_rank,
        affine_rank_bound,
        rank_deficiency,
        rank_collapse,
        preactivation_rank,
        bounded_region_share,
        spectral_norm,
        frobenius_norm,
        stable_rank,
        weight_rank,
        distance_from_initialisation,
        slope,
        slope_interval,
        singular_values,
        reciprocal_condition_number,
        affine_frobenius_norm,
        edge_distance,
        least_edge_distance,
    ]
