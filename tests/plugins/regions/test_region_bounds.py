"""Counting theory: against recursions and sums written out, and against random networks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions import region_bounds
from reluscope_plugins.regions.expected_breakpoints import expected_breakpoints_bound, expected_first_layer_breakpoints
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.region_bounds import (
    central_regions,
    hyperplane_regions,
    leading_regions,
    montufar_lower_bound,
    pascanu_lower_bound,
    pattern_count,
    product_upper_bound,
    serra_upper_bound,
)

SIZES = st.integers(1, 12)


@cache
def swept(units: int, inputs: int, *, central: bool) -> int:
    """A further hyperplane adds as many regions as the others cut it into."""
    if units == 0:
        return 1
    if inputs == 0:
        return 1
    if central and inputs == 1:
        return 2
    return swept(units - 1, inputs, central=central) + swept(units - 1, inputs - 1, central=central)


@given(SIZES, SIZES)
def test_hyperplanes_by_sweeping(units: int, inputs: int) -> None:
    assert hyperplane_regions(units, inputs) == swept(units, inputs, central=False)
    assert central_regions(units, inputs) == swept(units, inputs, central=True)
    assert central_regions(units, inputs) <= hyperplane_regions(units, inputs) <= pattern_count(units)
    if units <= inputs:
        assert hyperplane_regions(units, inputs) == central_regions(units, inputs) == 2**units


@given(st.integers(1, 4), st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_serra_by_the_sum_over_j(inputs: int, widths: list[int]) -> None:
    total = 0
    for j in itertools.product(*(range(width + 1) for width in widths)):
        left = inputs
        for width, own in zip(widths, j, strict=True):
            if own > min(left, width):
                break
            left = min(left, width - own)
        else:
            total += math.prod(map(math.comb, widths, j))
    assert serra_upper_bound(inputs, widths) == total
    assert total <= product_upper_bound(inputs, widths)
    if len(widths) == 1:
        assert total == hyperplane_regions(widths[0], inputs)
    if min(widths) >= inputs:
        assert pascanu_lower_bound(inputs, widths) <= montufar_lower_bound(inputs, widths) <= total


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_three_units_attain_serra_in_one_dimension(depth: int) -> None:
    """Each layer but the last maps four pieces onto the next one's window; the last has three thresholds."""
    # 4 relu(x) - 4 relu(1/2 - x) + 6 relu(1 - x) - 4, of slopes -2, 2, -2, 4 on [-1/2, 5/4], each piece onto [0, 1]
    layers: list[nn.Module] = []
    for _ in range(depth - 1):
        linear = nn.Linear(1, 3, dtype=torch.float64)
        out = nn.Linear(3, 1, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[1.0], [-1.0], [-1.0]]))
            linear.bias.copy_(torch.tensor([0.0, 0.5, 1.0]))
            out.weight.copy_(1.75 * torch.tensor([[4.0, -4.0, 6.0]]))
            out.bias.fill_(1.75 * -4.0 - 0.5)
        layers += [linear, nn.ReLU(), out]
    last = nn.Linear(1, 3, dtype=torch.float64)
    with torch.no_grad():
        last.weight.fill_(1.0)
        last.bias.copy_(torch.tensor([0.1, -0.4, -0.8]))
    model = nn.Sequential(*layers, last, nn.ReLU(), nn.Linear(3, 1, dtype=torch.float64))
    line = torch.tensor([[-0.5], [1.25]], dtype=torch.float64)
    assert int(line_regions(model, line, pieces=False).region_count) == 4**depth
    assert serra_upper_bound(1, [3] * depth) == 4**depth


def test_numbers_of_any_size_are_exact() -> None:
    assert pattern_count(1000) == 2**1000
    assert serra_upper_bound(1000, [1000]) == 2**1000
    assert montufar_lower_bound(2, [4] * 101) == 4**100 * 11


@pytest.mark.parametrize("inputs", [1, 2, 3])
def test_the_leading_term(inputs: int) -> None:
    ratios = [hyperplane_regions(units, inputs) / leading_regions(units, inputs) for units in (10**4, 10**6)]
    assert all(1 < ratio < 1 + 10 / units for ratio, units in zip(ratios, (10**4, 10**6), strict=True))
    assert leading_regions(5, 3) == Fraction(125, 6)


def test_the_lecture_is_wrong_about_its_lower_bound() -> None:
    # sum_j binom(n_1, j) >= n_1^min(n_0, n_1 / 2) is what slide "with depth" says
    assert hyperplane_regions(4, 2) == 11 < 4 ** min(2, 4 / 2)


def drawn(
    inputs: int, widths: list[int], generator: torch.Generator, bias_std: float, variance: float
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([inputs, *widths, 1]):
        linear = nn.Linear(before, after, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.normal_(0.0, math.sqrt(variance / before), generator=generator)
            linear.bias.normal_(0.0, bias_std, generator=generator)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def breakpoints(inputs: int, widths: list[int], ends: torch.Tensor, *, bias_std: float, variance: float) -> np.ndarray:
    generator = torch.Generator().manual_seed(0)
    counts = []
    for _ in range(100):
        model = drawn(inputs, widths, generator, bias_std, variance)
        counts.append(int(line_regions(model, ends, pieces=False).region_count) - 1)
    return np.array(counts)


def test_expected_breakpoints_of_the_first_layer() -> None:
    ends = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 1.0, 2.0]], dtype=torch.float64)
    counts = breakpoints(3, [20], ends, bias_std=0.5, variance=2.0)
    expected = expected_first_layer_breakpoints(20, *ends.tolist(), bias_ratio=0.5 / math.sqrt(2 / 3))
    # null: the mean is as expected; 2000 units, independent, each with 0 or 1: by Hoeffding's inequality
    assert abs(counts.mean() - expected) < 20 * math.sqrt(math.log(2e6) / (2 * 2000))


@pytest.mark.parametrize("variance", [1.0, 2.0, 3.0])
def test_breakpoints_stay_below_the_bound(variance: float) -> None:
    ends = torch.tensor([[0.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    length = float((ends[1] - ends[0]).norm())
    counts = breakpoints(2, [12, 12, 12], ends, bias_std=0.7, variance=variance)
    bound = expected_breakpoints_bound(2, [12, 12, 12], length, bias_std=0.7, weight_variance=variance)
    # null: the expectation is at most the bound; 100 networks, 1e-6 by the normal law
    assert counts.mean() < bound + 4.8 * counts.std(ddof=1) / math.sqrt(len(counts))


def test_the_bound_is_the_limit_of_the_first_layer_on_short_segments() -> None:
    exact = expected_first_layer_breakpoints(7, [-5e-4, 0.0], [5e-4, 0.0], bias_ratio=0.3 / 1.0)
    bound = expected_breakpoints_bound(2, [7], 1e-3, bias_std=0.3, weight_variance=2.0)
    assert exact == pytest.approx(bound, rel=1e-5)


@pytest.mark.parametrize("name", ["hyperplane_regions", "central_regions", "leading_regions"])
@pytest.mark.parametrize("numbers", [(0, 1), (1, 0), (True, 1), (1.0, 1)])
def test_bad_sizes(name: str, numbers: tuple[int, int]) -> None:
    function: Callable[[int, int], object] = getattr(region_bounds, name)
    with pytest.raises(ObservationError, match="expected integers of at least 1"):
        function(*numbers)


@pytest.mark.parametrize("name", ["pascanu_lower_bound", "montufar_lower_bound"])
def test_layers_narrower_than_the_input(name: str) -> None:
    function: Callable[[int, list[int]], int] = getattr(region_bounds, name)
    with pytest.raises(ObservationError, match="at least as many units as there are inputs"):
        function(3, [2, 4])
    assert function(3, [3, 2]) == 4


def test_bad_numbers() -> None:
    with pytest.raises(ObservationError, match=r"bias_std is 0\.0, expected a finite number above 0"):
        expected_breakpoints_bound(1, [1], 1.0, bias_std=0.0)
    with pytest.raises(ObservationError, match="ends of 1 and 2 features"):
        expected_first_layer_breakpoints(1, [0.0], [0.0, 1.0], bias_ratio=1.0)
