"""What every number system asks of weights, samples and parameters."""

from __future__ import annotations

import math

import torch

from reluscope.errors import NotFiniteError, RecipeError
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


def whole_number(name: str, value: int, least: int, most: int) -> int:
    """See to it that a parameter is an integer within bounds.

    Args:
        name: Of the parameter.
        value: What was got.
        least: Its least value.
        most: Its greatest.

    Returns:
        The value.

    Raises:
        RecipeError: If it is not.

    Example:
        >>> whole_number("bits", 8, 2, 16)
        8
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise RecipeError(f"{name}: got {value!r}, expected an integer from {least} to {most}")
    return value
