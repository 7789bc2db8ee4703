"""A hook on an optimizer's step that does not keep alive what it calls."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.optim import Optimizer


def call_before_step(
    optimizer: Optimizer, method: Callable[[Optimizer, tuple[Any, ...], dict[str, Any]], None]
) -> None:
    """Have a method called before each step of an optimizer, as long as its object is in use.

    Afterwards the hook does nothing. It does not take itself out, for its object may go while the optimizer walks
    through its hooks.

    Args:
        optimizer: Whose steps.
        method: A bound method that takes the optimizer, and the arguments of its step.
    """
    reference = weakref.WeakMethod(method)

    def hook(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        called = reference()
        if called is not None:
            called(optimizer, args, kwargs)

    optimizer.register_step_pre_hook(hook)
