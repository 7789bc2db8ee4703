"""A learning rate that falls by the same factor at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from reluscope.errors import RecipeError
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, positive, start_from, whole

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


class Exponential(Resumable, LRScheduler):
    """The learning rate is multiplied by the same factor at every step, or after each of equal stages.

    It is computed from the number of the step. `torch.optim.lr_scheduler.ExponentialLR` multiplies the rate in force,
    so that its rounding adds up and a rate kept in single precision may stop to move.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        final_factor: The rate after the last step is the first multiplied by this.
        stages: Equal parts of the training in which the rate stays the same.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, final_factor: float, stages: int) -> None:
        self.total_steps = total_steps
        self.stages = stages
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
        factor = self.final_factor ** (self.last_epoch * self.stages // self.total_steps / self.stages)
        return [rate * factor for rate in self.base_lrs]


def exponential(
    optimizer: Optimizer,
    *,
    total_steps: int,
    base: float | None = None,
    final_factor: float = 0.01,
    stages: int | None = None,
) -> Exponential:
    """Build an exponential schedule: from `base` to `base * final_factor`, by the same factor at every step.

    `rate(t) = base * final_factor ** (t / total_steps)`; with stages `base * final_factor ** (k / stages)` after `k` of
    them.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        base: Rate at the start; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.
        final_factor: What the rate has been multiplied by after the last step, above 0. The default is where
            `step_decay` ends. Above 1 the rate rises, as in a learning-rate range test.
        stages: In how many equal parts of the training the rate stays the same: the number of epochs makes it fall
            after each of them. None changes it at every step.

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
    stages = total_steps if stages is None else whole("exponential", "stages", stages, 1)
    start_from("exponential", optimizer, base)
    return Exponential(optimizer, total_steps, final_factor, stages)
