"""A learning rate that is divided by a number at each of a few milestones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch.optim.lr_scheduler import LRScheduler

from reluscope.errors import RecipeError
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, positive, start_from

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer


class StepDecay(Resumable, LRScheduler):
    """The learning rate is multiplied by `gamma` at each milestone.

    Args:
        optimizer: Whose rates are moved.
        milestones: Optimizer steps, counted from 0, at which the next smaller rate begins.
        gamma: The factor.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = list(milestones)
        self.gamma = gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.
        """
        passed = sum(self.last_epoch >= milestone for milestone in self.milestones)
        return [rate * self.gamma**passed for rate in self.base_lrs]


def step_decay(
    optimizer: Optimizer,
    *,
    total_steps: int,
    base: float | None = None,
    gamma: float = 0.1,
    milestones: Sequence[float] = (0.5, 0.75),
) -> StepDecay:
    """Build a step decay: by default divided by ten after half of the training, and again for its last quarter.

    `rate(t) = base * gamma ** #{m in milestones : t >= round(m * total_steps)}`

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        base: Rate at the start; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.
        gamma: Factor at each milestone, above 0.
        milestones: Fractions of the training, rising, within 0..1; each is rounded to the nearest step.

    Returns:
        The scheduler.

    Raises:
        RecipeError: If a value is out of its range, or the milestones do not rise.

    References:
        Hartmann 2025, section 3.1: division by 10 after half of the epochs and again at the last quarter.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        >>> scheduler = step_decay(optimizer, total_steps=4, gamma=0.5)
        >>> rates = []
        >>> for _ in range(4):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 1.0, 0.5, 0.25]
    """
    total_steps = check_total_steps("step_decay", total_steps)
    gamma = positive("step_decay", "gamma", gamma)
    expected = "expected a list of fractions of the training, rising, each within 0..1, such as [0.5, 0.75]"
    if isinstance(milestones, str) or not isinstance(milestones, Sequence):
        raise RecipeError(f"scheduler 'step_decay': milestones is {milestones!r}, {expected}")
    for fraction in milestones:
        if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise RecipeError(f"scheduler 'step_decay': milestones hold {fraction!r}, {expected}")
    if any(later <= earlier for earlier, later in itertools.pairwise(milestones)):
        raise RecipeError(f"scheduler 'step_decay': milestones are {list(milestones)}, {expected}")
    start_from("step_decay", optimizer, base)
    return StepDecay(optimizer, [round(fraction * total_steps) for fraction in milestones], gamma)
