"""What goes into the layers of a network in a number system: rounded, in memory that one layer after the other uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class Scratch:
    """Memory of one pass, taken by one layer after the other.

    Each rounded input is used by one product, and forgotten: new memory for each, which the system clears page by page,
    takes longer than rounding. Copies and pickles are empty.
    """

    def __init__(self) -> None:
        self._spare: list[Tensor] = []

    @contextmanager
    def like(self, x: Tensor, keep: bool) -> Iterator[Tensor]:
        """Lend memory.

        Args:
            x: A tensor on the CPU.
            keep: Whether the memory is lent again afterwards; else it is freed.

        Yields:
            A tensor of the shape and dtype of `x`, of any values, which lie side by side in the order of those of `x`.
        """
        spare = self._spare.pop() if self._spare else None
        if spare is None or spare.dtype != x.dtype or spare.numel() < x.numel():
            spare = None  # freed ahead of the larger one
            with torch.inference_mode(False):  # it may be lent outside of it
                spare = torch.empty(x.numel(), dtype=x.dtype, device=x.device)
        order = memory_order(x)
        laid = spare[: x.numel()].view([x.shape[dim] for dim in order])
        yield laid.permute([order.index(dim) for dim in range(x.ndim)])
        if keep:
            self._spare = [spare]

    def __reduce__(self) -> tuple[type[Scratch], tuple[()]]:
        """Leave the memory behind.

        Returns:
            What makes an empty one.
        """
        return Scratch, ()


def memory_order(x: Tensor) -> list[int]:
    """Order the dims as they lie in memory, the one of the longest steps first.

    Args:
        x: Any tensor.

    Returns:
        The dims; where values lie side by side, such as with channels last, `x.permute` of them is contiguous.

    Example:
        >>> memory_order(torch.zeros(2, 3, 4, 5).to(memory_format=torch.channels_last))
        [0, 2, 3, 1]
    """
    return sorted(range(x.ndim), key=x.stride, reverse=True)


def forgotten(x: Tensor, *others: Tensor | None) -> bool:
    """Say whether a product's input is forgotten after it.

    Args:
        x: The input.
        *others: What it is multiplied with.

    Returns:
        Whether it is a plain tensor on the CPU, of which neither autograd nor anyone who listens to torch's functions
        can keep a copy.
    """
    wanted: Any = torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in (x, *others))
    listened = torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack()
    return not wanted and not listened and x.device.type == "cpu" and type(x) in (Tensor, torch.nn.Parameter)
