"""The partition of the input space into regions: along lines, in planes, in any dimension, and its counting theory."""

from __future__ import annotations

from reluscope.entries import Procedure
from reluscope.hookspecs import hookimpl
from reluscope_plugins.procedures import TRAINING_GROUPS


@hookimpl
def reluscope_procedures() -> list[Procedure]:
    """Return the procedures about regions."""
    return [
        Procedure(
            name="regions",
            summary="Count and draw the linear regions of a plane exactly, before training and while a network learns.",
            definition="reluscope_plugins.procedures.plane_regions:regions",
            metrics=("loss", "accuracy"),
            groups={
                "regions": "number of regions of the sites up to each one, every k epochs",
                "pictures": "walls of the regions at chosen epochs, coloured by the site that made them",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="line_regions",
            summary="Count the regions along lines between inputs, before training and while a network learns.",
            definition="reluscope_plugins.procedures.line_regions:line_regions",
            metrics=("loss", "accuracy"),
            groups={
                "line_regions": "number of regions on each line, and breakpoints for each unit, every k epochs",
                **TRAINING_GROUPS,
            },
        ),
        Procedure(
            name="trajectories",
            summary="Measure the growth of a curve's length from layer to layer of freshly drawn networks.",
            definition="reluscope_plugins.procedures.trajectories:trajectories",
            groups={
                "layers": "length of the curve's image after each layer, over the curve's",
                "growth": "mean growth from layer to layer, beside its bounds",
                "projections": "the first network's curve on two principal components of each layer",
                "pictures": "the same, drawn",
            },
        ),
    ]
