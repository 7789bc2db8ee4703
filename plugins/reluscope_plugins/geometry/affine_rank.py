"""Rank of the map that a network applies on the piece that holds an input: numerical, in closed form, and between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation
    from reluscope_plugins.geometry.affine_ranks import Ranks

RANKS = "reluscope_plugins.geometry.affine_ranks:affine_ranks"


@metric(dims=(), units="1", minimum=0.0, needs={"affine"}, of=RANKS)
def affine_rank(found: Ranks) -> float:
    r"""Rank of the local affine map from input to output, mean over samples.

    $\frac{1}{N} \sum_n \operatorname{rank} W_{R(x_n)}$ with $f(y) = W_R y + b_R$ on the piece $R$ that holds $x_n$. The
    rank is the number of singular values above `rtol` times the greatest one; where none is given, above NumPy's
    tolerance, `max(out, in)` times the rounding unit of the dtype (1.2e-7 in float32, 2.2e-16 in float64).

    Cost: $W_R$ of each sample is formed and decomposed: memory `sample * out * in`, time
    `sample * out * in * min(out, in)` beside the passes that form it, `min(out, in)` of them.

    Args:
        found: Means over samples.

    Returns:
        The mean.

    References:
        Johansson 2022, section 2.2.1.
    """
    return found.rank


@metric(dims=(), units="1", minimum=0.0, needs={"affine"})
def affine_rank_bound(observation: Observation) -> Count:
    r"""Least of input dimension, output dimension and active units of any layer, mean over samples.

    $\min(n_0, n_c, \min_i \operatorname{trace} Z_i)$: the closed formula of the rank. The trace counts the units that
    pass their input on: of a convolution those of all positions, of a max-pool the different winners, of a leaky
    activation all. It takes the patterns alone, no matrix is formed.

    What it is depends on the network:

    - fully connected layers in a chain: the rank itself, for all regions at once, with probability one where weights
      are drawn independently from densities, with biases or without;
    - any other chain: an upper bound of the rank, also with random weights. A convolution's matrix has equal and
      vanishing elements, so a product of such may lose rank that no count of units shows;
    - sums and concatenations, as in residual networks: the formula over all sites does not even bound the rank, since
      a shortcut goes past a dead branch. The minimum is then taken over the sites through which every path leads
      (between residual blocks, not within), and bounds the rank again.

    Args:
        observation: One batch, with the affine map.

    Returns:
        The sum over samples.

    References:
        Johansson 2022, eq. 2.3; proof in appendix A.1.
    """
    from reluscope_plugins.geometry.active_units import rank_bound

    bounds = rank_bound(observation)
    return Count(bounds.sum(), of=len(bounds))


@metric(dims=(), units="1", needs={"affine"}, of=RANKS)
def rank_deficiency(found: Ranks) -> float:
    r"""How far the rank lies below its closed formula, mean over samples.

    `affine_rank_bound` less `affine_rank`. Zero with probability one for fully connected layers with random weights,
    so what training adds to it are directions that the weights have made dependent, not units that have fallen silent.
    Negative only by rounding: where a product of ill-conditioned layers carries errors above the tolerance of the rank.

    Args:
        found: Means over samples.

    Returns:
        The mean.

    References:
        Johansson 2022, section 2.2.1, where the difference is assumed to stay zero during training.
    """
    return found.bound - found.rank
