"""Draw weights over an interval in a number system, and set what is found beside the formulas."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope.errors import RecipeError

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
# stream of random draws
_DRAWS = 41
CHUNK = 1 << 22
"""Weights that are drawn at once."""


def drawn_weights(
    context: Context,
    *,
    number_system: str | dict[str, Any] = "psb",
    samples: Positive = 1,
    least: Finite = -4.0,
    greatest: Finite = 4.0,
    points: Annotated[int, pydantic.Field(ge=2)] = 401,
    repeats: Annotated[int, pydantic.Field(ge=2)] = 10_000,
) -> None:
    r"""Draw the same weights many times, and measure mean, variance and relative standard deviation.

    Writes the group `curves` along the weight `x`: of a system that has them, exponent and probability; and along
    `bound`, as computed (`"formula"`) and as found in the draws (`"measured"`), the mean, the variance and the standard
    deviation over the magnitude; of `psb` also the bounds $w^2 / (8 n)$ and $1 / \sqrt{8 n}$ (`"bound"`).

    Args:
        context: The recipe's point.
        number_system: A name, or a table with a name and parameters.
        samples: n, draws that are averaged.
        least: The first weight.
        greatest: The last weight.
        points: Weights, evenly spaced.
        repeats: How often the mean of n draws is drawn.

    Raises:
        RecipeError: If the interval is empty, or the number system has no name.

    References:
        Hartmann 2025, figure 4.1 and equations 4.4 to 4.11.
    """
    if least >= greatest:
        raise RecipeError(f"least = {least}: expected less than greatest, which is {greatest}")
    params = {"name": number_system} if isinstance(number_system, str) else dict(number_system)
    name = params.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError(f"number_system = {number_system!r}: expected a table with a name")
    system = context.lab.number_systems[name].build(**params)
    weight = torch.linspace(least, greatest, points, dtype=torch.float64).float()
    exact = weight.double().numpy()
    encoded = system.encode(weight)
    mean, variance = _measured(system, weight, samples, repeats, context)
    curves = {
        "mean": {"formula": system.mean(encoded).double().numpy(), "measured": mean},
        "variance": {"formula": system.variance(encoded, samples).double().numpy(), "measured": variance},
    }
    if name == "psb":
        curves["variance"]["bound"] = exact**2 / (8 * samples)
    magnitude = np.where(exact == 0, np.nan, np.abs(exact))
    curves["relative_deviation"] = {key: np.sqrt(values) / magnitude for key, values in curves["variance"].items()}
    if name == "psb":
        curves["relative_deviation"]["bound"] = np.full(points, 1 / math.sqrt(8 * samples))
    _record(context, exact, encoded, curves)


def _measured(
    system: Any, weight: torch.Tensor, samples: int, repeats: int, context: Context
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = torch.Generator().manual_seed(context.seed(_DRAWS, samples))
    size = max(1, CHUNK // len(weight))
    sums = torch.zeros(2, len(weight), dtype=torch.float64)
    for start in range(0, repeats, size):
        many = weight.repeat(min(size, repeats - start), 1)
        # around the weight, so that the difference of the two sums keeps its digits
        drawn = system.draw(system.encode(many), samples, generator).double() - weight.double()
        sums += torch.stack([drawn.sum(0), drawn.square().sum(0)])
        context.advance(min(1.0, (start + size) / repeats))
    offset = sums[0] / repeats
    variance = (sums[1] / repeats - offset.square()).clamp_min(0) * repeats / (repeats - 1)
    return (weight.double() + offset).numpy(), variance.numpy()


def _record(context: Context, x: np.ndarray[Any, Any], encoded: Any, curves: dict[str, dict[str, Any]]) -> None:
    names = {
        "mean": "Mean of the draws",
        "variance": "Variance of the mean of n draws",
        "relative_deviation": "Standard deviation of the mean of n draws, over the magnitude of the weight",
    }
    labels = list(curves["variance"])
    nothing = np.full(len(x), np.nan)
    found: dict[str, Any] = {
        key: (
            ("bound", "x"),
            np.stack([curves[key].get(label, nothing) for label in labels]),
            {"long_name": text, "units": "1"},
        )
        for key, text in names.items()
    }
    for key, text in (("exponent", "Exponent of the weight"), ("probability", "Probability of the upper shift")):
        if hasattr(encoded, key):
            found[key] = ("x", getattr(encoded, key).double().numpy(), {"long_name": text, "units": "1"})
    coords = {
        "x": ("x", x, {"long_name": "Weight", "units": "1"}),
        "bound": ("bound", labels, {"long_name": "Computed, found in the draws, or the bound", "units": "1"}),
    }
    context.record("curves", xr.Dataset(found, coords=coords))
