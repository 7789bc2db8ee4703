"""Parameters multiplied by 1 + noise."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import nn

from reluscope.errors import RecipeError, nearest

Parts = Literal["all", "weights", "biases"]


@torch.no_grad()
def multiply_by_noise(
    model: nn.Module, variance: float, *, parameters: Parts = "all", generator: torch.Generator
) -> None:
    r"""Multiply each parameter by a factor of its own: $w (1 + \epsilon)$ with $\epsilon \sim N(0, s^2)$.

    A parameter that is zero stays zero. The draws come in the order of the parameters, in float64, the same for each
    choice of `parameters`: so what `"weights"` and `"biases"` do is, taken together, what `"all"` does.

    Args:
        model: The network; changed in place.
        variance: $s^2$, at least 0.
        parameters: `"all"`, `"weights"` (those called `weight`) or `"biases"` (those called `bias`).
        generator: Where the draws come from, on the CPU.

    Raises:
        RecipeError: If the variance is negative or not finite, or the network has no such parameters.

    References:
        Jeong, Barton and Ramirez 2020 (ICERM), perturbing the parameters.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> before = layer.weight.clone()
        >>> multiply_by_noise(layer, 0.01, parameters="biases", generator=torch.Generator().manual_seed(0))
        >>> torch.equal(layer.weight, before)
        True
    """
    if isinstance(variance, bool) or not isinstance(variance, int | float) or not 0 <= variance < math.inf:
        raise RecipeError(f"variance is {variance!r}, expected a finite number of at least 0")
    if parameters not in get_args(Parts):
        raise RecipeError(f"unknown parameters {parameters!r}. {nearest(str(parameters), get_args(Parts))}")
    names = {"all": None, "weights": "weight", "biases": "bias"}
    wanted = names[parameters]
    found = False
    for name, values in model.named_parameters():
        noise = math.sqrt(variance) * torch.randn(values.shape, generator=generator, dtype=torch.float64)
        if wanted is None or name.rpartition(".")[2] == wanted:
            values.copy_(values.double() * (1 + noise.to(values.device)))
            found = True
    if not found:
        raise RecipeError(f"parameters = {parameters!r}: the network has none; choose others, or another network")
