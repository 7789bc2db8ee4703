"""Initial weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import nn

from reluscope.errors import RecipeError, nearest
from reluscope_plugins.architectures.checks import check_choice

SCHEMES: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "default": {},
        "he_normal": {},
        "gaussian": {"weight_variance": 2.0, "bias_variance": 0.0},
        "uniform": {"bound": None},
        "sparse": {"sparsity": 0.9, "std": 0.01},
    }
)
"""Each scheme with its parameters and their default values."""


def check_scheme(scheme: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Check the parameters of a scheme and fill in what is left out.

    Args:
        scheme: One of `SCHEMES`.
        given: Parameters, None where left out.

    Returns:
        The scheme's parameters, complete.

    Raises:
        RecipeError: If there is no such scheme, or a parameter is not the scheme's or out of its range.
    """
    if scheme not in SCHEMES:
        raise RecipeError(f"unknown init {scheme!r}. {nearest(str(scheme), SCHEMES)}")
    for name, value in given.items():
        if value is None:
            continue
        if name not in SCHEMES[scheme]:
            owner = next(other for other, parameters in SCHEMES.items() if name in parameters)
            raise RecipeError(f"init {scheme!r} takes no {name} (got {value!r}); it belongs to init {owner!r}")
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        zero_is_fine = name in ("bias_variance", "sparsity")
        if not number or value < 0 or (value == 0 and not zero_is_fine) or (name == "sparsity" and value > 1):
            expected = {"bias_variance": "a number of at least 0", "sparsity": "a share within 0..1"}
            raise RecipeError(
                f"init {scheme!r}: {name} is {value!r}, expected {expected.get(name, 'a number above 0')}"
            )
    return {**SCHEMES[scheme], **{name: value for name, value in given.items() if value is not None}}


@torch.no_grad()
def initialise(layers: Iterable[nn.Linear], scheme: str, parameters: Mapping[str, Any]) -> None:
    r"""Draw the weights of linear layers anew, from torch's global generator as constructing a module does.

    | scheme      | weight `W_ij`                                                 | bias                  |
    |-------------|---------------------------------------------------------------|-----------------------|
    | `default`   | left as torch drew it                                         | likewise              |
    | `he_normal` | `N(0, 2 / fan_in)`                                            | 0                     |
    | `gaussian`  | `N(0, weight_variance / fan_in)`                              | `N(0, bias_variance)` |
    | `uniform`   | `U(-bound, bound)`, the bound being `1 / sqrt(fan_in)` if None | likewise              |
    | `sparse`    | `N(0, std^2)`; in each column `ceil(sparsity * rows)` zeros   | 0                     |

    Args:
        layers: The layers; changed in place.
        scheme: One of `SCHEMES`.
        parameters: As `check_scheme` gives them.

    References:
        He et al. 2015, eq. 10; Martens 2010 (sparse), as `torch.nn.init` has them.
    """
    for layer in layers:
        fan_in = layer.in_features
        bias = layer.bias if layer.bias is not None else torch.empty(0)
        if scheme == "he_normal":
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            bias.zero_()
        elif scheme == "gaussian":
            layer.weight.normal_(0.0, math.sqrt(parameters["weight_variance"] / fan_in))
            bias.normal_(0.0, math.sqrt(parameters["bias_variance"]))
        elif scheme == "uniform":
            bound = parameters["bound"] if parameters["bound"] is not None else 1 / math.sqrt(fan_in)
            layer.weight.uniform_(-bound, bound)
            bias.uniform_(-bound, bound)
        elif scheme == "sparse":
            nn.init.sparse_(layer.weight, sparsity=parameters["sparsity"], std=parameters["std"])
            bias.zero_()


def check_drawn(name: str, init: str) -> bool:
    """Say whether the weights of a network are to be drawn by `he_normal`.

    Args:
        name: The architecture's name, for messages.
        init: `"default"` or `"he_normal"`.

    Returns:
        Whether it is the latter.

    Raises:
        RecipeError: If it is neither.
    """
    check_choice(name, "init", init, ("default", "he_normal"))
    return init == "he_normal"


@torch.no_grad()
def he_normal(model: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_in") -> None:
    r"""Draw the weights of all convolutions and linear layers anew: `N(0, 2 / fan)`, biases 0.

    Args:
        model: The network; changed in place.
        mode: `"fan_in"`, the weights at one output, or `"fan_out"`, those at one input.

    References:
        He et al. 2015, eq. 10 (fan in) and eq. 14 (fan out).

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> he_normal(layer)
        >>> layer.bias.tolist()
        [0.0, 0.0, 0.0]
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
            if layer.bias is not None:
                layer.bias.zero_()
