"""Singular values of local affine maps, and what follows from them."""

from __future__ import annotations

import torch
from torch import Tensor

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError


def spectra(affine_map: AffineMap) -> Tensor:
    r"""Decompose W of each sample.

    W is formed, `min(out, in)` passes and `sample * out * in` numbers, and decomposed as it stands: the eigenvalues of
    $W W^\top$ would lose what is below the square root of the rounding unit. Half precision is decomposed in float32.

    Args:
        affine_map: W of each sample.

    Returns:
        Singular values, greatest first, `(sample, feature)` with `min(out, in)` features.

    Raises:
        ObservationError: If the network is not affine on a piece, or W overflows.

    Example:
        >>> from reluscope.observation import observe
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.tensor([[0.0, 2.0], [3.0, 0.0]])), model[0].bias.fill_(9.0)
        >>> spectra(observe(model, torch.zeros(1, 2), affine=True).affine()).tolist()
        [[3.0, 2.0]]
    """
    weight = affine_map.weight
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()
    for sample in (~weight.isfinite().all(-1).all(-1)).nonzero().flatten().tolist():
        raise ObservationError(
            f"the affine map at sample {sample} has entries that are not finite, expected numbers: products of the "
            f"weights overflow in {affine_map.dtype}; use float64"
        )
    return torch.linalg.svdvals(weight)


def condition_numbers(values: Tensor) -> Tensor:
    r"""Divide the greatest singular value by the least, $\sigma_1 / \sigma_r$ with $r = \min(n_{out}, n_{in})$.

    Args:
        values: Singular values, greatest first, `(sample, feature)`.

    Returns:
        `(sample,)`; infinite where the least is zero, for the zero map too. By rounding, the least of a map that lacks
        rank is a multiple of the rounding unit rather than zero: compare with `numerical_rank`.

    Example:
        >>> condition_numbers(torch.tensor([[4.0, 2.0], [1.0, 0.0], [0.0, 0.0]])).tolist()
        [2.0, inf, inf]
    """
    greatest, least = values[:, 0], values[:, -1]
    return torch.where(least > 0, greatest / least, torch.inf)
