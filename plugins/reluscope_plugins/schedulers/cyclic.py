"""A learning rate that goes up and down between two values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch.optim.lr_scheduler import CyclicLR

from reluscope.errors import RecipeError, nearest
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, cycles_momentum, group_rates, positive

if TYPE_CHECKING:
    from torch.optim import Optimizer

MODES = ("triangular", "triangular2")


class Cyclic(Resumable, CyclicLR):
    """torch's cyclical schedule, with a state in plain types."""


def cyclic(
    optimizer: Optimizer,
    *,
    total_steps: int,
    base: float,
    peak: float,
    cycles: float | None = None,
    period: float | None = None,
    mode: Literal["triangular", "triangular2"] = "triangular",
    cycle_momentum: bool | None = None,
) -> Cyclic:
    """Build a cyclical schedule: up from `base` to `peak` and down again, with corners.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        base: Least rate; the first parameter group gets it, the others keep their ratio to it.
        peak: Greatest rate, above `base`.
        cycles: Number of cycles in the whole training; 4 unless `period` is given.
        period: Optimizer steps of one cycle, at least 2; instead of `cycles`.
        mode: `"triangular"`, or `"triangular2"`, where each cycle is half as high as the one before.
        cycle_momentum: Whether the momentum falls from 0.9 to 0.8 while the rate rises, and back. None: where the
            optimizer has momentum.

    Returns:
        The scheduler.

    Raises:
        RecipeError: If a value is out of its range, or both `cycles` and `period` are given.

    References:
        Smith 2017, as `torch.optim.lr_scheduler.CyclicLR` has it.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        >>> scheduler = cyclic(optimizer, total_steps=8, base=1.0, peak=3.0, cycles=2)
        >>> rates = []
        >>> for _ in range(8):
        ...     rates += scheduler.get_last_lr()
        ...     optimizer.step()
        ...     scheduler.step()
        >>> rates
        [1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]
    """
    name = "cyclic"
    total_steps = check_total_steps(name, total_steps)
    base, peak = positive(name, "base", base), positive(name, "peak", peak)
    if peak <= base:
        raise RecipeError(f"scheduler {name!r}: peak is {peak} and base {base}, expected a peak above the base")
    if cycles is not None and period is not None:
        raise RecipeError(
            f"scheduler {name!r}: both cycles ({cycles!r}) and period ({period!r}) are given; give one of them"
        )
    length = (
        positive(name, "period", period)
        if period is not None
        else total_steps / positive(name, "cycles", 4 if cycles is None else cycles)
    )
    if length < 2:
        raise RecipeError(
            f"scheduler {name!r}: a cycle would take {length:g} optimizer steps, expected at least 2; ask for fewer "
            f"cycles in {total_steps} steps, or a longer period"
        )
    if mode not in MODES:
        raise RecipeError(f"scheduler {name!r}: mode is {mode!r}. {nearest(str(mode), MODES)}")
    return Cyclic(
        optimizer,
        base_lr=group_rates(name, optimizer, base),
        max_lr=group_rates(name, optimizer, peak),
        step_size_up=length / 2,  # type: ignore[arg-type]  # torch turns it into a float at once
        mode=mode,
        cycle_momentum=cycles_momentum(name, optimizer, cycle_momentum),
    )
