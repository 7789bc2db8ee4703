"""Activation sites: which torch functions bend the function of a network, and where.

A two-state activation is active beyond one threshold; a three-state one is bounded on both sides. A pre-activation
exactly at a threshold is not active, as torch's own derivative has it (ReLU'(0) = 0), so that patterns and automatic
differentiation agree. The one exception is torch's `clamp`, whose derivative there has changed between versions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

Bound = float | torch.Tensor | None
Arguments = Callable[[Sequence[Any], Mapping[str, Any]], tuple[Bound, Bound]]


@dataclasses.dataclass(frozen=True)
class Site:
    """A place where a network bends: one call of an activation function or of a max-pool.

    Attributes:
        name: Module path and number of the call, such as `"layer1.0.relu#1"`; a functional call in the root module
            bears the function's name in place of the path.
        activation: The function: `"relu"`, `"hardtanh"`, `"gelu"`, `"max_pool2d"`, ...
        states: How many linear pieces a unit has here: 2 or 3; 0 for a max-pool, which has as many as its window.
        smooth: Whether the function is not piecewise linear, so that its states are but a threshold at zero.
        units: Number of units: features of a linear layer, channels of a convolution.
        positions: Rows that each input sample gives: 1 for dense layers, height times width for images; 0 where rows do
            not belong to samples, such as in a subnetwork that computes weights.
        after: Path of the module with parameters of its own that was the last to finish before; empty where none had.
    """

    name: str
    activation: str
    states: int
    smooth: bool
    units: int
    positions: int
    after: str = ""

    @property
    def bits(self) -> int:
        """Bits that a unit's state takes in `Observation.packed`: 1, 2 for three states, 32 for a max-pool's winner."""
        return {2: 1, 3: 2}.get(self.states, 32)


@dataclasses.dataclass(frozen=True)
class Activation:
    """What one torch function does to a pre-activation.

    Attributes:
        name: The activation's name.
        bounds: From a call's arguments to the lower and the upper threshold, None where there is none.
        smooth: Whether it is not piecewise linear.
        outer: Whether a unit passes its input on beyond the thresholds and is silent between them, as a shrink.
    """

    name: str
    bounds: Arguments
    smooth: bool = False
    outer: bool = False


@dataclasses.dataclass(frozen=True)
class Pool:
    """A max-pool function.

    Attributes:
        name: The pool's name.
        spatial: Number of position dims.
        indexed: The function that also returns the winners; None where the function called does so itself.
    """

    name: str
    spatial: int
    indexed: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None


def states(lower: Bound, upper: Bound) -> int:
    """Count the states that two thresholds leave.

    Args:
        lower: Lower threshold, None where there is none.
        upper: Upper threshold, None where there is none.

    Returns:
        2 or 3.
    """
    return 3 if lower is not None and upper is not None else 2


def pattern(preactivation: torch.Tensor, lower: Bound, upper: Bound, *, outer: bool = False) -> torch.Tensor:
    """Say in which state each unit is; 1 (or True) is the state that passes its input on.

    A shrink passes its input on in two states, so that its 2 is active as well.

    Args:
        preactivation: Any shape; no NaN.
        lower: Lower threshold, None where there is none.
        upper: Upper threshold, None where there is none.
        outer: Whether a unit passes its input on beyond the thresholds, as a shrink.

    Returns:
        The same shape: bool for two states; for three uint8, 0 below, 1 between, 2 above; of a shrink 0 between,
        1 above, 2 below.

    Example:
        >>> pattern(torch.tensor([-1.0, 0.0, 2.0]), 0.0, None)
        tensor([False, False,  True])
        >>> pattern(torch.tensor([-1.0, 0.0, 2.0, 6.0]), 0.0, 6.0)
        tensor([0, 0, 1, 2], dtype=torch.uint8)
        >>> pattern(torch.tensor([-1.0, 0.0, 2.0]), -0.5, 0.5, outer=True)
        tensor([2, 0, 1], dtype=torch.uint8)
    """
    if outer and lower is not None and upper is not None:
        return torch.gt(preactivation, upper).to(torch.uint8) + 2 * torch.lt(preactivation, lower).to(torch.uint8)
    if upper is None:
        return torch.gt(preactivation, 0.0 if lower is None else lower)
    if lower is None:
        return torch.lt(preactivation, upper)
    return torch.gt(preactivation, lower).to(torch.uint8) + torch.ge(preactivation, upper).to(torch.uint8)


def argument(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any = None) -> Any:
    """Pick an argument of a call, however it was passed.

    Args:
        args: Positional arguments.
        kwargs: Keyword arguments.
        position: Where it stands.
        name: How it is called.
        default: What it is when not passed.

    Returns:
        The argument.
    """
    return args[position] if len(args) > position else kwargs.get(name, default)


def _fixed(lower: float, upper: float | None = None) -> Arguments:
    return lambda args, kwargs: (lower, upper)


def _between(first: str, second: str, lower: float | None = None, upper: float | None = None) -> Arguments:
    return lambda args, kwargs: (argument(args, kwargs, 1, first, lower), argument(args, kwargs, 2, second, upper))


def _shrink(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Bound, Bound]:
    threshold = argument(args, kwargs, 1, "lambd", 0.5)
    return -threshold, threshold


_PIECEWISE: Mapping[tuple[str, ...], Activation] = {
    ("relu",): Activation("relu", _fixed(0.0)),
    ("leaky_relu",): Activation("leaky_relu", _fixed(0.0)),
    ("prelu",): Activation("prelu", _fixed(0.0)),
    ("rrelu",): Activation("rrelu", _fixed(0.0)),
    ("threshold", "_threshold"): Activation("threshold", lambda a, k: (argument(a, k, 1, "threshold"), None)),
    ("relu6",): Activation("relu6", _fixed(0.0, 6.0)),
    ("hardtanh",): Activation("hardtanh", _between("min_val", "max_val", -1.0, 1.0)),
    ("hardsigmoid",): Activation("hardsigmoid", _fixed(-3.0, 3.0)),
    ("softshrink",): Activation("softshrink", _shrink, outer=True),
    ("hardshrink",): Activation("hardshrink", _shrink, outer=True),
    ("clamp", "clip"): Activation("clamp", _between("min", "max")),
    ("clamp_min",): Activation("clamp", lambda a, k: (argument(a, k, 1, "min"), None)),
    ("clamp_max",): Activation("clamp", lambda a, k: (None, argument(a, k, 1, "max"))),
}
_SMOOTH: Mapping[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "hardswish", "tanh")},
    "sigmoid": ("sigmoid", "expit"),
    "logsigmoid": ("logsigmoid", "log_sigmoid"),
    "softsign": ("softsign",),
    "tanhshrink": ("tanhshrink",),
}
_BY_NAME: Mapping[str, Activation] = {
    **{alias: rule for aliases, rule in _PIECEWISE.items() for alias in aliases},
    **{alias: Activation(name, _fixed(0.0), smooth=True) for name, aliases in _SMOOTH.items() for alias in aliases},
}
HARDSIGMOID = _BY_NAME["hardsigmoid"]
_OWNERS: tuple[Any, ...] = (F, torch, torch.Tensor, torch._C._nn, torch.special)


def _functions(names: Mapping[str, Any]) -> dict[Any, Any]:
    table = {}
    for name, rule in names.items():
        for owner in _OWNERS:
            for spelling in (name, f"{name}_"):
                function = getattr(owner, spelling, None)
                if function is not None:
                    table[function] = rule
    return table


def _pools() -> dict[str, Pool]:
    pools = {}
    for spatial in (1, 2, 3):
        for kind in ("max_pool", "adaptive_max_pool", "fractional_max_pool"):
            name = f"{kind}{spatial}d"
            indexed = getattr(F, f"{name}_with_indices", None)
            if indexed is not None:
                pools[name] = pools[f"_{name}"] = Pool(name, spatial, indexed)
                pools[f"{name}_with_indices"] = Pool(name, spatial, None)
    return pools


ACTIVATIONS: Mapping[Any, Activation] = _functions(_BY_NAME)
"""Torch function to what it does, for every spelling: functional, method, in place."""

POOLS: dict[Any, Pool] = _functions(_pools())
"""Torch function to max-pool."""

for _name in [f"{kind}_max_pool{spatial}d" for kind in ("adaptive", "fractional") for spatial in (1, 2, 3)]:
    # The builtins of these names return the winners too, unlike the functions of the same name in nn.functional.
    for _owner in (torch, torch._C._nn):
        _builtin = getattr(_owner, _name, None)
        if _builtin is not None and _builtin is not getattr(F, _name, None):
            POOLS[_builtin] = Pool(_name, int(_name[-2]), None)


def called(activation: Activation, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Activation, Bound, Bound]:
    """Read one call of an activation.

    Args:
        activation: What was called.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Returns:
        The activation, the lower and the upper threshold.
    """
    lower, upper = activation.bounds(args, kwargs)
    if activation.name == "hardtanh" and (lower, upper) == (0.0, 6.0):
        # This is how torch's own ReLU6 module is written.
        activation = _BY_NAME["relu6"]
    return activation, lower, upper


def activation_of(function: Any) -> Activation | None:
    """Look up what a torch function does to a pre-activation.

    Args:
        function: A torch function, also an operator of `torch.ops.aten`, as exported programs call them.

    Returns:
        None where it is no activation.
    """
    rule = ACTIVATIONS.get(function)
    if rule is None and isinstance(function, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        namespace, _, operator = str(function).partition(".")
        name = operator.partition(".")[0]
        return _BY_NAME.get(name.removesuffix("_")) if namespace == "aten" else None
    return rule
