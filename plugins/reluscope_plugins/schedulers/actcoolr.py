"""ActCooLR: the learning rate that cools a network's activation patterns down along a given curve."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from reluscope.context import Diverged
from reluscope.errors import NotFiniteError, ObservationError, RecipeError
from reluscope.optimizer_step import OptimizerStep
from reluscope_plugins.schedulers.batches import first_samples
from reluscope_plugins.schedulers.cooling_curve import GAMMA, T_START, WARMUP, CoolingCurve
from reluscope_plugins.schedulers.followed_transition import FLOOR, FollowedTransition
from reluscope_plugins.schedulers.group_sites import sites_of_groups
from reluscope_plugins.schedulers.ranks import over_ranks
from reluscope_plugins.schedulers.rates import (
    check_class,
    check_state,
    group_rates,
    positive,
    set_rate,
    start_from,
    whole,
)
from reluscope_plugins.schedulers.taken_step import TakenStep
from reluscope_plugins.schedulers.transition_search import Probe, fit_transitions
from reluscope_plugins.schedulers.weak_hook import call_before_step

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from reluscope.inputs import Input

NAME = "actcoolr"
SAMPLES, EVERY, WIDTH, MAX_STEP = 64, 8, 64, 0.01
"""Defaults; those of the curve are in `cooling_curve`."""
SHORTER = 5.0
"""How many times shorter than `max_step` steps are at rates above those of the warm-up."""
RESTLESS = 1.0
"""A measurement that moves mu by more is followed by another one at once; else the time between them doubles."""
SHARE, SPARSER = 100, 8
"""In a long training measurements are a hundredth of it apart, but at most so many times `every`."""

_OF_RATE = ("per_group", "samples", "every", "width", "max_step")
_OWN = (*_OF_RATE, "fits", "probes", "interval", "due", "stale", "_ratios")
_INHERITED = ("base_lrs", "last_epoch", "_step_count", "_last_lr")
_OF_CURVE = ("total_steps", "t_start", "gamma", "curve", "warmup")
_OF_TRACKS = {one: one for one in ("mu", "sigma", "errors", "measured", "reach", "peak")}
"""Keys of a state, and for those of the transitions their attributes."""


class ActCooLR(LRScheduler):
    r"""A learning-rate schedule that prescribes how many activation patterns a step changes.

    The temperature falls from `t_start` to zero, $T(t) = T_{start} (1 - t / t_{max})^\gamma$, after it has risen to
    that curve in the first `warmup` of the training: a network without normalisation may be insensitive at first, and
    at a rate to match it would diverge as soon as that is over. A pattern is one sample's (or position's) at one site,
    of `width` units. The rate that has the temperature is read off a model of two numbers,
    $P(\eta) = \Phi((\ln \eta - \mu) / \sigma)$, the mean over the network's activation sites of the probability that a
    step at rate $\eta$ changes a pattern. `mu` is corrected by one measurement (two forward passes over `samples`
    samples) every `every` steps, more often while it moves and less often in a long training; both are fitted anew
    where that contradicts the model again and again. The loss is never looked at.

    Two lines of a training loop:

        scheduler = ActCooLR(optimizer, model, total_steps)
        ...
        loss.backward()
        optimizer.step()
        scheduler.step(x)  # the batch that the loss was computed on

    With a warm-up the first step is taken at the least rate, 1e-10, for nothing is known of the network yet, and a step
    at too high a rate may destroy it; without one, at the optimizer's own rate. Measuring leaves model, gradients,
    optimizer and random state as they are. With a `torch.amp.GradScaler`, a step that it skips is not measured. Where
    the model is a `DistributedDataParallel`, each process measures its part of the batch, and all go by the mean.

    Args:
        optimizer: Any but LBFGS. All its parameter groups keep the ratio of their rates; with a warm-up nothing else is
            taken from these.
        model: The network, wrapped or not; it is measured in the mode that it is in. Data-parallel processes give it
            wrapped.
        total_steps: Number of optimizer steps of the whole training.
        t_start: Temperature at the start, base 2. At 1.6 two thirds of the patterns change; where they are of 64
            units, that is 1.7 % of the units. With `curve="probability"` infinity is allowed.
        gamma: How the curve bends: above 1 it falls early, below 1 late, for any `curve`.
        curve: `"temperature"`, or `"probability"`, where that falls in place of the temperature, from the probability
            that `t_start` has, or from 0.99 if that is more. The source's own curve of probabilities starts at 0.99:
            it is that of `t_start=math.inf`.
        per_group: Whether each parameter group gets the rate at which the sites that come right after its parameters
            have the temperature; a group without sites gets the mean of the others' rates, on a logarithmic scale.
        samples: How many of a batch's first samples are looked at.
        every: Steps between measurements, at most; where a hundredth of the training is more, that many, up to eight
            times `every`.
        warmup: Share of the training in which the temperature rises; 0 starts at `t_start` at once, as the source,
            after a first step at the optimizer's own rate.
        width: Units of a pattern: the temperature is that of patterns of so many independent units, of which the same
            share changes, at the first site, and of $\sqrt{l}$ times fewer at the l-th. 0 takes the sites' own
            patterns, as the source; then the temperature that trains well depends on how wide the layers are, and how
            many.
        max_step: Share of their norm by which no step moves the weights at most, as far as the last measurement tells:
            the same share in the warm-up, and along a straight line that falls to zero after it; and beyond the highest
            rate of the warm-up, which falls along such a line too, a fifth of that share. Without normalisation,
            weights that have grown make a network insensitive, so that rates rise and weights grow on; where it has
            learnt its data gradients vanish, and ever greater rates are needed. With normalisation steps stay
            far shorter. `math.inf` sets no limit, as the source. With `per_group` each group has its own, but for
            those that get the mean of the others.

    Attributes:
        curve: What the temperature follows, a `CoolingCurve`.
        transitions: What is known of each parameter group's transition, or of that of all.
        mu: Of each of them, natural logarithm of the rate that changes half of the patterns.
        sigma: Likewise: width of the transition, in the same units.
        measured: Likewise: last measured probability at the rate in force; NaN before.
        fits: Number of full fits so far.
        probes: Number of forward passes taken for measurements so far.

    Raises:
        RecipeError: If a parameter is out of its range, or optimizer or model are none.
        ObservationError: If the optimizer cannot be stepped at other rates (LBFGS, a closure), or `step` gets no batch.
        Diverged: If no rate up to 1e10 reaches the temperature, or gradients leave the finite numbers.

    References:
        Hartmann 2025, section 3.3.2, eq. 3.17 and 3.45, section A.4 with table A.1. Printed there with different signs
        in 3.17, 3.43 and 3.44; taken is what inverts 3.17.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> scheduler = ActCooLR(optimizer, model, total_steps=100)
        >>> x = torch.randn(256, 2)
        >>> for _ in range(100):
        ...     optimizer.zero_grad()
        ...     torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long()).backward()
        ...     optimizer.step()
        ...     scheduler.step(x)
        >>> scheduler.get_last_lr()
        [1e-10]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        model: nn.Module,
        total_steps: int,
        *,
        t_start: float = T_START,
        gamma: float = GAMMA,
        curve: Literal["temperature", "probability"] = "temperature",
        per_group: bool = False,
        samples: int = SAMPLES,
        every: int = EVERY,
        warmup: float = WARMUP,
        width: int = WIDTH,
        max_step: float = MAX_STEP,
    ) -> None:
        check_class(NAME, "optimizer", optimizer, torch.optim.Optimizer, "the optimizer whose rates are to be moved")
        check_class(NAME, "model", model, nn.Module, "the network that the optimizer trains")
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ObservationError(
                f"scheduler {NAME!r}: LBFGS evaluates the loss several times within a step, so there is no step at "
                "another rate to look at; use SGD, AdamW or another optimizer that steps along the gradients at hand"
            )
        self.curve = CoolingCurve(total_steps, t_start, gamma, curve, warmup)
        check_class(
            NAME, "per_group", per_group, bool, "true for a rate of its own for each parameter group, else false"
        )
        self.per_group = per_group
        self.samples, self.every = whole(NAME, "samples", samples, 1), whole(NAME, "every", every, 1)
        self.width = whole(NAME, "width", width, 0)
        self.max_step = math.inf if max_step == math.inf else positive(NAME, "max_step", max_step)
        self.transitions = [FollowedTransition() for _ in (optimizer.param_groups if per_group else [None])]
        self.fits = self.probes = 0
        self.interval, self.due, self.stale = 1, 0, True
        self._model = model
        self._step: OptimizerStep | None = None
        self._taken, self._rates = TakenStep(), [0.0] * len(self.transitions)
        self._waiting = self._measuring = False
        self._ratios = group_rates(NAME, optimizer, 1.0)
        call_before_step(optimizer, self._before_step)
        super().__init__(optimizer)

    @property
    def mu(self) -> list[float]:
        """Natural logarithm of the rate that changes half of the patterns, of each parameter group or of all."""
        return [transition.mu for transition in self.transitions]

    @property
    def sigma(self) -> list[float]:
        """Width of the transition, of each parameter group or of all."""
        return [transition.sigma for transition in self.transitions]

    @property
    def measured(self) -> list[float]:
        """Last measured probability at the rate in force, of each parameter group or of all; NaN before."""
        return [transition.measured for transition in self.transitions]

    def step(self, batch: Input | None = None) -> None:  # type: ignore[override]
        """Set the rate of the step that comes next; to be called after each `optimizer.step()`.

        Args:
            batch: What the model was given for the loss of that step: a tensor, a tuple of positional arguments or a
                dict of keyword arguments, samples first.

        Raises:
            ObservationError: If there is no batch, or the network cannot be run on it; then `step` can be called again
                with the right one, and in the second case it is the optimizer's next step that is measured.
            RecipeError: If there are more steps than the schedule was built for.
            Diverged: If gradients, or the network's values, leave the finite numbers, or no rate reaches the
                temperature.
        """
        if self._waiting and batch is None:
            raise ObservationError(
                "ActCooLR.step() got no batch, expected the one that the model was given for the loss; call "
                "scheduler.step(x)"
            )
        step, measuring, self._step, self._measuring = self._step, self._measuring, None, False
        if batch is not None and (step is not None or measuring):
            part = first_samples(batch, self.samples)
            try:
                self._measure(part) if step is None else self._fit(part, step)
            except NotFiniteError as error:
                raise Diverged(f"ActCooLR: training has diverged at step {self.last_epoch}: {error}") from error
        self._waiting = False
        super().step()
        if self.fits and self.curve.warmup:
            self._note_peaks()

    def target(self, step: int) -> float:
        """Return the probability of a change that is aimed at.

        Args:
            step: Number of the optimizer step, from 0 to `total_steps`.

        Returns:
            The probability.
        """
        return self.curve.probability(step)

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.

        Raises:
            RecipeError: If there are more steps than the schedule was built for.
            Diverged: If no rate reaches the temperature.
        """
        if self.last_epoch > self.curve.total_steps:
            raise RecipeError(
                f"scheduler {NAME!r}: step {self.last_epoch} of a schedule built for {self.curve.total_steps}; build "
                "it with the total_steps of the whole training"
            )
        if not self.fits:
            if self.curve.warmup:
                return [FLOOR * ratio for ratio in self._ratios]
            return [group["lr"] for group in self.optimizer.param_groups]
        wanted = self.target(self.last_epoch)
        rates = [one.rate(wanted, self.last_epoch, self._limit(one)) for one in self.transitions]
        if not self.per_group:
            return [max(FLOOR, rates[0] * ratio) for ratio in self._ratios]
        mean = math.exp(float(np.nanmean(np.log(rates))))
        return [mean if math.isnan(rate) else rate for rate in rates]

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            Plain numbers, strings and lists, which `torch.load(weights_only=True)` takes. The network is not in it.
        """
        state = {**asdict(self.curve), **{key: _plain(getattr(self, key)) for key in (*_OWN, *_INHERITED)}}
        return state | {key: [getattr(one, field) for one in self.transitions] for key, field in _OF_TRACKS.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state, and put its rates in force.

        Args:
            state_dict: What `state_dict` gave.

        Raises:
            RecipeError: If it is of another scheduler, of another number of parameter groups, or holds a parameter that
                is out of its range; nothing is taken.
        """
        check_state(NAME, state_dict, {*_OWN, *_INHERITED, *_OF_CURVE, *_OF_TRACKS})
        if len(state_dict["_last_lr"]) != len(self.optimizer.param_groups):
            raise RecipeError(
                f"scheduler {NAME!r}: a state of {len(state_dict['_last_lr'])} parameter groups, expected "
                f"{len(self.optimizer.param_groups)}; load it with the optimizer that it was saved with"
            )
        curve = CoolingCurve(**{key: state_dict[key] for key in _OF_CURVE})
        for key, least in (("samples", 1), ("every", 1), ("width", 0)):
            whole(NAME, key, state_dict[key], least)
        if state_dict["max_step"] != math.inf:
            positive(NAME, "max_step", state_dict["max_step"])
        lengths = {key: len(state_dict[key]) for key in (*_OF_TRACKS, "_ratios")}
        if {lengths[key] for key in _OF_TRACKS} != {len(self.transitions)} or lengths["_ratios"] != len(self._ratios):
            raise RecipeError(
                f"scheduler {NAME!r}: a state of {lengths} numbers, expected {len(self.transitions)} of each and "
                f"{len(self._ratios)} of '_ratios'; load it into a scheduler with the same per_group and groups"
            )
        of_tracks = zip(*(state_dict[key] for key in _OF_TRACKS), strict=True)
        self.transitions = [FollowedTransition(**dict(zip(_OF_TRACKS.values(), one, strict=True))) for one in of_tracks]
        self.curve = curve
        self.__dict__.update({key: _plain(state_dict[key]) for key in (*_OWN, *_INHERITED)})
        for group, rate in zip(self.optimizer.param_groups, state_dict["_last_lr"], strict=True):
            set_rate(group, rate)

    # Called by the optimizer: the weights before the step, and the gradients, are at hand only now.
    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._step, self._measuring = None, False
        if args[1:2] not in ((), (None,)) or kwargs.get("closure") is not None:
            raise ObservationError(
                "ActCooLR: optimizer.step() got a closure, so the gradients of the step are not known before it; call "
                "loss.backward() first, and optimizer.step() without a closure"
            )
        self._waiting = True
        if not self.stale and self.last_epoch < self.due:
            return
        # a fused optimizer is called even where the loss scaling overflowed, and skips the step by itself
        overflowed = getattr(optimizer, "found_inf", None)
        if overflowed is not None and float(overflowed) > 0:
            return
        if not self.stale:
            self._taken.keep(optimizer)
            self._rates = [max(FLOOR, float(group["lr"])) for group in optimizer.param_groups][: len(self.transitions)]
            self._measuring = True
            return
        try:
            self._step = OptimizerStep(optimizer)
        except NotFiniteError as error:
            raise Diverged(f"ActCooLR: training has diverged at step {self.last_epoch}: {error}") from error

    def _measure(self, batch: Input) -> None:
        groups = [group["params"] for group in self.optimizer.param_groups]
        parts = groups if self.per_group else [[parameter for group in groups for parameter in group]]
        lengths = self._taken.lengths(parts)
        table = over_ranks(self._model, lambda: self._taken.shares(self._model, batch, self._tracks, self.width))
        self.probes += 2
        measured = zip(self.transitions, self._rates, table[:, :, 0].mean(0), table[:, :, 1].sum(0), strict=True)
        news = [one.correct(rate, float(share), float(patterns)) for one, rate, share, patterns in measured]
        for transition, rate, length in zip(self.transitions, self._rates, lengths, strict=True):
            transition.reach = rate / length if length > 0 else transition.reach
        self.stale |= any(contradicted for _, contradicted in news)
        longest = min(SPARSER * self.every, max(self.every, self.curve.total_steps // SHARE))
        self.interval = 1 if max(moved for moved, _ in news) > RESTLESS else min(longest, 2 * self.interval)
        self.due = self.last_epoch + self.interval

    def _fit(self, batch: Input, step: OptimizerStep) -> None:
        probe = Probe(self._model, batch, step, self._tracks, self.width)
        self.probes += fit_transitions(probe, self.transitions, self.last_epoch, first=not self.fits)
        self.fits += 1
        self.stale = False
        self.interval, self.due = 1, self.last_epoch + 1

    # Where the warm-up is over before anything was fitted, the first rate stands for it.
    def _note_peaks(self) -> None:
        warming = self.curve.is_warming(self.last_epoch)
        for transition, rate in zip(self.transitions, self.get_last_lr(), strict=False):
            if (warming or not transition.peak) and not math.isnan(transition.mu):
                transition.peak = max(transition.peak, float(rate))

    def _limit(self, transition: FollowedTransition) -> float:
        if self.max_step == math.inf or transition.reach == math.inf:
            return math.inf
        longest = self.max_step * transition.reach
        if self.curve.is_warming(self.last_epoch):
            return longest
        if not transition.peak:
            return longest * self.curve.left(self.last_epoch)
        return max(min(longest, transition.peak), longest / SHORTER) * self.curve.left(self.last_epoch)

    def _tracks(self, after: Mapping[str, str]) -> list[list[str]]:
        return sites_of_groups(self.optimizer, self._model, after) if self.per_group else [list(after)]


def actcoolr(
    optimizer: Optimizer,
    *,
    total_steps: int,
    model: nn.Module,
    base: float | None = None,
    t_start: float = T_START,
    gamma: float = GAMMA,
    curve: Literal["temperature", "probability"] = "temperature",
    per_group: bool = False,
    samples: int = SAMPLES,
    every: int = EVERY,
    warmup: float = WARMUP,
    width: int = WIDTH,
    max_step: float = MAX_STEP,
) -> ActCooLR:
    """Build ActCooLR.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        model: The network.
        base: Rate of the optimizer, which is that of the first step where there is no warm-up; None keeps its own.
        t_start: Temperature at the start, base 2.
        gamma: How the curve bends.
        curve: `"temperature"` or `"probability"`.
        per_group: Whether each parameter group gets a rate of its own.
        samples: How many of a batch's first samples are looked at.
        every: Steps between measurements, as `ActCooLR` takes it.
        warmup: Share of the training in which the temperature rises.
        width: Units of a pattern; 0 takes the sites' own.
        max_step: Share of their norm by which no step moves the weights at most.

    Returns:
        The scheduler; its `step` takes the batch.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Hartmann 2025, section 3.3.2 and A.4.
    """
    start_from(NAME, optimizer, base)
    return ActCooLR(
        optimizer,
        model,
        total_steps,
        t_start=t_start,
        gamma=gamma,
        curve=curve,
        per_group=per_group,
        samples=samples,
        every=every,
        warmup=warmup,
        width=width,
        max_step=max_step,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, torch.Tensor) else value
