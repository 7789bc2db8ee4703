"""How much longer or shorter a curve becomes from layer to layer of freshly drawn networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope_plugins.regions.random_networks import Weights, random_network
from reluscope_plugins.regions.trajectories import circle, trajectory_lengths
from reluscope_plugins.regions.trajectory_bounds import expected_length, length_lower_bound, length_upper_bound

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]
_NETWORKS, _CURVES = 31, 32


def trajectories(
    context: Context,
    *,
    inputs: Positive = 10,
    width: Positive = 100,
    depth: Positive = 4,
    weights: Weights = "gaussian",
    weight_std: NotNegative = 2.0,
    bias_std: NotNegative = 0.0,
    share: Share = 1.0,
    networks: Positive = 20,
    curve: Literal["line", "circle"] = "circle",
    vertices: Positive = 100,
) -> None:
    r"""Measure the growth of a curve's length from layer to layer, exactly for each of many drawn networks.

    The curve is a circle in a random plane around the origin, of radius 1, or a line between two random points of it.
    Lengths are those after each hidden ReLU.

    Writes the group `layers`: the length after each layer over that of the curve, along the dim `layer`, its mean over
    networks and its standard error; and the group `growth`, along the dim `bound`: the mean over networks and layers
    but the first of the growth from one layer to the next, and beside it the bounds of its expectation, and where it is
    known (Gaussian weights, all of them drawn) that. Layers that a curve does not reach do not count.

    Args:
        context: The recipe's point.
        inputs: Number of inputs.
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        weights: Distribution of the weights that are not zero: `"gaussian"`, `"uniform"` or `"discrete"`.
        weight_std: Root of the number of a layer's inputs times the standard deviation of such a weight.
        bias_std: Standard deviation of the biases, which are Gaussian.
        share: Share of weights that are not zero.
        networks: How many are drawn.
        curve: `"circle"` or `"line"`.
        vertices: Of the polygon that stands for the circle.
    """
    widths = [inputs] + [width] * depth
    lengths, growth = [], []
    for number in range(networks):
        model = random_network(
            [*widths, 1],
            generator=torch.Generator().manual_seed(context.seed(_NETWORKS, number)),
            weights=weights,
            weight_std=weight_std,
            bias_std=bias_std,
            share=share,
        )
        points = _curve(curve, inputs, vertices, context.seed(_CURVES, number))
        found = trajectory_lengths(model, points)
        lengths.append((found.activation_length / found.input_length).values)
        growth.append(found.growth.values[1:])
        context.advance((number + 1) / networks)
    _record_layers(context, np.array(lengths))
    after_first = np.concatenate(growth)
    layer = [width, width]
    expected = {
        "lower bound": length_lower_bound(layer, weights=weights, weight_std=weight_std, share=share),
        "upper bound": length_upper_bound(layer, weight_std=weight_std, share=share),
    }
    if weights == "gaussian" and share == 1:
        expected["expected"] = expected_length(layer, weight_std=weight_std)
    _record_growth(context, after_first[~np.isnan(after_first)], expected)


def _curve(kind: str, inputs: int, vertices: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, inputs, generator=generator, dtype=torch.float64)
    first = first / first.norm()
    if inputs > 1:
        second = second - (second @ first) * first
    second = second / second.norm()
    return circle(first, second, vertices=vertices) if kind == "circle" else torch.stack((first, second))


def _record_layers(context: Context, lengths: np.ndarray[Any, Any]) -> None:
    count, layers = lengths.shape
    error = lengths.std(0, ddof=1) / math.sqrt(count) if count > 1 else np.full(layers, np.nan)
    about = {"units": "1"}
    context.record(
        "layers",
        xr.Dataset(
            {
                "length": (
                    "layer",
                    lengths.mean(0),
                    {"long_name": "Length after the layer, over the curve's", **about},
                ),
                "length_error": ("layer", error, {"long_name": "Its standard error, over networks", **about}),
            },
            coords={"layer": ("layer", np.arange(1, layers + 1), {"long_name": "Hidden layer", **about})},
        ),
    )


def _record_growth(context: Context, growth: np.ndarray[Any, Any], expected: dict[str, float]) -> None:
    measured = float(growth.mean()) if len(growth) else math.nan
    error = float(growth.std(ddof=1)) / math.sqrt(len(growth)) if len(growth) > 1 else math.nan
    values = {"measured": measured, **expected, "one error more": measured + error, "one error less": measured - error}
    about = {"units": "1"}
    context.record(
        "growth",
        xr.Dataset(
            {
                "growth": (
                    "bound",
                    list(values.values()),
                    {"long_name": "Growth of a curve's length from layer to layer", **about},
                )
            },
            coords={"bound": ("bound", list(values), {"long_name": "Measured, or what bounds it", **about})},
        ),
    )
