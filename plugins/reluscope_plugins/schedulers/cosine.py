"""A learning rate that falls along half a cosine."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from reluscope.errors import RecipeError
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, start_from

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


class Cosine(Resumable, LRScheduler):
    """The learning rate rises along a line, where asked to, and then falls along half a cosine.

    It is computed from the number of the step. `torch.optim.lr_scheduler.CosineAnnealingLR` goes on from the rate in
    force, so that its rounding adds up, and has one last rate for all parameter groups, whose ratio it so loses.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        final_factor: The rate after the last step is the greatest multiplied by this.
        warmup_steps: Steps before the greatest rate is reached, less than `total_steps`.
    """

    def __init__(
        self, optimizer: Optimizer, total_steps: int, final_factor: float = 0.0, warmup_steps: int = 0
    ) -> None:
        self.total_steps = total_steps
        self.final_factor = final_factor
        self.warmup_steps = warmup_steps
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
                f"scheduler 'cosine': step {self.last_epoch} of a schedule built for {self.total_steps}; build it "
                "with the total_steps of the whole training"
            )
        if self.last_epoch < self.warmup_steps:
            factor = (self.last_epoch + 1) / (self.warmup_steps + 1)
        else:
            done = (self.last_epoch - self.warmup_steps) / (self.total_steps - self.warmup_steps)
            factor = self.final_factor + (1 - self.final_factor) * (1 + math.cos(math.pi * done)) / 2
        return [rate * factor for rate in self.base_lrs]


def cosine(
    optimizer: Optimizer,
    *,
    total_steps: int,
    base: float | None = None,
    final_factor: float = 0.0,
    warmup: float = 0.0,
) -> Cosine:
    """Build a cosine schedule: from `base` to `base * final_factor`, slowly at first, fast in the middle, slowly last.

    With `W = round(warmup * total_steps)` and `f = final_factor`:
    `rate(t) = base * (t + 1) / (W + 1)` for `t < W`, and from there on
    `rate(t) = base * (f + (1 - f) * (1 + cos(pi * (t - W) / (total_steps - W))) / 2)`.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        base: Greatest rate; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.
        final_factor: What the greatest rate has been multiplied by after the last step, within 0..1. At 0 the rate is
            0 only after the last step, so that every step moves.
        warmup: Fraction of the training, at least 0 and below 1, in which the rate rises along a line; rounded to the
            nearest step, but at least one step is left for the fall.

    Returns:
        The scheduler.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Loshchilov and Hutter 2017 (SGDR), equation 5, without restarts.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> scheduler = cosine(optimizer, total_steps=4, base=1.0, warmup=0.25)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> [round(rate, 12) for rate in rates], scheduler.get_last_lr()
        ([0.5, 1.0, 0.75, 0.25], [0.0])
    """
    total_steps = check_total_steps("cosine", total_steps)
    if not _number(final_factor) or not 0 <= final_factor <= 1:
        raise RecipeError(f"scheduler 'cosine': final_factor is {final_factor!r}, expected a number within 0..1")
    if not _number(warmup) or not 0 <= warmup < 1:
        raise RecipeError(
            f"scheduler 'cosine': warmup is {warmup!r}, expected a fraction of the training, at least 0 and below 1"
        )
    start_from("cosine", optimizer, base)
    return Cosine(optimizer, total_steps, float(final_factor), min(round(warmup * total_steps), total_steps - 1))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
