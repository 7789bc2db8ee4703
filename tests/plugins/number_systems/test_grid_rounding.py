"""Rounding to a grid, against torch's own and against whole numbers by hand."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from reluscope_plugins.number_systems.grid_rounding import nearest_on_grid

LEAST, MOST = -(1 << 15), (1 << 15) - 1


def by_hand(value: float, fraction_bits: int) -> float:
    scaled = value * 2.0**fraction_bits
    nearest = LEAST if scaled < LEAST else MOST if scaled > MOST else round(scaled)  # Python's is half to even
    return min(max(nearest, LEAST), MOST) / 2.0**fraction_bits


@given(st.lists(st.floats(-1e9, 1e9, width=32), max_size=20), st.integers(0, 15), st.booleans())
def test_values_are_rounded_as_by_hand(values: list[float], fraction_bits: int, wide: bool) -> None:
    tensor = torch.tensor(values, dtype=torch.float64 if wide else torch.float32)
    rounded, beyond, finite = nearest_on_grid(tensor, fraction_bits, LEAST, MOST)
    assert rounded.tolist() == [by_hand(value, fraction_bits) for value in values]
    assert rounded.dtype == tensor.dtype
    assert finite
    scaled = [value * 2.0**fraction_bits for value in values]
    assert beyond == sum(value < LEAST - 0.5 or value >= MOST + 0.5 for value in scaled)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_told(value: float) -> None:
    assert not nearest_on_grid(torch.tensor([1.0, value, 2.0]), 8, LEAST, MOST)[2]


def test_huge_numbers_are_finite() -> None:
    rounded, beyond, finite = nearest_on_grid(torch.tensor([3e38, -3e38]), 8, LEAST, MOST)
    assert (rounded.tolist(), beyond, finite) == ([MOST / 256, LEAST / 256], 2, True)


def test_layout_and_shape_are_kept() -> None:
    x = torch.randn(3, 4, 5).transpose(0, 2)
    assert torch.equal(nearest_on_grid(x, 4, LEAST, MOST)[0], (x * 16).round() / 16)
