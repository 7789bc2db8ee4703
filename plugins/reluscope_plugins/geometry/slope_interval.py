"""Bounds of how fast a network's output grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=("bound",), units="1", minimum=0.0, needs={"affine"})
def slope_interval(observation: Observation, *, p: float | str = 2.0, rtol: float = 1e-6) -> Tensor:
    r"""Interval that holds the p-slope of the network at its output, mean of both ends over samples.

    Both ends are equal where the slope is known up to rounding: for p = 1 and inf, and for p = 2 up to 32 outputs or
    inputs. Beyond, for p = 2, the upper is `1 + rtol` times the lower, and holds with probability at least
    $1 - 10^{-10}$ for each sample. For other p it comes from the norms for 1, 2 and inf, and may lie well above.

    Cost: as `slope`.

    Args:
        observation: One batch, with the affine map.
        p: Of the norms: 1, 2, `"inf"`, or another number above 1.
        rtol: Relative tolerance of the iterations.

    Returns:
        Lower and upper end, `(bound,)`.

    References:
        Johansson 2022, Def. 1; for the bounds see `operator_norms`.
    """
    import torch

    from reluscope_plugins.geometry.operator_norm import operator_norms

    norms = operator_norms(observation.affine(), p, rtol=rtol)
    return torch.stack([norms.lower, norms.upper]).double().mean(1)
