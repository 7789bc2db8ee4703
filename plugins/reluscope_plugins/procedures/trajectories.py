"""How much longer or shorter a curve becomes from layer to layer of freshly drawn networks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope_plugins.patterns.plane import ticks
from reluscope_plugins.regions.random_networks import Activation, Weights, random_network
from reluscope_plugins.regions.trajectories import circle, trajectory_lengths, trajectory_projection
from reluscope_plugins.regions.trajectory_bounds import expected_length, length_lower_bound, length_upper_bound
from reluscope_plugins.regions.trajectory_picture import trajectory_picture

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
NotNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Pixels = Annotated[int, pydantic.Field(ge=2)]
Share = Annotated[float, pydantic.Field(gt=0, le=1)]
_NETWORKS, _CURVES = 31, 32
_SIDE = 1.05
"""Half a side of a picture, over the greatest coordinate in it."""


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
    activation: Activation = "relu",
    networks: Positive = 20,
    curve: Literal["line", "circle"] = "circle",
    vertices: Annotated[int, pydantic.Field(ge=3)] = 100,
    pictures: bool = False,
    resolution: Pixels = 300,
) -> None:
    r"""Measure the growth of a curve's length from layer to layer, exactly for each of many drawn networks.

    The curve is a circle in a random plane around the origin, of radius 1, or a line between two random points of it.
    Lengths are those after each hidden activation.

    Writes the group `layers`: the length after each layer over that of the curve, along the dim `layer`, its mean over
    networks and its standard error; and the group `growth`, along the dim `bound`: the mean over networks and layers
    but the first of the growth from one layer to the next, and beside it, for ReLU, the bounds of its expectation, and
    where it is known (Gaussian weights, all of them drawn) that. Layers that a curve does not reach do not count.

    With `pictures`, the first network's curve is shown too: the group `projections` holds, along the dims `layer` and
    `point`, the vertices of its image before each activation on the first two principal components, and the group
    `pictures` a drawing of each, on a scale of its own.

    Args:
        context: The recipe's point.
        inputs: Number of inputs.
        width: Units of each hidden layer.
        depth: Number of hidden layers.
        weights: Distribution of the weights that are not zero: `"gaussian"`, `"uniform"` or `"discrete"`.
        weight_std: Root of the number of a layer's inputs times the standard deviation of such a weight.
        bias_std: Standard deviation of the biases, which are Gaussian.
        share: Share of weights that are not zero.
        activation: Of the hidden layers: `"relu"`, `"hardtanh"` or `"leaky_relu"`.
        networks: How many are drawn.
        curve: `"circle"` or `"line"`.
        vertices: Of the polygon that stands for the circle, at least 3.
        pictures: Whether the first network's curve is projected and drawn.
        resolution: Pixels along each side of a picture.
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
            activation=activation,
        )
        points = _curve(curve, inputs, vertices, context.seed(_CURVES, number))
        found = trajectory_lengths(model, points)
        lengths.append((found.activation_length / found.input_length).values)
        growth.append(found.growth.values[1:])
        if pictures and number == 0:
            _record_projections(context, trajectory_projection(model, points), resolution)
        context.advance((number + 1) / networks)
    _record_layers(context, np.array(lengths))
    after_first = np.concatenate(growth)
    layer = [width, width]
    expected = {}
    if activation == "relu":
        expected["lower bound"] = length_lower_bound(layer, weights=weights, weight_std=weight_std, share=share)
        expected["upper bound"] = length_upper_bound(layer, weight_std=weight_std, share=share)
    if activation == "relu" and weights == "gaussian" and share == 1:
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
            coords={"layer": _numbers(layers)},
        ),
    )


def _numbers(layers: int) -> xr.Variable:
    return xr.Variable("layer", np.arange(1, layers + 1), {"long_name": "Hidden layer", "units": "1"})


def _record_projections(context: Context, found: xr.Dataset, resolution: int) -> None:
    about = {"units": "1"}
    both = np.stack([found["first"].values, found["second"].values], axis=-1)  # (layer, point, axis)
    reach = np.abs(both).max((1, 2))
    layer = _numbers(len(reach))
    found = found.drop_vars("site").rename(site="layer")
    found["reach"] = ("layer", reach, {"long_name": "Greatest coordinate of the layer, as an absolute value", **about})
    point = ("point", np.arange(found.sizes["point"]), {"long_name": "Vertex of the image, along the curve", **about})
    context.record("projections", found.assign_coords(layer=layer, point=point))
    drawn = [
        trajectory_picture(points, reach=_SIDE * (most or 1.0), resolution=resolution)
        for points, most in zip(both, reach, strict=True)
    ]
    red, green, blue = np.moveaxis(np.stack(drawn)[:, ::-1].astype(np.int64), -1, 0)
    at = ticks(resolution, _SIDE).numpy()
    colour = {"long_name": "Colour of a pixel, 0xRRGGBB", **about}
    where = {
        name: (name, at, {"long_name": f"{which} principal component, over the layer's reach", **about})
        for name, which in (("x", "First"), ("y", "Second"))
    }
    context.record(
        "pictures",
        xr.Dataset(
            {"curve_colour": (("layer", "y", "x"), (red << 16) + (green << 8) + blue, colour)},
            coords={"layer": layer, **where},
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
