"""One rise of the learning rate to a peak, and one long fall."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch.optim.lr_scheduler import OneCycleLR

from reluscope.errors import RecipeError, nearest
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, cycles_momentum, group_rates, positive

if TYPE_CHECKING:
    import torch
    from torch.optim import Optimizer

ANNEALING = ("cos", "linear")


class OneCycle(Resumable, OneCycleLR):
    """torch's one-cycle schedule, which after the last step holds its last rate."""

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.

        Raises:
            RecipeError: If there are more steps than the schedule was built for.
        """
        if self.last_epoch > self.total_steps:
            raise RecipeError(
                f"scheduler 'one_cycle': step {self.last_epoch} of a schedule built for {self.total_steps}; build it "
                "with the total_steps of the whole training"
            )
        # torch's formula runs past its end here: the cosine turns up again and the line falls below zero.
        if self.last_epoch == self.total_steps:
            return [group["lr"] for group in self.optimizer.param_groups]
        return super().get_lr()


def one_cycle(
    optimizer: Optimizer,
    *,
    total_steps: int,
    peak: float,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal_strategy: Literal["cos", "linear"] = "cos",
    cycle_momentum: bool | None = None,
) -> OneCycle:
    """Build a one-cycle schedule: from `peak / div_factor` up to `peak`, then down to almost nothing.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        peak: Greatest rate; the first parameter group gets it, the others keep their ratio to it.
        pct_start: Fraction of the training spent on the rise, between 0 and 1.
        div_factor: The first rate is the peak divided by this.
        final_div_factor: The last rate is the first divided by this.
        anneal_strategy: `"cos"` or `"linear"`.
        cycle_momentum: Whether the momentum falls from 0.95 to 0.85 while the rate rises, and back. None: where the
            optimizer has momentum.

    Returns:
        The scheduler.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Smith and Topin 2019, as `torch.optim.lr_scheduler.OneCycleLR` has it.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> [round(rate, 12) for rate in one_cycle(optimizer, total_steps=10, peak=0.5).get_last_lr()]
        [0.02]
    """
    name = "one_cycle"
    total_steps = check_total_steps(name, total_steps)
    pct_start = positive(name, "pct_start", pct_start)
    if pct_start >= 1:
        raise RecipeError(f"scheduler {name!r}: pct_start is {pct_start}, expected a fraction between 0 and 1")
    if anneal_strategy not in ANNEALING:
        raise RecipeError(
            f"scheduler {name!r}: anneal_strategy is {anneal_strategy!r}. {nearest(str(anneal_strategy), ANNEALING)}"
        )
    # torch divides zero by zero where the rise is exactly one step long.
    if pct_start * total_steps == 1:
        pct_start *= 1 + 1e-9
    return OneCycle(
        optimizer,
        max_lr=group_rates(name, optimizer, positive(name, "peak", peak)),
        total_steps=total_steps,
        pct_start=pct_start,
        div_factor=positive(name, "div_factor", div_factor),
        final_div_factor=positive(name, "final_div_factor", final_div_factor),
        anneal_strategy=anneal_strategy,
        cycle_momentum=cycles_momentum(name, optimizer, cycle_momentum),
    )
