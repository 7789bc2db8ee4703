"""One step of an optimizer, taken at any learning rate and undone; the optimizer does not notice."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from reluscope.errors import NotFiniteError, ObservationError
from reluscope.finite import total

LINEAR = tuple(
    getattr(torch.optim, name)
    for name in ("SGD", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Muon")
    if hasattr(torch.optim, name)
)
"""Optimizers whose new weights are a linear function of the learning rate, so that one step serves all rates."""

_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_LARGE = 2.0**40
"""Rate of the step that gives the direction: so large that hardly a digit is lost against the weights."""


class OptimizerStep:
    """The step that an optimizer would take with the gradients at hand.

    Made after `loss.backward()` and before `optimizer.step()`, it keeps what it needs: weights, gradients and the
    optimizer's state may change afterwards. The optimizer, its state, its hooks and the gradients are left alone.

    For `LINEAR` optimizers, with momentum, Nesterov's too, and weight decay, the new weights are a linear function of
    the rate, and one step on a copy serves all rates; any other optimizer is stepped on a copy for each. The rate is
    that of the first parameter group; the others keep their ratio to it.

    Args:
        optimizer: Any but LBFGS.
        grad_scale: What the gradients are to be divided by: `scaler.get_scale()` where a `torch.amp.GradScaler` has
            scaled them and not yet unscaled.

    Attributes:
        rate: Rate of the first parameter group.
        ratios: Of each parameter group, its rate over that of the first.

    Raises:
        ObservationError: If the optimizer cannot be stepped without evaluating the loss again, no parameter has a
            gradient or one holds NaN or infinity, or the ratio of the groups' rates is not known.

    References:
        Hartmann 2025, eq. 3.13 and 3.14.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0]))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> (3 * weight).sum().backward()
        >>> step = OptimizerStep(optimizer)
        >>> with step.taken(0.1):
        ...     print(round(weight.item(), 6))
        0.7
        >>> weight.item(), step.rate
        (1.0, 0.5)
    """

    def __init__(self, optimizer: Optimizer, *, grad_scale: float = 1.0) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ObservationError(
                "LBFGS evaluates the loss several times within a step, so there is no step at another rate to look at; "
                "expected an optimizer that steps along the gradients at hand, such as SGD or AdamW"
            )
        self._groups = [dict(group) for group in optimizer.param_groups]
        rates = [float(group["lr"]) for group in self._groups]
        self.rate = rates[0]
        if self.rate <= 0 and any(rates):
            raise ObservationError(
                f"the first parameter group has the rate {self.rate:g} and others {rates[1:]}, expected one above 0, "
                "which the others keep their ratio to; put another group first"
            )
        self.ratios = [rate / self.rate if self.rate > 0 else 1.0 for rate in rates]
        self._optimizer = optimizer
        with torch.no_grad():
            self._before: dict[torch.nn.Parameter, torch.Tensor] = {}
            self._gradients: dict[torch.nn.Parameter, torch.Tensor] = {}
            for number, group in enumerate(self._groups):
                for place, parameter in enumerate(group["params"]):
                    if parameter.grad is None:
                        continue
                    gradient = parameter.grad.detach().clone() if grad_scale == 1 else parameter.grad / grad_scale
                    if not bool(total(gradient.coalesce().values() if gradient.is_sparse else gradient).isfinite()):
                        _check_gradient(gradient, number, place)
                    self._before[parameter] = parameter.detach().clone()
                    self._gradients[parameter] = gradient
            if not self._before:
                raise ObservationError(
                    "no parameter of the optimizer has a gradient, expected those of the step; call loss.backward() "
                    "first, and optimizer.zero_grad() only afterwards"
                )
            self._state = {p: _cloned(optimizer.state.get(p, {})) for p in self._before}
            self._directions: dict[torch.nn.Parameter, torch.Tensor] | None = None
            if type(optimizer) in LINEAR:
                large = self._stepped(_LARGE, exact=True)
                self._directions = {p: (large[p] - _wide(self._before[p])) / _LARGE for p in self._before}
                self._gradients, self._state = {}, {}

    def weights(self, rate: float) -> dict[torch.nn.Parameter, torch.Tensor]:
        """Return the weights after the step.

        Args:
            rate: Rate of the first parameter group; 0 gives the weights before the step.

        Returns:
            Parameter to its new values, for those that have a gradient.
        """
        with torch.no_grad():
            if rate == 0:
                return dict(self._before)
            if self._directions is None:
                return self._stepped(rate)
            return {
                p: (_wide(self._before[p]) + rate * direction).to(p.dtype) for p, direction in self._directions.items()
            }

    @contextmanager
    def taken(self, rate: float) -> Iterator[None]:
        """Have the network's weights be those after the step.

        Args:
            rate: Rate of the first parameter group; 0 gives the weights before the step.

        Yields:
            Nothing. On exit, also on error, each parameter has the storage and values that it had on entry.
        """
        weights = self.weights(rate)
        kept = {parameter: parameter.data for parameter in weights}
        try:
            for parameter, values in weights.items():
                parameter.data = values
            yield
        finally:
            for parameter, storage in kept.items():
                parameter.data = storage

    # A step on copies; whoever patched or hooked the optimizer's step does not notice.
    def _stepped(self, rate: float, *, exact: bool = False) -> dict[torch.nn.Parameter, torch.Tensor]:
        widen = _wide if exact else torch.Tensor.clone
        copies = {p: torch.nn.Parameter(widen(before).clone()) for p, before in self._before.items()}
        shadow = object.__new__(type(self._optimizer))
        shadow.__dict__.update(self._optimizer.__dict__, **{name: OrderedDict() for name in _HOOKS})
        shadow.__dict__.pop("step", None)
        shadow.state = defaultdict(dict)
        for parameter, one in copies.items():
            gradient = self._gradients[parameter]
            one.grad = gradient.clone() if gradient.is_sparse else widen(gradient).clone()
            if self._state[parameter]:
                shadow.state[one] = _cloned(self._state[parameter], widen if exact else None, self._before[parameter])
        shadow.param_groups = []
        for group, ratio in zip(self._groups, self.ratios, strict=True):
            params = [copies[p] for p in group["params"] if p in copies]
            shadow.param_groups.append({**copy.copy(group), "params": params, "lr": rate * ratio})
        step = type(self._optimizer).step
        with torch.no_grad():
            getattr(step, "__wrapped__", step)(shadow)
        return {p: one.detach() for p, one in copies.items()}


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _cloned(state: Any, widen: Any = None, like: torch.Tensor | None = None) -> Any:
    if isinstance(state, dict):
        return {key: _cloned(value, widen, like) for key, value in state.items()}
    if isinstance(state, torch.Tensor):
        moves = widen is not None and like is not None and state.dtype == like.dtype
        return (widen(state) if moves else state).detach().clone()
    return copy.deepcopy(state)


def _check_gradient(gradient: torch.Tensor, group: int, place: int) -> None:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    if not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"the gradient of parameter {place} of group {group}, of shape {tuple(gradient.shape)}, holds NaN or "
            "infinity, expected finite values; training may have diverged, or the loss scaling overflowed"
        )
