"""How fast a network's output grows in the direction in which it grows fastest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from torch import Tensor

    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, needs={"affine"})
def slope(observation: Observation, *, p: float | str = 2.0, rtol: float = 1e-6) -> Tensor:
    r"""p-slope of the network at its output, mean over samples.

    $\frac{1}{N} \sum_n \lVert W_{R(x_n)} \rVert_p$ with
    $\lVert W \rVert_p = \sup_{\lVert v \rVert_p = 1} \lVert W v \rVert_p$. The source defines the slope by one-sided
    derivatives, $\sup_{\lVert v \rVert_p = 1} \lim_{t \downarrow 0} \lVert f(x + t v) - f(x) \rVert_p / t$, with the
    same $p$ for input and output; inside a region that is the operator norm. On a wall, the source's supremum takes
    each direction with the piece that it enters; what is given here is the norm of one of these pieces, that of
    torch's derivative (a ReLU at zero is off).

    For p = 1, 2 and inf exact: for p = 2 and more than 32 outputs and inputs within `rtol`, below. For other p what is
    given is attained, so a lower bound, and a local maximum at least; `slope_interval` gives an upper bound too.

    Cost: up to 32 outputs one backward pass each; beyond, for p = 2, two products with W a step of Lanczos, for the
    others one backward pass for each output. See `operator_norms`.

    Args:
        observation: One batch, with the affine map.
        p: Of the norms: 1, 2, `"inf"`, or another number above 1.
        rtol: Relative tolerance of the iterations.

    Returns:
        The mean.

    References:
        Johansson 2022, Def. 1; Johansson et al. 2021, "Slope and generalization properties of neural networks".
    """
    from reluscope_plugins.geometry.operator_norm import operator_norms

    return operator_norms(observation.affine(), p, rtol=rtol).lower.double().mean()
