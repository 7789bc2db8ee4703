"""Arrangements of the hyperplanes of layers: projections on a direction, their law at initialisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Procedure
from reluscope.hookspecs import hookimpl
from reluscope_plugins.arrangements.projections import (
    negative_projection_share,
    null_share_interval,
    projection_cosine,
    projection_normality,
    projection_p_value,
)
from reluscope_plugins.procedures import TRAINING_GROUPS

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of projections.

    Returns:
        The entries.
    """
    return [
        projection_cosine,
        negative_projection_share,
        projection_p_value,
        null_share_interval,
        projection_normality,
    ]


@hookimpl
def reluscope_procedures() -> list[Procedure]:
    """Offer the statistics of weights, and the resetting of layers.

    Returns:
        The entries.
    """
    return [
        Procedure(
            name="arrangements",
            summary="Look how the filters of an architecture lie to the identity line, without data.",
            definition="reluscope_plugins.arrangements.arrangements:arrangements",
            groups={"arrangements": "cosine of each filter; of each layer the share of negative ones and p-values"},
        ),
        Procedure(
            name="critical_layers",
            summary="Train a classifier, and reset its layers one by one to earlier epochs.",
            definition="reluscope_plugins.arrangements.critical_layers:critical_layers",
            metrics=("loss", "accuracy"),
            groups={
                "critical_layers": "drop in accuracy for each layer and epoch, and how it goes with the projections",
                **TRAINING_GROUPS,
            },
        ),
    ]
