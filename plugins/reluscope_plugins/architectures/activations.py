"""Activation functions by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import nn

from reluscope.errors import RecipeError, nearest

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {
        "celu": nn.CELU,
        "elu": nn.ELU,
        "gelu": nn.GELU,
        "hardswish": nn.Hardswish,
        "hardtanh": nn.Hardtanh,
        "leaky_relu": nn.LeakyReLU,
        "mish": nn.Mish,
        "prelu": nn.PReLU,
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "selu": nn.SELU,
        "sigmoid": nn.Sigmoid,
        "silu": nn.SiLU,
        "softplus": nn.Softplus,
        "tanh": nn.Tanh,
    }
)
"""Name to module class, each with torch's own default parameters."""


def make_activation(name: str) -> nn.Module:
    """Make an activation module.

    Args:
        name: One of `ACTIVATIONS`.

    Returns:
        A new module.

    Raises:
        RecipeError: If there is none of this name.

    Example:
        >>> make_activation("relu")
        ReLU()
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise RecipeError(f"unknown activation {name!r}. {nearest(str(name), ACTIVATIONS)}")
    return ACTIVATIONS[name]()
