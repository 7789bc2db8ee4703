"""How many linear regions a network of any size has in a box, at least and at most."""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.input_box import Box, Floats
from reluscope_plugins.regions.labels import labelled
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.region_bounds import serra_upper_bound


def region_count_bounds(
    model: nn.Module, low: torch.Tensor, high: torch.Tensor, *, lines: int = 20, seed: int = 0
) -> xr.Dataset:
    r"""Bound the number of regions in a box, by random lines from below and by counting theory from above.

    A region is convex, so that a line meets it in one piece: the most regions on any one line are no more than there
    are. Each line runs through two points drawn uniformly in the box, from face to face; in many dimensions it is far
    longer than the lines of `wall_area`, which mostly cut a corner off. From above the bound is `serra_upper_bound`, of
    a chain of dense ReLU layers (batch norm in eval mode included); of another network none is known here.

    The two are far apart, and the lower one is no estimate: regions off the line are not seen. `estimated_region_count`
    estimates the number without bias, of networks that linear programmes can manage.

    Args:
        model: Any piecewise-linear module. It is looked at in eval mode, in a copy in float64.
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each.
        lines: How many lines.
        seed: Draws them.

    Returns:
        `region_count_at_least`; `region_count_at_most`, rounded up, infinite where none is known or it is beyond
        float64; `log2_region_count_at_most`, its binary logarithm, rounded up, infinite where none is known; and
        `line_region_count(line)`.

    Raises:
        ObservationError: If the network is not piecewise linear, or the box or the number of lines is none.

    References:
        Serra, Tjandraatmadja & Ramalingam 2018, theorem 1 (from above); Hanin & Rolnick 2019a, section 5 (along lines).

    Example:
        >>> model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
        >>> found = region_count_bounds(model, torch.zeros(784), torch.ones(784), lines=2)
        >>> 1 <= int(found.region_count_at_least) <= 129, float(found.log2_region_count_at_most)
        (True, 128.0)
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or lines < 1:
        raise ObservationError(f"lines is {lines!r}, expected an integer of at least 1")
    box = Box(model, low, high)
    ends = through_the_box(box.inputs, lines, np.random.default_rng(seed))
    counts = np.array([int(line_regions(box.network, box.at(line), pieces=False).region_count) for line in ends])
    weights = box.observed(np.zeros((1, box.inputs))).dense_weights()
    most = log2_most = math.inf
    if weights is not None:
        exact = serra_upper_bound(box.inputs, [len(weight) for weight in weights])
        most, log2_most = _above(exact), _log2_above(exact)
    variables = {
        "region_count_at_least": ((), counts.max(), "Most regions on one of the lines"),
        "region_count_at_most": ((), most, "Bound of Serra et al., infinite where none is known"),
        "log2_region_count_at_most": ((), log2_most, "Binary logarithm of that bound"),
        "line_region_count": ("line", counts, "Number of regions on a random line"),
    }
    return xr.Dataset(labelled(variables))


def through_the_box(inputs: int, lines: int, generator: np.random.Generator) -> Floats:
    """Draw lines through two uniform points of the cube, from face to face.

    Args:
        inputs: Dimension of the cube $[-1, 1]^d$.
        lines: How many.
        generator: Draws them.

    Returns:
        Both ends, `(line, 2, feature)`.

    Example:
        >>> through_the_box(1, 1, np.random.default_rng(0)).round(9).ravel().tolist()
        [1.0, -1.0]
    """
    first, second = generator.uniform(-1.0, 1.0, (2, lines, inputs))
    direction = second - first
    with np.errstate(divide="ignore", invalid="ignore"):
        # how far along it each pair of faces is met, backwards and forwards
        faces = (np.stack([-np.sign(direction), np.sign(direction)]) - first) / direction
    back = np.where(direction == 0, -np.inf, faces[0]).max(-1, keepdims=True)
    on = np.where(direction == 0, np.inf, faces[1]).min(-1, keepdims=True)
    return np.clip(np.stack([first + back * direction, first + on * direction], axis=1), -1.0, 1.0)


def _above(number: int) -> float:
    try:
        nearest = float(number)
    except OverflowError:
        return math.inf
    return nearest if int(nearest) >= number else math.nextafter(nearest, math.inf)


def _log2_above(number: int) -> float:
    # above what rounding of the logarithm can take away
    bits = number.bit_length() - 1
    return float(bits) if number == 1 << bits else min(bits + 1.0, math.log2(number) * (1 + 2**-50))
