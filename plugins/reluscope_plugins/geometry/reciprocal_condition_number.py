"""How far from losing rank the map is that a network applies on the piece that holds an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs={"affine"})
def reciprocal_condition_number(observation: Observation) -> Tensor:
    r"""Least over greatest singular value of the local affine map, mean over samples.

    $\frac{1}{N} \sum_n \sigma_r(W_{R(x_n)}) / \sigma_1(W_{R(x_n)})$ with $r = \min(n_{out}, n_{in})$, the inverse of
    the condition number: 1 where the map stretches all directions alike, 0 where it loses one, and for the zero map.
    The condition number itself is infinite there, so that one such sample would hide all others in the mean; of
    each sample, `reluscope_plugins.geometry.spectrum.condition_numbers` gives it.

    Cost: as `affine_rank`.

    Args:
        observation: One batch, with the affine map.

    Returns:
        The mean.

    References:
        Johansson 2022, section 2.2.2; the quantity is LAPACK's `rcond`, for the 2-norm.
    """
    from reluscope_plugins.geometry.spectrum import condition_numbers, spectra

    return (1 / condition_numbers(spectra(observation.affine())).double()).mean()
