"""Rounding to a grid of fixed width, in one pass over memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from reluscope.kernels import compiled, shared_out
from reluscope.rounded_inputs import memory_order

Array = np.ndarray[Any, Any]

BLOCK = 1 << 12
"""Values that are rounded before those beyond the grid are counted, if there are any: they stay in the cache."""


def nearest_on_grid(
    values: torch.Tensor, fraction_bits: int, least: int, most: int, out: torch.Tensor | None = None
) -> tuple[torch.Tensor, int, bool]:
    """Round to the nearest multiple of a power of two, at half to the even one, and beyond the grid to its end.

    Args:
        values: float32 or float64 on the CPU, any shape.
        fraction_bits: The grid's width is 2^-fraction_bits.
        least: Its first multiple.
        most: Its last.
        out: Where they are written: of the same shape and dtype, values side by side in the order of `values`; None
            takes new memory.

    Returns:
        The values on the grid, exact, laid out in memory as `values`; how many lay beyond it; and whether all of them
        were finite.

    Example:
        >>> nearest_on_grid(torch.tensor([0.1, 0.5, 1.5, 9.0]), 0, -4, 3)
        (tensor([0., 0., 2., 3.]), 1, True)
    """
    order = memory_order(values)
    laid = values.detach().permute(order).contiguous()
    rounded = torch.empty_like(laid) if out is None else out.permute(order)
    flat, room = laid.view(-1).numpy(), rounded.view(-1).numpy()
    scale = flat.dtype.type(2.0**fraction_bits)
    step, first, last = 1 / scale, flat.dtype.type(least), flat.dtype.type(most)
    beyond: list[int] = []

    def work(part: slice) -> bool:
        outside, finite = _round(flat[part], scale, step, first, last, room[part])
        beyond.append(outside)
        return bool(finite)

    finite = shared_out(len(flat), work, flat.nbytes)
    return rounded.permute([order.index(dim) for dim in range(values.ndim)]), sum(beyond), finite


@compiled
def _round(values: Array, scale: Any, step: Any, least: Any, most: Any, out: Array) -> Any:
    outside, finite = 0, True
    for first in range(0, len(values), BLOCK):
        block, kept = values[first : first + BLOCK], out[first : first + BLOCK]
        beyond = scale - scale
        for place in range(len(block)):
            nearest = np.rint(block[place] * scale)
            # written out, as the compiler makes one instruction of it; NaN becomes the least
            inside = nearest if nearest > least else least
            inside = inside if inside < most else most
            beyond += abs(nearest - inside)
            kept[place] = inside * step
        if beyond != 0:  # or NaN
            total = scale - scale
            for place in range(len(block)):
                total += block[place] * (scale - scale)
                nearest = np.rint(block[place] * scale)
                outside += (nearest < least) | (nearest > most)
            finite = finite and total == 0
    return outside, finite
