"""Singular values of the map that a network applies on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=("feature",), units="1", minimum=0.0, needs={"affine"})
def singular_values(observation: Observation) -> Tensor:
    r"""Singular values of the local affine map, greatest first, mean over samples.

    $\frac{1}{N} \sum_n \sigma_i(W_{R(x_n)})$ for $i = 1, \dots, \min(n_{out}, n_{in})$, along the dim `feature`: how
    far the piece is stretched along its $i$th direction. Logits over inputs; units: one logit for one unit of input.

    Cost: as `affine_rank`.

    Args:
        observation: One batch, with the affine map.

    Returns:
        `(feature,)`.

    References:
        Johansson 2022, section 2.2.2.
    """
    from reluscope_plugins.geometry.spectrum import spectra

    return spectra(observation.affine()).double().mean(0)
