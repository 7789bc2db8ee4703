"""How much the singular values of the local affine map differ between regions, over many drawn networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope.observation import observe
from reluscope_plugins.geometry.adjacent_regions import adjacent_regions
from reluscope_plugins.geometry.perturbation import (
    expected_squared_norm,
    expected_squared_slope_difference,
    singular_value_difference,
)
from reluscope_plugins.geometry.sphere_search import sphere_search

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Length = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
# streams of random draws; that of the weights begins as the one of `train`
_WEIGHTS, _INPUTS, _DIRECTIONS = 1, 21, 22
_TRIES = 1000
Parts = dict[str, list[Tensor]]

NEAREST, SPHERES, NORM = "beyond the nearest wall", "on concentric spheres", "squared norm of E (2.7)"
APART = "at the distance"


def region_differences(
    context: Context,
    *,
    networks: Positive = 1,
    samples: Positive = 1,
    distance: Length | None = None,
    radii: tuple[Length, Length, Positive] = (1e-4, 1.5, 150),
    directions: Positive = 500,
    input_shape: list[Positive] | None = None,
    variance_constant: Length | None = None,
    device: str = "auto",
) -> None:
    r"""Measure how much singular values differ between the region of an input and another, in freshly drawn networks.

    Draws networks, and inputs for each, in float64. Without a distance the other region is the one beyond the nearest
    wall, found exactly, and beside it the one of the first point of another pattern on concentric spheres, which may
    lie several walls away. With a distance it is the region of a point that far away in a random direction; inputs
    whose point lies in their own region are drawn anew.

    Writes the group `differences`: the mean over networks and inputs of $\sum_i (\sigma_i - \tilde\sigma_i)^2$, and
    beside it its bounds, along the dim `bound`; and the group `pairs` with the values.

    Args:
        context: The recipe's point: architecture; data set, or else the inputs are standard normal.
        networks: Number of networks, each with weights of its own.
        samples: Number of inputs to each.
        distance: Distance to the other region's point, in units of the input; left out, adjacent regions.
        radii: Least and greatest radius of the spheres and their number, evenly spaced on a logarithmic scale.
        directions: Points on each sphere.
        input_shape: Shape of a normal input; left out, the number of values that the first linear layer takes.
        variance_constant: C, where weights are drawn with variance C over the number of a layer's inputs: then the
            expected bounds are set beside (one hidden layer). 1/3 for torch's own initialisation.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe lacks a choice, or its choices do not fit together.
    """
    place = find_device(device)
    if radii[0] >= radii[1]:
        raise RecipeError(f"radii = {list(radii)}: expected the least, then the greatest, then their number")
    spheres = np.geomspace(*radii).tolist()
    parts: Parts = {}
    bounds: dict[str, float] = {}
    for network in range(networks):
        model = _drawn(context, network).double().to(place).eval()
        if network == 0 and variance_constant is not None:
            bounds = _expected(model, variance_constant, distance)
        if distance is None:
            inputs = _inputs(context, model, network, samples, input_shape).to(place)
            found = _adjacent(model, inputs, spheres, directions, context.seed(_DIRECTIONS, network))
        else:
            found = _apart(context, model, network, samples, input_shape, distance, place)
        for name, values in found.items():
            parts.setdefault(name, []).append(values.cpu())
        context.advance((network + 1) / networks)
    _record(context, {name: torch.cat(values).numpy() for name, values in parts.items()}, bounds)


def _drawn(context: Context, network: int) -> nn.Module:
    choice = context.choice("architecture")
    seed = context.seed(_WEIGHTS, network)
    return context.lab.architectures[choice.name].build(seed=seed, **choice.parameters)


def _inputs(
    context: Context, model: nn.Module, network: int, samples: int, shape: list[int] | None, attempt: int = 0
) -> Tensor:
    generator = torch.Generator().manual_seed(context.seed(_INPUTS, network, attempt))
    chosen = context.recipe.dataset
    if chosen is not None:
        data: Any = context.lab.datasets[chosen.name].load(
            "train", context.data_root, lab=context.lab, **chosen.parameters
        )
        drawn = torch.randint(len(data), (samples,), generator=generator).tolist()
        return torch.stack([data[index][0] for index in drawn]).double()
    if shape is None:
        first = next((module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)), None)
        if not isinstance(first, nn.Linear):
            raise RecipeError("input_shape is missing: the network does not begin with a linear layer; add it")
        shape = [first.in_features]
    return torch.randn(samples, *shape, generator=generator, dtype=torch.float64)


def _adjacent(model: nn.Module, x: Tensor, radii: list[float], directions: int, seed: int) -> dict[str, Tensor]:
    observation = observe(model, x, affine=True)
    exact = adjacent_regions(observation)
    here = observation.affine().weight
    missing = torch.where(exact.found, 0.0, torch.nan)
    difference = singular_value_difference(here, exact.observation.affine().weight)
    sampled = sphere_search(model, x, radii, directions=directions, seed=seed)
    reached = sampled.distance.isfinite().to(x.device)
    points = torch.where(reached.reshape(-1, *[1] * (x.ndim - 1)), sampled.point, x)
    there = observe(model, points, affine=True).affine().weight
    return {
        NEAREST: difference**2 + missing,
        SPHERES: singular_value_difference(here, there) ** 2 + torch.where(reached, 0.0, torch.nan),
        NORM: exact.perturbation.frobenius_norm**2 + missing,
        "distance": torch.where(exact.found, exact.walls.distance.to(x), torch.nan),
        "sphere_radius": torch.where(reached, sampled.distance.to(x.device), torch.nan),
    }


def _apart(
    context: Context,
    model: nn.Module,
    network: int,
    samples: int,
    shape: list[int] | None,
    distance: float,
    place: torch.device,
) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(context.seed(_DIRECTIONS, network))
    found: list[Tensor] = []
    for attempt in range(_TRIES):
        x = _inputs(context, model, network, samples, shape, attempt).to(place)
        drawn = torch.randn(x.shape, generator=generator, dtype=torch.float64).flatten(1)
        step = distance * drawn / torch.linalg.vector_norm(drawn, dim=1, keepdim=True)
        here, there = (observe(model, y, affine=True) for y in (x, x + step.reshape(x.shape).to(place)))
        other = torch.zeros(samples, dtype=torch.bool, device=place)
        for site in here.pattern:
            other |= (here.pattern[site] != there.pattern[site]).reshape(samples, -1).any(1)
        found.append((singular_value_difference(here.affine().weight, there.affine().weight) ** 2)[other])
        if sum(map(len, found)) >= samples:
            break
    squared = torch.cat(found)[:samples]
    return {APART: torch.nn.functional.pad(squared, (0, samples - len(squared)), value=torch.nan)}


def _expected(model: nn.Module, constant: float, distance: float | None) -> dict[str, float]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    others = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    if len(layers) != 2 or len(others) != 2:
        raise RecipeError(
            f"variance_constant = {constant}: the expected bounds are those of one hidden layer, and the network has "
            f"{len(others)} layers with parameters; leave it out"
        )
    hidden, outputs = layers[1].in_features, layers[1].out_features
    if distance is None:
        return {"expected squared norm (2.13)": expected_squared_norm(constant, outputs=outputs, hidden=hidden)}
    if (layers[0].in_features, outputs) != (1, 1):
        raise RecipeError(
            f"variance_constant = {constant}: the expected bound at a distance is that of one input and one output, "
            f"and the network has {layers[0].in_features} and {outputs}; leave it out"
        )
    bounds = {"C^2": constant**2}
    if distance == 1:
        bounds["2 C^2 - 2 C^2 / n (2.18)"] = expected_squared_slope_difference(constant, hidden=hidden)
    return bounds


def _record(context: Context, pairs: dict[str, np.ndarray[Any, Any]], bounds: dict[str, float]) -> None:
    about = {"units": "1"}
    squared = {name: values for name, values in pairs.items() if name not in ("distance", "sphere_radius")}
    met = {name: values[~np.isnan(values)] for name, values in squared.items()}
    means = {name: float(values.mean()) if len(values) else math.nan for name, values in met.items()} | bounds
    counts = {name: float(len(met[name])) if name in met else math.nan for name in means}
    errors = {
        name: float(met[name].std(ddof=1) / math.sqrt(len(met[name])))
        if name in met and len(met[name]) > 1
        else math.nan
        for name in means
    }
    described = {
        "squared_difference": (means, "Mean squared difference of the singular values, summed over them"),
        "standard_error": (errors, "Standard error of that mean, over pairs of regions"),
        "pair_count": (counts, "Number of pairs of regions"),
    }
    context.record(
        "differences",
        xr.Dataset(
            {
                name: ("bound", list(values.values()), {"long_name": long_name, **about})
                for name, (values, long_name) in described.items()
            },
            coords={"bound": ("bound", list(means), {"long_name": "Between which regions, or which bound", **about})},
        ),
    )
    stacked = np.stack(list(squared.values()))
    data = xr.Dataset(
        {
            "pair_squared_difference": (
                ("bound", "sample"),
                stacked,
                {"long_name": "Squared difference of the singular values, summed over them", **about},
            )
        },
        coords={"bound": ("bound", list(squared), {"long_name": "Between which regions, or which bound", **about})},
    )
    for name, long_name in (
        ("distance", "Distance to the nearest wall"),
        ("sphere_radius", "Distance to the first point found on concentric spheres"),
    ):
        if name in pairs:
            data[name] = ("sample", pairs[name], {"long_name": long_name, **about})
    context.record("pairs", data)
