"""Rank of the map that a network applies on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, needs={"affine"})
def affine_rank(observation: Observation, *, rtol: float | None = None) -> Count:
    r"""Rank of the local affine map from input to output, mean over samples.

    $\frac{1}{N} \sum_n \operatorname{rank} W_{R(x_n)}$ with $f(y) = W_R y + b_R$ on the piece $R$ that holds $x_n$. The
    rank is the number of singular values above `rtol` times the greatest one. At initialisation it is the least of
    input dimension, output dimension and active units of any layer, with probability one.

    Cost: $W_R$ of each sample is formed and decomposed: memory `sample * out * in`, time
    `sample * out * in * min(out, in)` beside the passes that form it, `min(out, in)` of them.

    Args:
        observation: One batch, with the affine map.
        rtol: Relative tolerance; None takes NumPy's, `max(out, in)` times the rounding unit of the dtype.

    Returns:
        The sum of the ranks, of all samples.

    References:
        Johansson 2022, section 2.2.1 and eq. 2.3.
    """
    from reluscope_plugins.geometry.numerical_rank import numerical_rank

    ranks = numerical_rank(observation.affine().weight, rtol=rtol)
    return Count(ranks.sum(), of=len(ranks))
