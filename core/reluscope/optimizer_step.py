"""One step of an optimizer, taken at any learning rate and undone; the optimizer does not notice."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim import optimizer as optimizer_module

from reluscope import random_state
from reluscope.errors import NotFiniteError, ObservationError
from reluscope.finite import total

LINEAR = tuple(
    getattr(torch.optim, name)
    for name in (
        "SGD",
        "Adam",
        "AdamW",
        "Adamax",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "Muon",
        "SparseAdam",
    )
    if hasattr(torch.optim, name)
)
"""Optimizers whose new weights are a linear function of the learning rate, so that one step serves all rates."""

_HOOKS = ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks")
_GLOBAL_HOOKS = ("_global_optimizer_pre_hooks", "_global_optimizer_post_hooks")
_LARGE = 2.0**40
"""Rate of the step that gives the direction: so large that hardly a digit is lost against the weights."""

Copied = tuple[Optimizer, dict[torch.nn.Parameter, torch.nn.Parameter]]
"""A copy of an optimizer, and parameter to its copy."""


class OptimizerStep:
    """The step that an optimizer would take with the gradients at hand.

    Made after `loss.backward()` and before `optimizer.step()`, it keeps what it needs: weights, gradients and the
    optimizer's state may change afterwards. The optimizer, its state and the gradients are left alone; hooks on its
    step are not called.

    For `LINEAR` optimizers, with momentum, Nesterov's too, and weight decay, the new weights are a linear function of
    the rate, and one step on a copy serves all rates; any other optimizer is stepped on a copy for each, each time with
    the random state in which the step was made. The rate is that of the first parameter group; the others keep their
    ratio to it.

    Args:
        optimizer: Any but LBFGS.
        grad_scale: What the gradients are to be divided by: `scaler.get_scale()` where a `torch.amp.GradScaler` has
            scaled them and not yet unscaled.

    Attributes:
        rate: Rate of the first parameter group.
        ratios: Of each parameter group, its rate over that of the first.
        parameters: What the step changes: the parameters that have a gradient.

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
        if not isinstance(optimizer, Optimizer):
            raise ObservationError(
                f"optimizer: got {type(optimizer).__name__}, expected a torch.optim.Optimizer; of what wraps one, pass "
                "the one inside"
            )
        if isinstance(optimizer, torch.optim.LBFGS):
            raise ObservationError(
                "LBFGS evaluates the loss several times within a step, so there is no step at another rate to look at; "
                "expected an optimizer that steps along the gradients at hand, such as SGD or AdamW"
            )
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.rate = rates[0]
        if self.rate <= 0 and any(rates):
            raise ObservationError(
                f"the first parameter group has the rate {self.rate:g} and others {rates[1:]}, expected one above 0, "
                "which the others keep their ratio to; put another group first"
            )
        self.ratios = [rate / self.rate if self.rate > 0 else 1.0 for rate in rates]
        self._before: dict[torch.nn.Parameter, torch.Tensor] = {}
        self._directions: dict[torch.nn.Parameter, torch.Tensor] | None = None
        with torch.no_grad():
            gradients = _gradients(optimizer, grad_scale)
            if not gradients:
                raise ObservationError(
                    "no parameter of the optimizer has a gradient, expected those of the step; call loss.backward() "
                    "first, and optimizer.zero_grad() only afterwards"
                )
            self.parameters = tuple(gradients)
            self._before = {parameter: parameter.detach().clone() for parameter in gradients}
            linear = type(optimizer) in LINEAR
            self._copy = (_widened if linear else _copied)(optimizer, gradients)
            if linear:
                large = self._step(self._copy, _LARGE)
                self._directions = {p: (large[p] - _wide(self._before[p])) / _LARGE for p in self._before}
                del self._copy
            else:
                self._randomness = random_state.capture()

    def weights(self, rate: float) -> dict[torch.nn.Parameter, torch.Tensor]:
        """Return the weights after the step.

        Args:
            rate: Rate of the first parameter group; 0 gives the weights before the step.

        Returns:
            Parameter to its new values, for those that have a gradient.

        Raises:
            ObservationError: If the optimizer cannot be stepped on a copy.
        """
        with torch.no_grad():
            if rate == 0:
                return {parameter: before.clone() for parameter, before in self._before.items()}
            if self._directions is not None:
                return {
                    p: (_wide(self._before[p]) + rate * direction).to(p.dtype)
                    for p, direction in self._directions.items()
                }
            optimizer, places = self._copy
            gradients = {place: place.grad for place in places.values() if place.grad is not None}
            again, moved = _copied(optimizer, gradients)
            with random_state.isolated():
                random_state.restore(self._randomness)
                return self._step((again, {p: moved[place] for p, place in places.items()}), rate)

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

    def _step(self, copied: Copied, rate: float) -> dict[torch.nn.Parameter, torch.Tensor]:
        optimizer, places = copied
        for group, ratio in zip(optimizer.param_groups, self.ratios, strict=True):
            lr = group["lr"]
            group["lr"] = torch.full_like(lr, rate * ratio) if isinstance(lr, torch.Tensor) else rate * ratio
        step: Any = type(optimizer).step
        try:
            with torch.no_grad(), _unheard():
                getattr(step, "__wrapped__", step)(optimizer)
        except Exception as error:
            raise ObservationError(
                f"{type(optimizer).__name__} raised {type(error).__name__} ({error}) when stepped on a copy, expected "
                "an optimizer that steps along the gradients at hand, without a closure"
            ) from error
        return {parameter: place.detach() for parameter, place in places.items()}


def _gradients(optimizer: Optimizer, scale: float) -> dict[torch.nn.Parameter, torch.Tensor]:
    found = {}
    for number, group in enumerate(optimizer.param_groups):
        for place, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            gradient = parameter.grad.detach() / scale if scale != 1 else parameter.grad.detach().clone()
            if not bool(total(gradient.coalesce().values() if gradient.is_sparse else gradient).isfinite()):
                _check_gradient(gradient, number, place)
            found[parameter] = gradient
    return found


# Torch's own optimizers keep all that matters in state and groups. Half precision is widened, or the large step that
# gives the direction would leave its range.
def _widened(optimizer: Optimizer, gradients: dict[torch.nn.Parameter, torch.Tensor]) -> Copied:
    shadow = object.__new__(type(optimizer))
    shadow.__dict__.update({name: value for name, value in vars(optimizer).items() if name != "step"})
    shadow.__dict__.update({name: OrderedDict() for name in _HOOKS}, state=defaultdict(dict))
    places = {}
    for parameter, gradient in gradients.items():
        place = places[parameter] = torch.nn.Parameter(_wide(parameter.detach()).clone())
        place.grad = gradient if gradient.is_sparse else _wide(gradient)
        state = optimizer.state.get(parameter)
        if state:
            shadow.state[place] = {name: _widened_state(value, parameter) for name, value in state.items()}
    shadow.param_groups = [
        {**group, "params": [places[p] for p in group["params"] if p in places], "lr": float(group["lr"])}
        for group in optimizer.param_groups
    ]
    return shadow, places


def _widened_state(value: Any, parameter: torch.nn.Parameter) -> Any:
    if not isinstance(value, torch.Tensor):
        return copy.deepcopy(value)
    return (_wide(value) if value.dtype == parameter.dtype else value).detach().clone()


# Of other optimizers everything is copied: what they hold beside state and groups, another optimizer inside too.
def _copied(optimizer: Optimizer, gradients: dict[torch.nn.Parameter, torch.Tensor]) -> Copied:
    shadow = object.__new__(type(optimizer))
    memo: dict[int, Any] = {id(optimizer): shadow}
    places = {}
    for parameter, gradient in gradients.items():
        place = places[parameter] = torch.nn.Parameter(parameter.detach().clone())
        place.grad = gradient.clone()
        place.__dict__.update(vars(parameter))
        memo[id(parameter)] = place
    try:
        for name, value in vars(optimizer).items():
            if name not in (*_HOOKS, "step"):
                shadow.__dict__[name] = copy.deepcopy(value, memo)
    except Exception as error:
        raise ObservationError(
            f"{type(optimizer).__name__} cannot be copied, which looking at its step takes: {error}; expected one "
            "whose attributes copy.deepcopy takes"
        ) from error
    shadow.__dict__.update({name: OrderedDict() for name in _HOOKS})
    return shadow, places


# Without the hooks on the steps of all optimizers: a user's step may call that of its parent, which calls them.
@contextmanager
def _unheard() -> Iterator[None]:
    kept = {name: getattr(optimizer_module, name) for name in _GLOBAL_HOOKS}
    try:
        for name in kept:
            setattr(optimizer_module, name, OrderedDict())
        yield
    finally:
        for name, hooks in kept.items():
            setattr(optimizer_module, name, hooks)


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _check_gradient(gradient: torch.Tensor, group: int, place: int) -> None:
    values = gradient.coalesce().values() if gradient.is_sparse else gradient
    if not bool(values.isfinite().all()):
        raise NotFiniteError(
            f"the gradient of parameter {place} of group {group}, of shape {tuple(gradient.shape)}, holds NaN or "
            "infinity, expected finite values; training may have diverged, or the loss scaling overflowed"
        )
