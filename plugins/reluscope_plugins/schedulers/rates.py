"""What all schedules share: checked numbers, rates in proportion, and states that can be saved and loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from reluscope.errors import RecipeError

if TYPE_CHECKING:
    from torch.optim import Optimizer


def positive(scheduler: str, name: str, value: Any) -> float:
    """Check a positive number.

    Args:
        scheduler: Name of the schedule, for the message.
        name: Name of the parameter.
        value: What was got.

    Returns:
        The number.

    Raises:
        RecipeError: If it is not a finite number above zero.

    Example:
        >>> positive("one_cycle", "peak", 1)
        1.0
        >>> positive("one_cycle", "peak", -1)
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: scheduler 'one_cycle': peak is -1, expected a number above 0
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise RecipeError(f"scheduler {scheduler!r}: {name} is {value!r}, expected a number above 0")
    return float(value)


def whole(scheduler: str, name: str, value: Any, least: int) -> int:
    """Check an integer.

    Args:
        scheduler: Name of the schedule, for the message.
        name: Name of the parameter.
        value: What was got.
        least: The smallest that is allowed.

    Returns:
        The integer.

    Raises:
        RecipeError: If it is no integer, or a smaller one.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise RecipeError(f"scheduler {scheduler!r}: {name} is {value!r}, expected an integer of at least {least}")
    return value


def check_class(scheduler: str, name: str, value: Any, expected: type, what: str) -> None:
    """Check of what class an argument is.

    Args:
        scheduler: Name of the schedule, for the message.
        name: Name of the parameter.
        value: What was got.
        expected: The class.
        what: What to give, for the message.

    Raises:
        RecipeError: If it is of another class.

    Example:
        >>> check_class("actcoolr", "per_group", "no", bool, "true or false")
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: scheduler 'actcoolr': per_group is of class str, expected bool; give true or false
    """
    if not isinstance(value, expected):
        raise RecipeError(
            f"scheduler {scheduler!r}: {name} is of class {type(value).__name__}, expected {expected.__name__}; give "
            f"{what}"
        )


def check_state(scheduler: str, state: Mapping[str, Any], expected: set[str]) -> None:
    """Check that a state is one of this schedule.

    Args:
        scheduler: Name of the schedule, for the message.
        state: What was got.
        expected: The keys that it has.

    Raises:
        RecipeError: If keys are missing, or others are there.
    """
    check_class(scheduler, "state_dict", state, Mapping, "what state_dict gave")
    missing, unknown = sorted(expected - {*state}), sorted({*map(str, state)} - expected)
    if missing or unknown:
        found = [f"without {missing}"] * bool(missing) + [f"with the unknown keys {unknown}"] * bool(unknown)
        raise RecipeError(
            f"scheduler {scheduler!r}: a state {' and '.join(found)}, expected what its own state_dict gives; load a "
            "state that this version of the scheduler saved"
        )


def check_total_steps(scheduler: str, total_steps: Any) -> int:
    """Check the length of the training.

    Args:
        scheduler: Name of the schedule, for the message.
        total_steps: What was got.

    Returns:
        The number of optimizer steps.

    Raises:
        RecipeError: If it is not an integer of at least 1.
    """
    if not isinstance(total_steps, int) or isinstance(total_steps, bool) or total_steps < 1:
        raise RecipeError(
            f"scheduler {scheduler!r}: total_steps is {total_steps!r}, expected an integer of at least 1: "
            "the number of optimizer steps of the whole training"
        )
    return total_steps


def group_rates(scheduler: str, optimizer: Optimizer, rate: float) -> list[float]:
    """Give the first parameter group a rate, and the others theirs in proportion.

    Args:
        scheduler: Name of the schedule, for the message.
        optimizer: Its parameter groups say by which factors their rates differ.
        rate: Rate of the first group.

    Returns:
        A rate for each parameter group.

    Raises:
        RecipeError: If the first group's own rate is not above zero, so that there are no factors.
    """
    # A scheduler that was built before on the same optimizer has left the rates in force there; the factors are in
    # what it started from.
    own = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
    if len(own) == 1:
        return [rate]
    if not own[0] > 0:
        raise RecipeError(
            f"scheduler {scheduler!r}: the first parameter group has learning rate {own[0]}, expected a number above "
            "0, because the rates of the other groups keep their ratio to it; give it a rate"
        )
    return [rate * value / own[0] for value in own]


def start_from(scheduler: str, optimizer: Optimizer, base: float | None) -> None:
    """Set the rates that a schedule starts from.

    Args:
        scheduler: Name of the schedule, for the message.
        optimizer: Its parameter groups are changed.
        base: Rate of the first group; None leaves the optimizer's own.
    """
    if base is None:
        return
    for group, rate in zip(
        optimizer.param_groups, group_rates(scheduler, optimizer, positive(scheduler, "base", base)), strict=True
    ):
        set_rate(group, rate)
        group["initial_lr"] = rate


def set_rate(group: dict[str, Any], rate: float | torch.Tensor) -> None:
    """Set the learning rate of one parameter group, in place where it is a tensor.

    Args:
        group: The parameter group.
        rate: Its new rate.
    """
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def momentum(group: Mapping[str, Any]) -> float:
    """Return the momentum of a parameter group.

    Args:
        group: The parameter group.

    Returns:
        `momentum`, or the first of `betas`, or 0 where the optimizer knows neither.
    """
    return float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0))


def cycles_momentum(scheduler: str, optimizer: Optimizer, wanted: bool | None) -> bool:
    """Decide whether the momentum moves against the rate.

    Args:
        scheduler: Name of the schedule, for the message.
        optimizer: The optimizer.
        wanted: What was asked for; None wants it where every parameter group has momentum.

    Returns:
        Whether it does.

    Raises:
        RecipeError: If it is wanted from an optimizer without momentum.
    """
    able = all(momentum(group) > 0 for group in optimizer.param_groups)
    if wanted and not able:
        raise RecipeError(
            f"scheduler {scheduler!r}: cycle_momentum is true, expected false, because {type(optimizer).__name__} runs "
            "without momentum; give the optimizer a momentum or leave cycle_momentum out"
        )
    return able if wanted is None else bool(wanted)


class Resumable:
    """A scheduler's state in plain types, enough to go on from it bit for bit.

    To be inherited before a class of `torch.optim.lr_scheduler`, whose `load_state_dict` leaves the optimizer's rates
    as the constructor set them, that is at the values of step 0, if the optimizer was restored first.
    """

    optimizer: Optimizer

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            Plain numbers, strings, lists and dicts, which `torch.load(weights_only=True)` takes.
        """
        state: dict[str, Any] = dict(super().state_dict())  # type: ignore[misc]
        if getattr(self, "cycle_momentum", False):
            state["momentum"] = [momentum(group) for group in self.optimizer.param_groups]
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state, and put its rates (and momenta, where they cycle) in force.

        Args:
            state_dict: What `state_dict` gave.
        """
        state = dict(state_dict)
        momenta = state.pop("momentum", [])
        super().load_state_dict(state)  # type: ignore[misc]
        for group, rate in zip(self.optimizer.param_groups, state["_last_lr"], strict=True):
            set_rate(group, rate)
        for group, value in zip(self.optimizer.param_groups, momenta, strict=bool(momenta)):
            if "betas" in group:
                group["betas"] = (value, *group["betas"][1:])
            else:
                group["momentum"] = value
