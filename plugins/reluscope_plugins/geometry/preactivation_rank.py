"""Rank of the map from the input to each layer, on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=("site",), units="1", minimum=0.0, needs={"affine"})
def preactivation_rank(observation: Observation, *, rtol: float | None = None) -> dict[str, Count]:
    r"""Rank of the local affine map from input to each pre-activation, mean over samples.

    $\frac{1}{N} \sum_n \operatorname{rank} W_{R(x_n)}^{(l)}$, where $W_R^{(l)} = W_l Z_{l-1} \cdots Z_1 W_1$ maps the
    input to the pre-activation of site $l$, all its positions together. Where it falls from one site to the next, the
    network loses directions of the input.

    Cost: one map of each site is formed and decomposed for each sample, so about `sites` times what `affine_rank`
    takes, with `out` the units times positions of the site: for convolutions on large images measure few samples.

    Args:
        observation: One batch, with the affine map.
        rtol: Relative tolerance; None takes NumPy's, `max(out, in)` times the rounding unit of the dtype.

    Returns:
        Site to the sum of the ranks, of all samples.

    References:
        Johansson 2022, section 2.2.1, layer by layer.
    """
    from reluscope_plugins.geometry.numerical_rank import numerical_rank

    ranks = {site: numerical_rank(observation.affine(site).weight, rtol=rtol) for site in observation.sites}
    return {site: Count(found.sum(), of=len(found)) for site, found in ranks.items()}
