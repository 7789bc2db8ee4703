"""torch's own optimizers by their lower-case names: they are no kind of entry, for torch has them all."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from reluscope.errors import RecipeError, nearest
from reluscope.parameters import short

if TYPE_CHECKING:
    import torch


def optimizer_class(name: str, parameters: Mapping[str, Any], origin: str) -> type[torch.optim.Optimizer]:
    """Find an optimizer and see to it that it takes the parameters.

    Args:
        name: Lower-case name of a class of `torch.optim`: `"sgd"`, `"adam"`, `"adamw"`, ...
        parameters: Name to value; the rate is `learning_rate`.
        origin: Where they come from, for messages.

    Returns:
        The class.

    Raises:
        RecipeError: If there is no such optimizer or parameter.

    Example:
        >>> optimizer_class("sgdd", {}, "my.toml")
        Traceback (most recent call last):
        ...
        reluscope.errors.RecipeError: my.toml: optimizer.name = "sgdd": unknown. Did you mean 'sgd'?
    """
    import torch

    classes: dict[str, type[torch.optim.Optimizer]] = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    if name not in classes:
        raise RecipeError(f"{origin}: optimizer.name = {short(name)}: unknown. {nearest(name, classes)}")
    takes = ["learning_rate" if key == "lr" else key for key in inspect.signature(classes[name]).parameters]
    takes.remove("params")
    for key, value in parameters.items():
        if key not in takes:
            raise RecipeError(f"{origin}: unknown key 'optimizer.{key}' (= {short(value)}). {nearest(key, takes)}")
    return classes[name]


def build_optimizer(
    name: str, parameters: Mapping[str, Any], weights: Iterable[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    """Make an optimizer.

    Args:
        name: Its name.
        parameters: Name to value; the rate is `learning_rate`.
        weights: What it optimises.

    Returns:
        The optimizer.

    Raises:
        RecipeError: If torch refuses a value.
    """
    make = optimizer_class(name, parameters, "recipe")
    given = {("lr" if key == "learning_rate" else key): value for key, value in parameters.items()}
    try:
        return make(weights, **given)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"optimizer = {short({'name': name, **parameters})}: {error}") from error
