"""Numerical rank of a stack of matrices."""

from __future__ import annotations

import torch
from torch import Tensor

from reluscope.errors import ObservationError


def numerical_rank(matrices: Tensor, *, rtol: float | None = None) -> Tensor:
    """Count singular values that are not rounding.

    Args:
        matrices: `(sample, out, in)`; half precision is decomposed in float32.
        rtol: A singular value counts if it is above `rtol` times the greatest one. None takes NumPy's `matrix_rank`
            tolerance: `max(out, in)` times the rounding unit of the dtype.

    Returns:
        The ranks, int64 `(sample,)`.

    Raises:
        ObservationError: If the tolerance is negative or not a number.

    Example:
        >>> numerical_rank(torch.stack([torch.eye(3), torch.zeros(3, 3), torch.ones(3, 3)])).tolist()
        [3, 0, 1]
    """
    if matrices.dtype in (torch.float16, torch.bfloat16):
        matrices = matrices.float()
    if rtol is None:
        rtol = max(matrices.shape[-2:]) * torch.finfo(matrices.dtype).eps
    if not rtol >= 0.0:
        raise ObservationError(
            f"rtol: got {rtol!r}, expected a number from 0 on, such as 1e-6; None takes NumPy's tolerance"
        )
    values = torch.linalg.svdvals(matrices)
    return (values > rtol * values.amax(-1, keepdim=True)).sum(-1)
