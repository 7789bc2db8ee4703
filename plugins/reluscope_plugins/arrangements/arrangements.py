"""Statistics of the weights of an architecture, without data and without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from reluscope_plugins.arrangements.weight_statistics import weight_statistics
from reluscope_plugins.procedures.trained_weights import load_weights

if TYPE_CHECKING:
    from reluscope.context import Context

Level = Annotated[float, pydantic.Field(gt=0, lt=1)]
# the stream of random draws that `train` has for the weights
_WEIGHTS = 1
OWN = "own"


def arrangements(
    context: Context, *, weights: str = OWN, level: Level = 0.95, law: Literal["normal", "sphere"] = "normal"
) -> None:
    """Look how the filters of the recipe's architecture lie to the identity line: at initialisation, or pretrained.

    Writes the group `arrangements`: all that `weight_statistics` gives.

    Args:
        context: The recipe's point: architecture.
        weights: File of trained weights, relative to the folder of the data; `"own"` takes the architecture's.
        level: Of the interval in which the share lies at initialisation.
        law: Law of the cosines at initialisation, `"normal"` or `"sphere"`.

    Raises:
        RecipeError: If the recipe names no architecture, or the weights are not its own.
        ReluscopeError: If the file is missing or damaged.

    References:
        Gamba et al. 2020, figures 1 and 9 to 14.
    """
    choice = context.choice("architecture")
    model = context.lab.architectures[choice.name].build(seed=context.seed(_WEIGHTS), **choice.parameters)
    if weights != OWN:
        load_weights(model, weights, context.data_root)
    context.record("arrangements", weight_statistics(model, level=level, law=law))
