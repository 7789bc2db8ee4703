"""ActCooLR: the learning rate that cools a network's activation patterns down along a given curve."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.optim.lr_scheduler import LRScheduler

from reluscope.context import Diverged
from reluscope.errors import NotFiniteError, ObservationError, RecipeError, nearest
from reluscope.inputs import unwrap
from reluscope.observation import observe
from reluscope.optimizer_step import OptimizerStep
from reluscope.preserve import preserved
from reluscope_plugins.schedulers.rates import check_total_steps, group_rates, positive, set_rate
from reluscope_plugins.schedulers.taken_step import TakenStep
from reluscope_plugins.temperature.distance import probability, share_changed, steps_taken
from reluscope_plugins.temperature.transition import SATURATED, ErrorFunction, fit

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from reluscope.inputs import Input

CURVES = ("temperature", "probability")
"""What falls from its start to zero: the temperature (eq. 3.45), or the probability (A.4, step 5)."""

FLOOR, CEILING = 1e-10, 1e10
"""Least and greatest learning rate; beyond the greatest the training has diverged."""
FIRST_GUESS = (-1.0, 1.0)
"""Mu and sigma before anything was measured."""
PROBABILITIES = (0.25, 0.5, 0.75)
"""What a full fit measures first."""
GRID = tuple(float(rate) for rate in np.logspace(-4, 2, 25))
"""Rates to measure where the model's own give nothing to fit."""
LARGE_ERROR, ERRORS = 2.5, 5
"""By how much a single measurement may move mu, and how many times in a row it may be more."""
JUMP, SEARCHES = 2.0, 100
"""Factor between the rates of a search, and how many there may be."""
NARROW = 1.0001
"""Factor between two rates within which a transition is a step."""
BELOW_ONE = 0.99
"""The probability aimed at is so much smaller than the curve's, for no rate gives 1."""
INFORMATIVE = 10.0
"""Rows that are expected to change, and not to change, where a measurement of 0 or 1 contradicts the model."""
RESTLESS = 1.0
"""A measurement that moves mu by more is followed by another one at once; else the time between them doubles."""
SHARE, SPARSER = 100, 8
"""In a long training measurements are a hundredth of it apart, but at most so many times `every`."""

_FIELDS = ("mu", "sigma", "errors", "fits", "probes", "measured", "interval", "due", "stale", "limits")


class ActCooLR(LRScheduler):
    r"""A learning-rate schedule that prescribes how many activation patterns a step changes.

    The temperature falls from `t_start` to zero, $T(t) = T_{start} (1 - t / t_{max})^\gamma$, after it has risen to
    that curve in the first `warmup` of the training: a network without normalisation may be insensitive at first, and
    at a rate to match it would diverge as soon as that is over. The rate that has it is
    read off a model of two numbers, $P(\eta) = \Phi((\ln \eta - \mu) / \sigma)$, the mean over the network's
    activation sites of the probability that a step at rate $\eta$ changes a sample's pattern. `mu` is corrected by one
    measurement (two forward passes over `samples` samples) every `every` steps, more often while it moves and less
    often in a long training; both are fitted anew where that contradicts the model again and again. The loss is never
    looked at.

    Two lines of a training loop:

        scheduler = ActCooLR(optimizer, model, total_steps)
        ...
        loss.backward()
        optimizer.step()
        scheduler.step(x)  # the batch that the loss was computed on

    The first step is taken at the optimizer's own rate. Measuring leaves model, gradients, optimizer and random state
    as they are. With a `torch.amp.GradScaler`, a step that it skips is not measured.

    Args:
        optimizer: Any but LBFGS. All its parameter groups keep the ratio of their rates.
        model: The network, wrapped or not; it is measured in the mode that it is in.
        total_steps: Number of optimizer steps of the whole training.
        t_start: Temperature at the start, base 2. At 1 with a `width` of 64, half of the patterns
            change, and 1.1 % of the units.
        gamma: How the curve bends: above 1 it falls early, below 1 late, for any `curve`.
        curve: `"temperature"`, or `"probability"`, where that falls from its start in place of the temperature.
        per_group: Whether each parameter group gets the rate at which the sites that come right after its parameters
            have the temperature; a group without sites gets the mean of the others' rates, on a logarithmic scale.
        samples: How many of a batch's first samples are looked at.
        every: Steps between measurements, at most; where a hundredth of the training is more, that many, up to eight
            times `every`.
        warmup: Share of the training in which the temperature rises; 0 starts at `t_start` at once, as the source.
        width: Units of the patterns that the temperature is of: at each site, of so many independent units of which the
            same share changes. 0 takes the site's own patterns, as the source; then the temperature that trains
            well depends on how wide the layers are.
        max_growth: How many times the rate that has the start temperature at the first step no rate exceeds. Where a
            network has learnt its data by heart gradients vanish, and ever greater rates would be needed to change
            patterns. `math.inf` sets no limit, as the source.

    Attributes:
        mu: Of each parameter group, or the one of all: natural logarithm of the rate that changes half of the patterns.
        sigma: Likewise: width of the transition, in the same units.
        fits: Number of full fits so far.
        probes: Number of forward passes taken for measurements so far.
        measured: Of each group or of all, the last measured probability at the rate in force; NaN before.

    Raises:
        RecipeError: If a parameter is out of its range.
        ObservationError: If the optimizer cannot be stepped at other rates (LBFGS, a closure), or `step` gets no batch.
        Diverged: If no rate up to 1e10 reaches the temperature, or gradients leave the finite numbers.

    References:
        Hartmann 2025, section 3.3.2, eq. 3.17 and 3.45, section A.4 with table A.1. Printed there with different signs
        in 3.17, 3.43 and 3.44; taken is what inverts 3.17.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> scheduler = ActCooLR(optimizer, model, total_steps=100, t_start=1.0)
        >>> x = torch.randn(256, 2)
        >>> for _ in range(100):
        ...     loss = torch.nn.functional.cross_entropy(model(x), (x[:, 0] > 0).long())
        ...     optimizer.zero_grad()
        ...     loss.backward()
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
        t_start: float = 1.0,
        gamma: float = 1.0,
        curve: Literal["temperature", "probability"] = "temperature",
        per_group: bool = False,
        samples: int = 64,
        every: int = 8,
        warmup: float = 0.1,
        width: int = 64,
        max_growth: float = 10.0,
    ) -> None:
        name = "actcoolr"
        self.total_steps = check_total_steps(name, total_steps)
        self.t_start = positive(name, "t_start", t_start)
        self.gamma = positive(name, "gamma", gamma)
        self.warmup = positive(name, "warmup", warmup) if warmup else 0.0
        if self.warmup >= 1:
            raise RecipeError(f"scheduler {name!r}: warmup is {warmup!r}, expected a share from 0 to below 1")
        if curve not in CURVES:
            raise RecipeError(f"scheduler {name!r}: curve is {curve!r}. {nearest(str(curve), CURVES)}")
        for key, value in (("samples", samples), ("every", every)):
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise RecipeError(f"scheduler {name!r}: {key} is {value!r}, expected an integer of at least 1")
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ObservationError(
                f"scheduler {name!r}: LBFGS evaluates the loss several times within a step, so there is no step at "
                "another rate to look at; use SGD, AdamW or another optimizer that steps along the gradients at hand"
            )
        if not isinstance(width, int) or isinstance(width, bool) or width < 0:
            raise RecipeError(f"scheduler {name!r}: width is {width!r}, expected an integer of at least 0")
        self.curve, self.per_group, self.samples, self.every = curve, per_group, samples, every
        self.width = width
        self.max_growth = math.inf if max_growth == math.inf else positive(name, "max_growth", max_growth)
        self.limits = [math.inf] * (len(optimizer.param_groups) if per_group else 1)
        tracks = len(optimizer.param_groups) if per_group else 1
        self.mu, self.sigma = [FIRST_GUESS[0]] * tracks, [FIRST_GUESS[1]] * tracks
        self.errors, self.fits, self.probes = [0] * tracks, 0, 0
        self.measured = [math.nan] * tracks
        self.interval, self.due, self.stale = 1, 0, True
        self._model = model
        self._step: OptimizerStep | None = None
        self._taken, self._rates = TakenStep(), [0.0] * tracks
        self._waiting = self._measuring = False
        self._ratios = group_rates(name, optimizer, 1.0)
        self._hook = optimizer.register_step_pre_hook(self._before_step)
        super().__init__(optimizer)

    def step(self, batch: Input | None = None) -> None:  # type: ignore[override]
        """Set the rate of the step that comes next; to be called after each `optimizer.step()`.

        Args:
            batch: What the model was given for the loss of that step: a tensor, a tuple of positional arguments or a
                dict of keyword arguments, samples first.

        Raises:
            ObservationError: If there is no batch.
            RecipeError: If there are more steps than the schedule was built for.
            Diverged: If gradients, or the network's values, leave the finite numbers, or no rate reaches the
                temperature.
        """
        step, self._step = self._step, None
        measuring, self._measuring = self._measuring, False
        if self._waiting and batch is None:
            raise ObservationError(
                "ActCooLR.step() got no batch, expected the one that the model was given for the loss; call "
                "scheduler.step(x)"
            )
        self._waiting = False
        if batch is not None and (step is not None or measuring):
            part = _first(batch, self.samples)
            try:
                if step is not None:
                    self._fit(_Probe(self._model, part, step, self._tracks, self.width))
                else:
                    self._measure(part)
            except NotFiniteError as error:
                raise Diverged(f"ActCooLR: training has diverged at step {self.last_epoch}: {error}") from error
        super().step()

    def target(self, step: int) -> float:
        """Return the probability of a change that is aimed at.

        Args:
            step: Number of the optimizer step, from 0 to `total_steps`.

        Returns:
            The probability.
        """
        left = (1 - step / self.total_steps) ** self.gamma
        if step + 1 < self.warmup * self.total_steps:
            left *= (step + 1) / (self.warmup * self.total_steps)
        if self.curve == "temperature":
            return float(probability(self.t_start * left))
        return float(probability(self.t_start)) * left * BELOW_ONE

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the rates of the step that comes next.

        Returns:
            The rate of each parameter group.

        Raises:
            RecipeError: If there are more steps than the schedule was built for.
            Diverged: If no rate reaches the temperature.
        """
        if self.last_epoch > self.total_steps:
            raise RecipeError(
                f"scheduler 'actcoolr': step {self.last_epoch} of a schedule built for {self.total_steps}; build it "
                "with the total_steps of the whole training"
            )
        if not self.fits:
            return [group["lr"] for group in self.optimizer.param_groups]
        wanted = self.target(self.last_epoch)
        rates = [
            self._rate(mu, sigma, wanted, limit)
            for mu, sigma, limit in zip(self.mu, self.sigma, self.limits, strict=True)
        ]
        if not self.per_group:
            return [max(FLOOR, rates[0] * ratio) for ratio in self._ratios]
        mean = math.exp(float(np.nanmean(np.log(rates))))
        return [mean if math.isnan(rate) else rate for rate in rates]

    def state_dict(self) -> dict[str, Any]:
        """Return the state.

        Returns:
            Plain numbers, strings and lists, which `torch.load(weights_only=True)` takes. The network is not in it.
        """
        known = (
            "total_steps",
            "t_start",
            "gamma",
            "curve",
            "per_group",
            "samples",
            "every",
            "warmup",
            "width",
            "max_growth",
            *_FIELDS,
        )
        inherited = ("_ratios", "base_lrs", "last_epoch", "_step_count", "_last_lr")
        return {key: _plain(getattr(self, key)) for key in (*known, *inherited)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take a state, and put its rates in force.

        Args:
            state_dict: What `state_dict` gave.

        Raises:
            RecipeError: If it is of another number of parameter groups.
        """
        if len(state_dict["_last_lr"]) != len(self.optimizer.param_groups):
            raise RecipeError(
                f"scheduler 'actcoolr': a state of {len(state_dict['_last_lr'])} parameter groups, expected "
                f"{len(self.optimizer.param_groups)}; load it with the optimizer that it was saved with"
            )
        self.__dict__.update({key: _plain(value) for key, value in state_dict.items()})
        for group, rate in zip(self.optimizer.param_groups, state_dict["_last_lr"], strict=True):
            set_rate(group, rate)

    # Called by the optimizer: the weights before the step, and the gradients, are at hand only now.
    def _before_step(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
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
            self._rates = [max(FLOOR, float(group["lr"])) for group in optimizer.param_groups][: len(self.mu)]
            self._measuring = True
            return
        try:
            self._step = OptimizerStep(optimizer)
        except NotFiniteError as error:
            raise Diverged(f"ActCooLR: training has diverged at step {self.last_epoch}: {error}") from error

    def _rate(self, mu: float, sigma: float, wanted: float, limit: float) -> float:
        if math.isnan(mu):  # a group without sites
            return math.nan
        rate = ErrorFunction(mu, sigma).rate(wanted) if wanted > 0 else 0.0
        if not min(rate, limit) <= CEILING:
            raise Diverged(
                f"ActCooLR: at step {self.last_epoch} a share {wanted:.3g} of changed patterns would take a learning "
                f"rate of {rate:.3g} (mu {mu:.3g}, sigma {sigma:.3g}), expected at most {CEILING:g}: the training "
                "diverges; start at a lower t_start"
            )
        return max(FLOOR, float(min(rate, limit)))

    def _measure(self, batch: Input) -> None:
        found = self._taken.changes(self._model, batch, self.width)
        self.probes += 2
        moved = 0.0
        for track, sites in enumerate(self._tracks({site: after for site, (_, _, after) in found.items()})):
            if not sites or math.isnan(self.mu[track]):
                self.measured[track] = math.nan
                continue
            share = self.measured[track] = float(np.mean([found[site][0] for site in sites]))
            rate, sigma, rows = self._rates[track], self.sigma[track], sum(found[site][1] for site in sites)
            mu = float(ErrorFunction.mu_for(rate, float(np.clip(share, 0.5 / rows, 1 - 0.5 / rows)), sigma))
            if (share <= SATURATED and mu < self.mu[track]) or (share >= 1 - SATURATED and mu > self.mu[track]):
                continue  # that none changed, or all, is no news
            expected = float(ErrorFunction(self.mu[track], sigma).probability(rate))
            self.stale |= not _usable(share) and min(expected, 1 - expected) * rows >= INFORMATIVE
            moved = max(moved, abs(mu - self.mu[track]))
            self.errors[track] = self.errors[track] + 1 if abs(mu - self.mu[track]) > LARGE_ERROR else 0
            self.stale |= self.errors[track] >= ERRORS
            self.mu[track] = mu
        longest = min(SPARSER * self.every, max(self.every, self.total_steps // SHARE))
        self.interval = 1 if moved > RESTLESS else min(longest, 2 * self.interval)
        self.due = self.last_epoch + self.interval

    def _fit(self, probe: _Probe) -> None:
        # of the first group: the rates of all are in proportion to it
        found: dict[float, Any] = {}

        def look(rate: float) -> Any:
            if rate not in found and FLOOR <= rate <= CEILING:
                found[rate] = probe(rate)
                self.probes += 1
            return found.get(rate)

        self.probes += 1
        if probe.step.rate > 0 and look(probe.step.rate) is not None:
            self.measured = found[probe.step.rate].tolist()
        tracks = [track for track, rows in enumerate(probe.rows) if rows]
        if not tracks:
            raise ObservationError(
                "ActCooLR: with per_group=True no activation site comes right after a parameter of the optimizer, "
                "expected at least one; leave per_group out"
            )
        for track in set(range(len(self.mu))) - set(tracks):
            self.mu[track] = self.sigma[track] = math.nan
        for track in tracks:
            if math.isnan(self.mu[track]):
                self.mu[track], self.sigma[track] = FIRST_GUESS
            model = ErrorFunction(self.mu[track], self.sigma[track])
            for wanted in PROBABILITIES:
                look(float(np.clip(model.rate(wanted) / probe.ratios[track], FLOOR, CEILING)))
        for track in tracks:
            if not any(_usable(shares[track]) for shares in found.values()):
                for rate in GRID:
                    look(rate)
            for wanted, upwards in ((PROBABILITIES[-1], True), (PROBABILITIES[0], False)):
                self._search(found, look, track, wanted, upwards=upwards)
            self._fill(found, look, track)
        for track in tracks:
            self._refit(found, track, probe.ratios[track])
            if not self.fits and math.isfinite(self.max_growth):
                start = ErrorFunction(self.mu[track], self.sigma[track]).rate(float(probability(self.t_start)))
                self.limits[track] = float(start) * self.max_growth
        self.fits += 1
        self.stale = False
        self.interval, self.due = 1, self.last_epoch + 1

    @staticmethod
    def _search(
        found: dict[float, Any], look: Callable[[float], Any], track: int, wanted: float, *, upwards: bool
    ) -> None:
        # rates double, or are halved, from the outermost one until they bracket the probability
        for _ in range(SEARCHES):
            rate = max(found) if upwards else min(found)
            share = found[rate][track]
            if (share >= wanted) if upwards else (share <= wanted):
                return
            if look(rate * JUMP if upwards else rate / JUMP) is None:
                return

    @staticmethod
    def _fill(found: dict[float, Any], look: Callable[[float], Any], track: int) -> None:
        # the transition may lie between two rates of a search: halve what is left until there are enough points
        for _ in range(SEARCHES):
            points = sorted((rate, float(shares[track])) for rate, shares in found.items())
            if len({share for _, share in points if _usable(share)}) >= len(PROBABILITIES):
                return
            wider = [
                (high / low, low, high)
                for (low, first), (high, second) in pairwise(points)
                if not (_usable(first) and _usable(second)) and first <= 1 - SATURATED and second > SATURATED
            ]
            width, low, high = max(wider, default=(1.0, 1.0, 1.0))
            if width < NARROW:
                return
            look(math.sqrt(low * high))

    def _refit(self, found: dict[float, Any], track: int, ratio: float) -> None:
        points = [(rate * ratio, float(shares[track])) for rate, shares in sorted(found.items())]
        inside = [(rate, share) for rate, share in points if _usable(share)]
        self.errors[track] = 0
        if inside:
            try:
                model = fit(ErrorFunction, *map(list, zip(*inside, strict=True)), method="probit").model
            except ObservationError:  # one point, or shares that fall as the rate rises
                nearest_half = min(inside, key=lambda point: abs(point[1] - 0.5))
                self.mu[track] = float(ErrorFunction.mu_for(*nearest_half, self.sigma[track]))
            else:
                self.mu[track], self.sigma[track] = model.mu, model.sigma
        else:
            above = [rate for rate, share in points if share > SATURATED]
            below = [rate for rate, share in points if share <= SATURATED and rate < min(above, default=math.inf)]
            if below and not above and self.fits:
                return  # what there was to learn is learnt: the model stays as it was
            if not below or not above:
                raise Diverged(
                    f"ActCooLR: at step {self.last_epoch} a step changes {'no' if below else 'every'} pattern at all "
                    f"learning rates from {points[0][0]:.3g} to {points[-1][0]:.3g}, expected some between; "
                    + ("its gradients vanish" if below else "the training diverges; start at a lower rate or t_start")
                )
            # nothing between: the transition is a step
            self.mu[track] = (math.log(max(below)) + math.log(min(above))) / 2
            self.sigma[track] = math.log(min(above) / max(below)) / 4

    # From sites, and the modules that they come after, to the sites of each track.
    def _tracks(self, after: Mapping[str, str]) -> list[list[str]]:
        if not self.per_group:
            return [list(after)]
        group_of = {
            id(parameter): number
            for number, group in enumerate(self.optimizer.param_groups)
            for parameter in group["params"]
        }
        modules = dict(unwrap(self._model).named_modules())
        tracks: list[list[str]] = [[] for _ in self.optimizer.param_groups]
        for name, path in after.items():
            own = modules[path].parameters(recurse=False)
            owners = [group_of[id(parameter)] for parameter in own if id(parameter) in group_of]
            if owners:
                tracks[owners[0]].append(name)
        return tracks


class _Probe:
    """Measures one step on one batch.

    Attributes:
        step: The step.
        ratios: Of each track, its parameter group's rate over that of the first.
        rows: Rows of each track's sites.
    """

    def __init__(
        self,
        model: nn.Module,
        batch: Input,
        step: OptimizerStep,
        tracks: Callable[[Mapping[str, str]], list[list[str]]],
        width: int,
    ) -> None:
        self.step = step
        self._width = width
        with preserved(model):
            self._before = observe(model, batch, patterns_only=True, step=step)
        self._sites = tracks({name: self._before.site[name].after for name in self._before.sites})
        self.ratios: Sequence[float] = step.ratios[: len(self._sites)]
        self.rows = [sum(len(self._before.packed[site]) for site in sites) for sites in self._sites]

    # Probability of each track, NaN without sites; at a rate at which the network overflows, all patterns change.
    def __call__(self, rate: float) -> Any:
        (after,) = steps_taken(self._before, self.step, [rate])
        if after is None:
            return np.where(np.array(self.rows) > 0, 1.0, np.nan)
        shares = {
            name: share_changed(self._before.packed[name], after.packed[name], self._before.site[name], self._width)
            for name in after.sites
        }
        return np.array([np.mean([shares[site] for site in sites]) if sites else np.nan for sites in self._sites])


def actcoolr(
    optimizer: Optimizer,
    *,
    total_steps: int,
    model: nn.Module,
    base: float | None = None,
    t_start: float = 1.0,
    gamma: float = 1.0,
    curve: Literal["temperature", "probability"] = "temperature",
    per_group: bool = False,
    samples: int = 64,
    every: int = 8,
    warmup: float = 0.1,
    width: int = 64,
    max_growth: float = 10.0,
) -> ActCooLR:
    """Build ActCooLR.

    Args:
        optimizer: Whose rates are moved.
        total_steps: Number of optimizer steps of the whole training.
        model: The network.
        base: Rate of the first step; None keeps the optimizer's own.
        t_start: Temperature at the start, base 2.
        gamma: How the curve bends.
        curve: `"temperature"` or `"probability"`.
        per_group: Whether each parameter group gets a rate of its own.
        samples: How many of a batch's first samples are looked at.
        every: Steps between measurements, as `ActCooLR` takes it.
        warmup: Share of the training in which the temperature rises.
        width: Units of the patterns that the temperature is of; 0 takes the sites' own.
        max_growth: How many times the first step's rate for the start temperature no rate exceeds.

    Returns:
        The scheduler; its `step` takes the batch.

    Raises:
        RecipeError: If a parameter is out of its range.

    References:
        Hartmann 2025, section 3.3.2 and A.4.
    """
    from reluscope_plugins.schedulers.rates import start_from

    start_from("actcoolr", optimizer, base)
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
        max_growth=max_growth,
    )


def _usable(share: float) -> bool:
    return SATURATED < share < 1 - SATURATED


def _first(batch: Any, samples: int) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch[:samples] if batch.ndim else batch
    if isinstance(batch, tuple | list):
        return type(batch)(_first(one, samples) for one in batch)
    if isinstance(batch, Mapping):
        return {key: _first(one, samples) for key, one in batch.items()}
    return batch


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return float(value) if isinstance(value, torch.Tensor) else value
