"""Weights of a whole layer part by part, so that what lies between takes no memory to speak of."""

from __future__ import annotations

from collections.abc import Callable

import torch

PART = 1 << 20
"""Weights that are looked at in one go."""


def parts(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Split a tensor into vectors, in the order in which its numbers lie in memory.

    Args:
        tensor: Any shape.

    Returns:
        Views of it; of a copy where there are gaps between its numbers.

    Example:
        >>> parts(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
        (tensor([1., 2., 3., 4.]),)
    """
    return (tensor if _dense(tensor) else tensor.clone()).as_strided((tensor.numel(),), (1,)).split(PART)


def by_parts(
    value: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor], out: torch.Tensor | None = None
) -> torch.Tensor:
    """Apply a function part by part.

    Args:
        value: Any shape.
        function: Of a vector, element by element.
        out: Where results are written: what `torch.empty_like(value)` gives, of any dtype, or the value itself where
            that is contiguous; None takes new memory, contiguous and of the dtype of `value`.

    Returns:
        `out`.

    Example:
        >>> by_parts(torch.tensor([[1.0, -2.0]]), torch.abs)
        tensor([[1., 2.]])
    """
    if out is None:
        value = value.contiguous()
        out = torch.empty_like(value)
    for part, room in zip(parts(value), parts(out), strict=True):
        room.copy_(function(part))
    return out


def summed(value: torch.Tensor, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Sum a function of all weights in double precision, without a copy of single precision in double.

    Args:
        value: Any shape.
        function: Of a vector, element by element.

    Returns:
        A float64 scalar.

    Example:
        >>> summed(torch.tensor([1.0, -2.0]), torch.abs)
        tensor(3., dtype=torch.float64)
    """
    if value.dtype == torch.float64:
        return by_parts(value, function, torch.empty_like(value)).sum()
    return torch.stack([function(part).sum(dtype=torch.float64) for part in parts(value)]).sum()


def _dense(tensor: torch.Tensor) -> bool:
    step = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != step:
            return False
        step *= size
    return True
