"""A learning rate that is divided by a number each time the weight norm has bounced and settled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from reluscope.context import Diverged
from reluscope.errors import RecipeError
from reluscope_plugins.schedulers.rates import Resumable, check_total_steps, positive, start_from

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


class Abel(Resumable, LRScheduler):
    """The learning rate is multiplied by `decay` when the weight norm, after a minimum, stops growing.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        checks: How many times in the whole training the weight norm is looked at.
        model: Whose parameters make the weight norm; None takes those of the optimizer.
        decay: The factor.
        last_decay_step: Optimizer step, counted from 0, at which the rate is decayed whatever the weight norm does;
            None leaves that out.

    Attributes:
        norms: Sum of the squared parameters at the last checks, at most two, the newest last.
        reached_minimum: Whether the weight norm has turned since the start or since it last made the rate decay.
        bounces: How many times the weight norm has made the rate decay.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        checks: int,
        model: nn.Module | None = None,
        decay: float = 0.1,
        last_decay_step: int | None = None,
    ) -> None:
        self.model = model
        self.total_steps = total_steps
        self.checks = checks
        self.decay = decay
        self.last_decay_step = last_decay_step
        self.norms: list[float] = []
        self.reached_minimum = False
        self.bounces = 0
        super().__init__(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, without the model.

        Returns:
            Plain numbers, strings, lists and dicts, which `torch.load(weights_only=True)` takes.
        """
        return {key: value for key, value in super().state_dict().items() if key != "model"}

    def step(self, epoch: int | None = None) -> None:
        """Look at the weights where a check is due, and set the rates of the step that comes next.

        Args:
            epoch: As in torch, where it is deprecated.
        """
        step = self.last_epoch + 1 if epoch is None else epoch
        if step > 0 and step * self.checks % self.total_steps < self.checks:
            self._check(self._squared_norm(step))
        super().step(epoch)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.
        """
        decays = self.bounces + (self.last_decay_step is not None and self.last_epoch >= self.last_decay_step)
        return [rate * self.decay**decays for rate in self.base_lrs]

    def _check(self, norm: float) -> None:
        # Algorithm 1 of the reference, but for the last decay.
        if len(self.norms) == 2 and (norm - self.norms[1]) * (self.norms[1] - self.norms[0]) < 0:
            if self.reached_minimum:
                self.bounces += 1
            self.reached_minimum = not self.reached_minimum
        self.norms = [*self.norms, norm][-2:]

    def _parameters(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self.model is not None:
            yield from self.model.named_parameters()
            return
        for number, group in enumerate(self.optimizer.param_groups):
            for place, parameter in enumerate(group["params"]):
                yield f"{place} of group {number}", parameter

    def _squared_norm(self, step: int) -> float:
        squares = []
        for name, parameter in self._parameters():
            # The turns are small beside the norm: sums in single precision would turn where the weights do not.
            norm = float(torch.linalg.vector_norm(parameter.detach(), dtype=torch.float64))
            if not math.isfinite(norm):
                raise Diverged(
                    f"scheduler 'abel': parameter {name!r} holds NaN or infinity at step {step}, expected finite "
                    "weights; lower the rate"
                )
            squares.append(norm * norm)
        return math.fsum(squares)


def abel(
    optimizer: Optimizer,
    *,
    total_steps: int,
    checks: int,
    model: nn.Module | None = None,
    base: float | None = None,
    decay: float = 0.1,
    last_decay: float = 0.85,
) -> Abel:
    """Build ABEL: the rate is decayed each time the weight norm has bounced and settled, and once near the end.

    With the sum `|w|^2` of the squares of all parameters, taken at each check, a change of the sign of its difference
    from the check before is a turn: `(|w_t|^2 - |w_(t-1)|^2) * (|w_(t-1)|^2 - |w_(t-2)|^2) < 0`. The first turn is
    taken for the minimum of a bounce; at the second, where the norm that had grown falls again, the rate is multiplied
    by `decay`; then it begins anew. Apart from that the rate is multiplied by `decay` once, at `last_decay`.

    From the reference: the rule (algorithm 1), the check once an epoch, the last decay after 85 % of the training.
    There, `decay` is 0.2 for CIFAR and 0.1 elsewhere, as in the step decay it is compared with. Left open there and
    chosen here: the first weights that count are those at the first check, not those before training; all parameters
    count, biases and scales of a normalisation too; the last decay is placed by step, not by epoch. The rule assumes
    that the norm falls at first, as it does under weight decay: a first turn that is a maximum is taken for the
    minimum all the same. Where the norm only grows, as it often does without weight decay, the last decay is the only
    one. A warm-up is no part of it.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        checks: How many times in the whole training the weight norm is looked at, at even distances, the last after
            the last step: the number of epochs, to look once an epoch. At least 1 and at most `total_steps`.
        model: Whose parameters make the weight norm; None takes those of the optimizer.
        base: Rate at the start; the first parameter group gets it, the others keep their ratio to it. None keeps the
            optimizer's own.
        decay: What the rate is multiplied by, between 0 and 1.
        last_decay: Fraction of the training after which the rate is decayed whatever the weight norm does, above 0
            and at most 1; rounded to the nearest step. At 1 there is no such decay.

    Returns:
        The scheduler. Its `step` ends in `Diverged` if a check finds weights that are not finite.

    Raises:
        RecipeError: If a value is out of its range.

    References:
        Lewkowycz 2021, "How to decay your learning rate" (arXiv 2103.12682), section 2 and algorithm 1.

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(1))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> scheduler = abel(optimizer, total_steps=5, checks=5, decay=0.5, last_decay=1)
        >>> for value in [4.0, 2.0, 3.0, 3.5, 3.4]:  # falls, grows, falls again
        ...     optimizer.step()
        ...     _ = weight.data.fill_(value)
        ...     scheduler.step()
        ...     print(scheduler.get_last_lr())
        [1.0]
        [1.0]
        [1.0]
        [1.0]
        [0.5]
    """
    total_steps = check_total_steps("abel", total_steps)
    if not isinstance(checks, int) or isinstance(checks, bool) or not 1 <= checks <= total_steps:
        raise RecipeError(
            f"scheduler 'abel': checks is {checks!r}, expected an integer from 1 to the {total_steps} optimizer steps "
            "of the whole training; give the number of epochs"
        )
    decay = positive("abel", "decay", decay)
    if decay >= 1:
        raise RecipeError(f"scheduler 'abel': decay is {decay}, expected a factor between 0 and 1")
    last_decay = positive("abel", "last_decay", last_decay)
    if last_decay > 1:
        raise RecipeError(
            f"scheduler 'abel': last_decay is {last_decay}, expected a fraction of the training, above 0 and at most 1"
        )
    start_from("abel", optimizer, base)
    last_decay_step = round(last_decay * total_steps)
    return Abel(
        optimizer, total_steps, checks, model, decay, last_decay_step if last_decay_step < total_steps else None
    )
