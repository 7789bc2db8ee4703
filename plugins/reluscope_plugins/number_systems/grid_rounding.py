"""Rounding to a grid of fixed width, in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reluscope.kernels import compiled, shared_out

Array = np.ndarray[Any, Any]


def nearest_on_grid(values: torch.Tensor, fraction_bits: int, least: int, most: int) -> tuple[torch.Tensor, int, bool]:
    """Round to the nearest multiple of a power of two, at half to the even one, and beyond the grid to its end.

    Args:
        values: float32 or float64 on the CPU, any shape.
        fraction_bits: The grid's width is 2^-fraction_bits.
        least: Its first multiple.
        most: Its last.

    Returns:
        The values on the grid, exact; how many lay beyond it; and whether all of them were finite.

    Example:
        >>> nearest_on_grid(torch.tensor([0.1, 0.5, 1.5, 9.0]), 0, -4, 3)
        (tensor([0., 0., 2., 3.]), 1, True)
    """
    flat = values.detach().contiguous().view(-1).numpy()
    rounded = torch.empty(values.shape, dtype=values.dtype)
    out = rounded.view(-1).numpy()
    scale = flat.dtype.type(2.0**fraction_bits)
    step, first, last = 1 / scale, flat.dtype.type(least), flat.dtype.type(most)
    beyond: list[int] = []

    def work(part: slice) -> bool:
        outside, total = _round(flat[part], scale, step, first, last, out[part])
        beyond.append(outside)
        return bool(total == 0)

    finite = shared_out(len(flat), work, flat.nbytes)
    return rounded, sum(beyond), finite


@compiled
def _round(values: Array, scale: Any, step: Any, least: Any, most: Any, out: Array) -> Any:
    outside, total = 0, scale - scale
    nothing = total
    for place in range(len(values)):
        value = values[place]
        total += value * nothing  # NaN for what is not finite
        nearest = np.rint(value * scale)
        outside += (nearest < least) | (nearest > most)
        out[place] = min(max(nearest, least), most) * step
    return outside, total
