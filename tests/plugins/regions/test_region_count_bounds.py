"""Bounds on the number of regions, beside exact counts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.region_bounds import serra_upper_bound
from reluscope_plugins.regions.region_count_bounds import region_count_bounds, through_the_box


def network(widths: list[int], seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise([*widths, 1]):
        linear = nn.Linear(before, after, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.randn(after, before, generator=generator))
            linear.bias.copy_(torch.randn(after, generator=generator))
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


@settings(max_examples=10)
@given(st.integers(1, 3), st.lists(st.integers(1, 5), min_size=1, max_size=2), st.integers(0, 10_000))
def test_the_exact_number_is_between(inputs: int, widths: list[int], seed: int) -> None:
    model, high = network([inputs, *widths], seed), torch.full((inputs,), 2.0)
    exact = box_regions(model, -high, high, samples=0).sizes["region"]
    found = region_count_bounds(model, -high, high, lines=5, seed=seed)
    assert found.region_count_at_least == found.line_region_count.max()
    assert 1 <= int(found.region_count_at_least) <= exact <= float(found.region_count_at_most)
    assert float(found.region_count_at_most) == serra_upper_bound(inputs, widths)
    assert exact <= 2 ** float(found.log2_region_count_at_most)
    if inputs == 1:  # each line is the whole box
        assert (found.line_region_count == exact).all()


def test_a_network_of_many_inputs() -> None:
    model, low, high = network([784, 128, 10], 0), torch.zeros(1, 28, 28), torch.ones(1, 28, 28)
    found = region_count_bounds(nn.Sequential(nn.Flatten(), model), low, high, lines=3)
    ends = through_the_box(784, 3, np.random.default_rng(0)) / 2 + 0.5
    first, _, second = list(model)[:3]
    with torch.no_grad():
        units = first(torch.from_numpy(ends))
    crossed = ((units[:, 0] > 0) != (units[:, 1] > 0)).sum(1)
    # the first layer alone makes as many; both are no more than their units make on a line
    assert (found.line_region_count.values > crossed.numpy()).all()
    assert int(crossed.min()) > 10
    exact = serra_upper_bound(784, [128, 10])
    assert 2**128 < exact
    assert second.out_features == 10
    assert math.log2(exact) <= float(found.log2_region_count_at_most) <= math.log2(exact) + 1e-9
    assert int(float(found.region_count_at_most)) >= exact


def test_bounds_beyond_float64() -> None:
    found = region_count_bounds(network([1100, 1100], 0), torch.zeros(1100), torch.ones(1100), lines=1)
    assert math.isinf(float(found.region_count_at_most))
    assert float(found.log2_region_count_at_most) == 1100


def test_other_networks_have_no_upper_bound() -> None:
    found = region_count_bounds(network([2, 6], 0, nn.Hardtanh), -torch.ones(2), torch.ones(2))
    assert int(found.region_count_at_least) > 1
    assert math.isinf(float(found.region_count_at_most))
    assert math.isinf(float(found.log2_region_count_at_most))


def test_lines_run_from_face_to_face_through_the_inside() -> None:
    ends = through_the_box(5, 200, np.random.default_rng(1))
    assert (np.abs(ends).max(-1) > 1 - 1e-12).all()
    assert (np.abs(ends.mean(1)).max(-1) < 1.0).all()


def test_seeds() -> None:
    first, again, other = (
        region_count_bounds(network([3, 20], 0), -torch.ones(3), torch.ones(3), seed=seed) for seed in (0, 0, 1)
    )
    assert first.equals(again)
    assert not first.equals(other)


@pytest.mark.parametrize("lines", [0, True, 2.0])
def test_bad_input(lines: int) -> None:
    with pytest.raises(ObservationError, match=f"lines is {lines}, expected an integer of at least 1"):
        region_count_bounds(network([2, 3], 0), -torch.ones(2), torch.ones(2), lines=lines)
