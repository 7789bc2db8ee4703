"""Numerical rank of a stack of matrices."""

from __future__ import annotations

import torch
from torch import Tensor


def numerical_rank(matrices: Tensor, *, rtol: float | None = None) -> Tensor:
    """Count singular values that are not rounding.

    Args:
        matrices: `(sample, out, in)`; half precision is decomposed in float32.
        rtol: A singular value counts if it is above `rtol` times the greatest one. None takes NumPy's `matrix_rank`
            tolerance: `max(out, in)` times the rounding unit of the dtype.

    Returns:
        The ranks, int64 `(sample,)`.

    Example:
        >>> numerical_rank(torch.stack([torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3)])).tolist()
        [3, 0, 1]
    """
    if matrices.dtype in (torch.float16, torch.bfloat16):
        matrices = matrices.float()
    if rtol is None:
        rtol = max(matrices.shape[-2:]) * torch.finfo(matrices.dtype).eps
    values = torch.linalg.svdvals(matrices)
    return (values > rtol * values.amax(-1, keepdim=True)).sum(-1)
