"""Sums of ranks and of their bounds: the state that the metrics of the rank share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from reluscope_plugins.geometry.active_units import rank_bound
from reluscope_plugins.geometry.numerical_rank import numerical_rank

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, int]


class Ranks(NamedTuple):
    """Means over samples.

    Attributes:
        rank: Numerical rank of the affine map.
        bound: Least number of active units, inputs and outputs.
    """

    rank: float
    bound: float


class affine_ranks:
    """Ranks of the local affine maps from input to output.

    Args:
        rtol: Relative tolerance; None takes NumPy's, `max(out, in)` times the rounding unit of the dtype.
    """

    def __init__(self, *, rtol: float | None = None) -> None:
        self.rtol = rtol

    def measure(self, observation: Observation) -> State:
        """Measure one batch.

        Args:
            observation: One batch, with the affine map.

        Returns:
            The state.
        """
        ranks = numerical_rank(observation.affine().weight, rtol=self.rtol)
        bounds = rank_bound(observation)
        return {"rank": int(ranks.sum()), "bound": int(bounds.sum()), "samples": len(ranks)}

    def merge(self, first: State, second: State) -> State:
        """Merge two states.

        Args:
            first: A state.
            second: A state.

        Returns:
            The state of both.
        """
        return {name: first[name] + second[name] for name in first}

    def finish(self, state: State) -> Ranks:
        """Divide by the number of samples.

        Args:
            state: The state of all batches.

        Returns:
            The means.
        """
        return Ranks(state["rank"] / state["samples"], state["bound"] / state["samples"])
