"""A learning rate that stays as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, start_from

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


class ConstantRate(Resumable, LRScheduler):
    """The learning rate of each parameter group stays as it is."""

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates.

        Returns:
            The rate of each parameter group.
        """
        return list(self.base_lrs)


def constant(optimizer: Optimizer, *, total_steps: int, base: float | None = None) -> ConstantRate:
    """Build a schedule that keeps the learning rate.

    Args:
        optimizer: Whose rates are kept.
        total_steps: Number of optimizer steps of the whole training.
        base: The rate; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.

    Returns:
        The scheduler.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> constant(optimizer, total_steps=10, base=0.05).get_last_lr()
        [0.05]
    """
    check_total_steps("constant", total_steps)
    start_from("constant", optimizer, base)
    return ConstantRate(optimizer)
