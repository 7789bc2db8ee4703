"""A learning rate that falls by the same factor at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from reluscope.errors import RecipeError
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, positive, start_from

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


class Exponential(Resumable, LRScheduler):
    """The learning rate is multiplied by the same factor at every step.

    It is computed from the number of the step. `torch.optim.lr_scheduler.ExponentialLR` multiplies the rate in force,
    so that its rounding adds up and a rate kept in single precision may stop to move.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        final_factor: The rate after the last step is the first multiplied by this.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, final_factor: float) -> None:
        self.total_steps = total_steps
        self.final_factor = final_factor
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.

        Raises:
            RecipeError: If there are more steps than the schedule was built for.
        """
        if self.last_epoch > self.total_steps:
            raise RecipeError(
                f"scheduler 'exponential': step {self.last_epoch} of a schedule built for {self.total_steps}; build it "
                "with the total_steps of the whole training"
            )
        factor = self.final_factor ** (self.last_epoch / self.total_steps)
        return [rate * factor for rate in self.base_lrs]


def exponential(
    optimizer: Optimizer, *, total_steps: int, base: float | None = None, final_factor: float = 0.01
) -> Exponential:
    """Build an exponential schedule: from `base` to `base * final_factor`, by the same factor at every step.

    `rate(t) = base * final_factor ** (t / total_steps)`

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        base: Rate at the start; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.
        final_factor: What the rate has been multiplied by after the last step, above 0. The default is where
            `step_decay` ends. Above 1 the rate rises, as in a learning-rate range test.

    Returns:
        The scheduler.

    References:
        `torch.optim.lr_scheduler.ExponentialLR` with `gamma = final_factor ** (1 / total_steps)`.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = exponential(optimizer, total_steps=4, final_factor=1 / 16)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates, scheduler.get_last_lr()
        ([1.0, 0.5, 0.25, 0.125], [0.0625])
    """
    total_steps = check_total_steps("exponential", total_steps)
    final_factor = positive("exponential", "final_factor", final_factor)
    start_from("exponential", optimizer, base)
    return Exponential(optimizer, total_steps, final_factor)
