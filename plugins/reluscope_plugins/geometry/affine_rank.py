"""Rank of the map that a network applies on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, needs={"affine"})
class affine_rank:
    r"""Rank of the local affine map from input to output, mean over samples.

    $\frac{1}{N} \sum_n \operatorname{rank} W_{R(x_n)}$ with $f(y) = W_R y + b_R$ on the piece $R$ that holds $x_n$. The
    rank is the number of singular values above `rtol` times the greatest one. At initialisation it is the least of
    input dimension, output dimension and active units of any layer, with probability one.

    Cost: $W_R$ of each sample is formed and decomposed: memory `sample * out * in`, time
    `sample * out * in * min(out, in)` beside the passes that form it, `min(out, in)` of them.

    Args:
        rtol: Relative tolerance; None takes NumPy's, `max(out, in)` times the rounding unit of the dtype.

    References:
        Johansson 2022, section 2.2.1 and eq. 2.3.
    """

    def __init__(self, *, rtol: float | None = None) -> None:
        self.rtol = rtol

    def measure(self, observation: Observation) -> dict[str, int]:
        """Add up ranks.

        Args:
            observation: One batch, with the affine map.

        Returns:
            The sum of the ranks and the number of samples.
        """
        from reluscope_plugins.geometry.numerical_rank import numerical_rank

        ranks = numerical_rank(observation.affine().weight, rtol=self.rtol)
        return {"sum": int(ranks.sum()), "samples": ranks.numel()}

    def merge(self, first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
        """Add.

        Args:
            first: One state.
            second: Another.

        Returns:
            The state of both.
        """
        return {key: first[key] + second[key] for key in first}

    def finish(self, state: dict[str, Any]) -> float:
        """Divide.

        Args:
            state: The state of all data.

        Returns:
            The mean rank.
        """
        mean: float = state["sum"] / state["samples"]
        return mean
