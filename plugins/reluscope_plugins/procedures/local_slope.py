"""How the slope changes with the distance from an input, before training and while a network learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope.observation import observe
from reluscope.preserve import preserved
from reluscope_plugins.geometry.operator_norm import operator_norms
from reluscope_plugins.procedures.train import Training

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
Length = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
_CENTRES, _DIRECTIONS = 23, 24


def local_slope(
    context: Context,
    *,
    epochs: Positive,
    looks: list[Natural] | None = None,
    centres: Positive = 250,
    radii: tuple[Length, Length, Positive] = (1e-4, 1.5, 150),
    directions: Positive = 500,
    p: Annotated[float, pydantic.Field(ge=1)] = 2.0,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
) -> None:
    r"""Measure how the slope changes with the distance from training samples, at chosen epochs of a training.

    The mean of $|s - s'| / s$, where s is the p-slope at a training sample and s' that at a point drawn uniformly from
    a sphere around it, over samples and points, for each radius. The slope of the local affine map is its operator
    p-norm.

    Writes the group `local_slope` along the dims `epoch` and `x`, the radius, and all that `train` writes.

    Args:
        context: The recipe's point: data set, architecture, optimizer, scheduler, metrics.
        epochs: How often each training sample is seen.
        looks: Epochs at which to measure; left out, before training and after the last.
        centres: Number of training samples to measure around, drawn by the seed.
        radii: Least and greatest radius and their number, evenly spaced, in units of the (normalised) input.
        directions: Points on each sphere.
        p: Which slope.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Inputs of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe lacks a choice, or its choices do not fit together.
    """
    chosen = [0, epochs] if looks is None else looks
    if any(epoch > epochs for epoch in chosen):
        raise RecipeError(f"looks = {chosen}: there are {epochs} epochs, expected none after the last; drop it")
    if radii[0] >= radii[1]:
        raise RecipeError(f"radii = {list(radii)}: expected the least, then the greatest, then their number")
    training = Training(context, epochs, batch_size, evaluation_batch_size, find_device(device))
    middle = _centres(training.data["train"], centres, context.seed(_CENTRES)).to(training.device)
    spheres = np.linspace(*radii)

    def look(epoch: int) -> None:
        if epoch in chosen:
            with preserved(training.model, training=False):
                seed = context.seed(_DIRECTIONS, epoch)
                found = _changes(training.model, middle, spheres, directions, p, evaluation_batch_size, seed)
            _record(context, found, spheres, epoch, p)

    training.run(after_epoch=look)


def _centres(data: Dataset[Any], count: int, seed: int) -> Tensor:
    size = len(data)  # type: ignore[arg-type]
    if count > size:
        raise RecipeError(f"centres = {count}: there are {size} training samples, expected at most so many")
    drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:count]
    return torch.stack([data[index][0] for index in drawn.tolist()])


def _slopes(model: nn.Module, points: Tensor, p: float, batch_size: int) -> Tensor:
    return torch.cat(
        [operator_norms(observe(model, some, affine=True).affine(), p).lower for some in points.split(batch_size)]
    ).detach()


def _changes(
    model: nn.Module,
    centres: Tensor,
    radii: np.ndarray[Any, Any],
    directions: int,
    p: float,
    batch_size: int,
    seed: int,
) -> dict[str, np.ndarray[Any, Any]]:
    # Mean relative change at each radius, its standard error over centres, and the mean slope at the centres.
    generator = torch.Generator().manual_seed(seed)
    slope = _slopes(model, centres, p, batch_size)
    mean, error = [], []
    for radius in radii.tolist():
        drawn = torch.randn(directions, *centres.shape, generator=generator).flatten(2)
        step = radius * drawn / torch.linalg.vector_norm(drawn, dim=2, keepdim=True)
        points = centres + step.to(centres).reshape(directions, *centres.shape)
        around = _slopes(model, points.flatten(0, 1), p, batch_size).reshape(directions, -1)
        change = ((around - slope).abs() / slope).double().mean(0)
        mean.append(change.mean().item())
        error.append((change.std() / len(change) ** 0.5).item() if len(change) > 1 else float("nan"))
    return {"change": np.array(mean), "error": np.array(error), "slope": np.array(slope.double().mean().item())}


def _record(
    context: Context, found: dict[str, np.ndarray[Any, Any]], radii: np.ndarray[Any, Any], epoch: int, p: float
) -> None:
    about = {"units": "1"}
    data = xr.Dataset(
        {
            "slope_change": ("x", found["change"], {"long_name": f"Mean relative change of the {p:g}-slope", **about}),
            "slope_change_error": ("x", found["error"], {"long_name": "Its standard error, over centres", **about}),
            "centre_slope": ((), found["slope"], {"long_name": f"Mean {p:g}-slope at the centres", **about}),
        },
        coords={"x": ("x", radii, {"long_name": "Radius", **about})},
    )
    coordinate = xr.Variable("epoch", [epoch], {"long_name": "Epoch", "units": "1"})
    context.record("local_slope", data.expand_dims("epoch").assign_coords(epoch=coordinate))
