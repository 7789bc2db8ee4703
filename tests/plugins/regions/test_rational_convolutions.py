"""Convolutions and max-pools on a slice, against the partition in exact rational arithmetic."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope import observe
from reluscope.packing import unpack
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.plane_regions import SQUARE, plane_regions

SPEC = importlib.util.spec_from_file_location("rational_polygons", Path(__file__).with_name("rational_polygons.py"))
assert SPEC is not None
assert SPEC.loader is not None
polygons = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(polygons)

SIDE = 3


def unrolled(kernel: np.ndarray, bias: np.ndarray, shape: tuple[int, int, int], padding: int) -> tuple[Any, Any, Any]:
    """Weights, bias and output shape of a convolution as a dense layer, entry by entry."""
    channels, height, width = shape
    out, _, rows, columns = kernel.shape
    size = (out, height + 2 * padding - rows + 1, width + 2 * padding - columns + 1)
    weight = [[0] * (channels * height * width) for _ in range(size[0] * size[1] * size[2])]
    for o, y, x in np.ndindex(*size):
        for c, i, j in np.ndindex(channels, rows, columns):
            row, column = y + i - padding, x + j - padding
            if 0 <= row < height and 0 <= column < width:
                weight[(o * size[1] + y) * size[2] + x][(c * height + row) * width + column] = int(kernel[o, c, i, j])
    return weight, np.repeat(bias, size[1] * size[2]).tolist(), size


def windows(shape: tuple[int, int, int]) -> list[list[int]]:
    """Places of windows of 2 x 2, one after the other."""
    channels, height, width = shape
    return [
        [(c * height + y + i) * width + x + j for i in range(2) for j in range(2)]
        for c in range(channels)
        for y in range(0, height - 1, 2)
        for x in range(0, width - 1, 2)
    ]


def case(seed: int, pool: bool, padding: int) -> tuple[nn.Module, Plane, list[tuple[Any, ...]]]:
    """A network of small integers, a slice through its inputs, and both together as layers on two coordinates."""
    draw = np.random.default_rng(seed)
    points = draw.integers(-2, 3, (3, 1, SIDE, SIDE))
    origin, first, second = (point.flatten().tolist() for point in (points[0], points[1], points[2]))
    layers: list[tuple[Any, ...]] = [("linear", list(zip(first, second, strict=True)), origin)]
    modules: list[nn.Module] = []
    shape: tuple[int, int, int] = (1, SIDE, SIDE)
    for number in range(2):
        size = 2 if shape[1] + 2 * padding > 1 else 1
        kernel, bias = draw.integers(-2, 3, (1, 1, size, size)), draw.integers(-2, 3, 1)
        convolution = nn.Conv2d(1, 1, size, padding=padding).double()
        with torch.no_grad():
            convolution.weight.copy_(torch.from_numpy(kernel))
            convolution.bias.copy_(torch.from_numpy(bias))
        weight, biases, shape = unrolled(kernel, bias, shape, padding)
        layers += [("linear", weight, biases), ("relu",)]
        modules += [convolution, nn.ReLU()]
        if pool and number == 0:
            layers.append(("windows", windows(shape)))
            modules.append(nn.MaxPool2d(2))
            shape = (shape[0], shape[1] // 2, shape[2] // 2)
    inputs = torch.from_numpy(points).double()
    plane = Plane(inputs[0], (inputs[1], inputs[2]))
    return nn.Sequential(*modules), plane, layers


def states(found: xr.Dataset, network: nn.Module) -> list[tuple[int, ...]]:
    """Of each region: states of the units of the first convolution, the winners' places, states of the second."""
    seen = observe(network, torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64))
    patterns, begin, parts = found["region_pattern"].values, 0, []
    for name in (*seen.sites, *seen.pools):
        end = begin + seen.packed[name].numel()
        rows = torch.from_numpy(patterns[:, begin:end].copy()).reshape(-1, seen.packed[name].shape[1])
        parts.append(unpack(rows, seen.site[name].units, bits=seen.site[name].bits).reshape(len(patterns), -1).int())
        begin = end
    first, second, *winners = parts
    return [tuple(row) for row in torch.cat([first, *winners, second], 1).tolist()]


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("pool", [False, True])
@settings(max_examples=5)
@given(seed=st.integers(0, 100_000))
def test_slices_are_those_of_rational_numbers(pool: bool, padding: int, seed: int) -> None:
    """Regions and their areas; equal kernels, units that are zero and places that win together on whole regions too."""
    network, plane, layers = case(seed, pool, padding)
    assume(torch.linalg.matrix_rank(torch.stack([direction.flatten() for direction in plane.directions])) == 2)
    cells = polygons.cells([(Fraction(int(x)), Fraction(int(y))) for x, y in SQUARE], layers)
    begin = len(layers[1][2])
    places = layers[3][1] if pool else []
    expected = {}
    for polygon, _, pattern in cells:
        won = [place[number] for place, number in zip(places, pattern[begin:], strict=False)]
        expected[(*pattern[:begin], *won, *pattern[begin + len(won) :])] = float(polygons.area(polygon))
    assert len(expected) == len(cells)
    found = plane_regions(network, plane, window=SQUARE)
    areas = dict(zip(states(found, network), found["region_area"].values.tolist(), strict=True))
    assert len(areas) == found.sizes["region"]
    assert areas == pytest.approx(expected, rel=1e-9)
