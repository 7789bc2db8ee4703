"""Perturb a network, teach it a sawtooth, and count its pieces as it learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import pydantic
import torch
import xarray as xr
from torch import nn

from reluscope.context import Diverged
from reluscope.optimizers import build_optimizer
from reluscope_plugins.architectures.multiplicative_noise import Parts, multiply_by_noise
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.rational_pieces import rational_pieces

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
Variance = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
# streams of random draws; that of the weights is the one that `train` has
_WEIGHTS, _NOISE, _INPUTS = 1, 31, 32
POINTS = 4096
"""Points of [0, 1] at which the error is taken, in the middle of intervals of equal length."""


def relearning(
    context: Context,
    *,
    compositions: Positive = 6,
    variance: Variance = 0.0,
    parameters: Parts = "all",
    steps: Natural = 0,
    every: Positive = 10,
    batch_size: Positive = 10,
) -> None:
    r"""Multiply a network's parameters by noise, then train it on a sawtooth, and count its pieces on [0, 1].

    The network is the recipe's architecture in float64: `sawtooth` for a start near the solution, `mlp` for a random
    one. Each parameter is multiplied by $1 + \epsilon$, $\epsilon \sim N(0, s^2)$. Training is least squares on the
    exact sawtooth of $2^n$ pieces, at inputs drawn uniformly from [0, 1], anew at each step.

    Writes the group `relearning`: the number of pieces (changes of slope, plus one; exact: `rational_pieces`) and the
    mean squared error, after the perturbation (step 0), every so many steps, and at the end.

    Args:
        context: The recipe's point: architecture, of one input and one output; with steps also the optimizer.
        compositions: n of the sawtooth that is learnt.
        variance: $s^2$; 0 leaves the parameters as they are.
        parameters: Which parameters are perturbed: `"all"`, `"weights"` or `"biases"`; all of them are trained.
        steps: Optimizer steps; 0 looks at the perturbed network.
        every: Steps between two counts.
        batch_size: Inputs of a step.

    Raises:
        RecipeError: If the recipe lacks a choice, or the network has no such parameters.
        Diverged: If the loss leaves the finite numbers.

    References:
        Jeong, Barton and Ramirez 2020 (ICERM), perturbing the parameters; re-learning sawtooth networks.
    """
    choice = context.choice("architecture")
    entry = context.lab.architectures[choice.name]
    model = entry.build(seed=context.seed(_WEIGHTS), **choice.parameters).double()
    target = sawtooth(compositions).double()
    if variance:
        noise = torch.Generator().manual_seed(context.seed(_NOISE))
        multiply_by_noise(model, variance, parameters=parameters, generator=noise)
    _record(context, model, target, 0)
    if not steps:
        return
    chosen = context.choice("optimizer")
    optimizer = build_optimizer(chosen.name, chosen.parameters, model.parameters())
    inputs = torch.Generator().manual_seed(context.seed(_INPUTS))
    for step in range(1, steps + 1):
        x = torch.rand(batch_size, 1, generator=inputs, dtype=torch.float64)
        loss = nn.functional.mse_loss(model(x), target(x).detach())
        _check(loss.item(), step - 1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            _record(context, model, target, step)
            context.advance(step / steps)


@torch.no_grad()
def _record(context: Context, model: nn.Module, target: nn.Module, step: int) -> None:
    x = ((torch.arange(POINTS, dtype=torch.float64) + 0.5) / POINTS).unsqueeze(1)
    error = float(nn.functional.mse_loss(model(x), target(x)))
    _check(error, step)
    found: dict[str, Any] = {
        "piece_count": (
            "step",
            [len(rational_pieces(model))],
            {"long_name": "Affine pieces of the network on [0, 1]", "units": "1"},
        ),
        "squared_error": ("step", [error], {"long_name": "Mean squared distance to the sawtooth", "units": "1"}),
    }
    about = {"long_name": "Optimizer steps taken", "units": "1"}
    context.record("relearning", xr.Dataset(found, coords={"step": ("step", [step], about)}))


def _check(error: float, step: int) -> None:
    if not math.isfinite(error):
        raise Diverged(f"the squared error is {error} at step {step}; lower the rate")
