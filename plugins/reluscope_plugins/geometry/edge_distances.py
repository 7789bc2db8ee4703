"""Distances to the edge of the regions that hold samples: the state that metrics share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from reluscope_plugins.geometry.nearest_walls import ERROR, SEED, nearest_walls

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, float]


class Distances(NamedTuple):
    """Over the samples whose region has an edge; NaN where none has.

    Attributes:
        mean: Mean distance.
        least: Least distance.
    """

    mean: float
    least: float


class edge_distances:
    """Distances to the edge of the regions.

    Args:
        error: Probability that the nearest wall of any sample of a batch is missed; see `nearest_walls`.
        seed: Seed of the random directions by which gradients are bounded.
    """

    def __init__(self, *, error: float = ERROR, seed: int = SEED) -> None:
        self.error = error
        self.seed = seed

    def measure(self, observation: Observation) -> State:
        """Measure one batch.

        Args:
            observation: One batch, with the affine map.

        Returns:
            The state.
        """
        found = nearest_walls(observation, error=self.error, seed=self.seed).distance.double()
        edged = found[found.isfinite()]
        return {"sum": edged.sum().item(), "samples": len(edged), "least": min(edged.tolist(), default=math.inf)}

    def merge(self, first: State, second: State) -> State:
        """Merge two states.

        Args:
            first: A state.
            second: A state.

        Returns:
            The state of both.
        """
        return {
            "sum": first["sum"] + second["sum"],
            "samples": first["samples"] + second["samples"],
            "least": min(first["least"], second["least"]),
        }

    def finish(self, state: State) -> Distances:
        """Divide by the number of samples.

        Args:
            state: The state of all batches.

        Returns:
            Mean and least distance.
        """
        if not state["samples"]:
            return Distances(math.nan, math.nan)
        return Distances(state["sum"] / state["samples"], state["least"])
