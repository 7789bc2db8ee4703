"""What every number system asks of weights."""

from __future__ import annotations

import math

import torch

from reluscope.errors import NotFiniteError
from reluscope.finite import total, trouble


def finite_weight(weight: torch.Tensor) -> torch.Tensor:
    """See to it that a weight can be written down.

    Args:
        weight: Floating point, any shape.

    Returns:
        The weight, detached and without a copy; half precision in float32, which holds it exactly.

    Raises:
        TypeError: If it is not floating point.
        NotFiniteError: If it holds NaN or infinity.

    Example:
        >>> finite_weight(torch.tensor([0.5], dtype=torch.bfloat16)).dtype
        torch.float32
    """
    if not weight.is_floating_point():
        raise TypeError(f"weight of {weight.dtype}: expected floating point; convert it with .float()")
    if not math.isfinite(float(total(weight))) and (what := trouble(weight)):
        raise NotFiniteError(
            f"the weight holds {what}; expected finite values; training may have diverged: go back to an earlier state"
        )
    weight = weight.detach()
    return weight if weight.dtype in (torch.float32, torch.float64) else weight.float()
