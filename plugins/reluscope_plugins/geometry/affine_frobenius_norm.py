"""Frobenius norm of the map that a network applies on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, needs={"affine"})
def affine_frobenius_norm(observation: Observation) -> Tensor:
    r"""Frobenius norm of the local affine map from input to output, mean over samples.

    $\frac{1}{N} \sum_n \lVert W_{R(x_n)} \rVert_F$, the root of the sum of the squared singular values: the stretch of
    all directions together, where the 2-slope is that of the fastest. From $W$ itself, without decomposing it.

    Cost: $W_R$ of each sample is formed.

    Args:
        observation: One batch, with the affine map.

    Returns:
        The mean.

    References:
        Johansson 2022, section 2.2.2 (eq. 2.7 bounds by it how the singular values of adjacent regions differ).
    """
    return observation.affine().weight.double().flatten(1).norm(dim=1).mean()
