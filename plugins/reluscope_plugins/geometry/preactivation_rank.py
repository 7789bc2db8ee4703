"""Rank of the map from the input to each layer, on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=("site",), units="1", minimum=0.0, needs={"affine"})
class preactivation_rank:
    r"""Rank of the local affine map from input to each pre-activation, mean over samples.

    $\frac{1}{N} \sum_n \operatorname{rank} W_{R(x_n)}^{(l)}$, where $W_R^{(l)} = W_l Z_{l-1} \cdots Z_1 W_1$ maps the
    input to the pre-activation of site $l$, all its positions together. Where it falls from one site to the next, the
    network loses directions of the input.

    Cost: one map of each site is formed and decomposed for each sample, so about `sites` times what `affine_rank`
    takes, with `out` the units times positions of the site: for convolutions on large images measure few samples.

    Args:
        rtol: Relative tolerance; None takes NumPy's, `max(out, in)` times the rounding unit of the dtype.

    References:
        Johansson 2022, section 2.2.1, layer by layer.
    """

    def __init__(self, *, rtol: float | None = None) -> None:
        self.rtol = rtol

    def measure(self, observation: Observation) -> dict[str, list[int]]:
        """Add up ranks.

        Args:
            observation: One batch, with the affine map.

        Returns:
            Site to the sum of the ranks and the number of samples.
        """
        from reluscope_plugins.geometry.numerical_rank import numerical_rank

        sums = {}
        for site in observation.sites:
            ranks = numerical_rank(observation.affine(site).weight, rtol=self.rtol)
            sums[site] = [int(ranks.sum()), ranks.numel()]
        return sums

    def merge(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        """Add, site by site.

        Args:
            first: One state.
            second: Another.

        Returns:
            The state of both.
        """
        states = (first, second)
        return {
            site: [sum(state[site][part] for state in states if site in state) for part in (0, 1)]
            for site in {**first, **second}
        }

    def finish(self, state: dict[str, Any]) -> dict[str, float]:
        """Divide.

        Args:
            state: The state of all data.

        Returns:
            Site to the mean rank.
        """
        return {site: total / samples for site, (total, samples) in state.items()}
