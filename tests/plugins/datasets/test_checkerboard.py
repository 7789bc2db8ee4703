"""The checkerboard in the plane. Statistical tests: seeds fixed, error probability at most 1e-6 each."""

from __future__ import annotations

import math
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import RecipeError
from reluscope.lab import Lab
from reluscope_plugins import datasets
from reluscope_plugins.datasets.checkerboard import checkerboard_class

CHECKERBOARD = Lab(plugins=[datasets]).datasets["checkerboard"]
SPLITS = ("train", "validation", "test")
ROOT = math.sqrt(3)
ERROR = 1e-6


def square(x: float, y: float, cells: int) -> int:
    """The slow way: walk from the lower left corner, a column and a row at a time."""
    side = 2 * ROOT / cells
    column = row = 0
    while column < cells - 1 and x >= -ROOT + (column + 1) * side:
        column += 1
    while row < cells - 1 and y >= -ROOT + (row + 1) * side:
        row += 1
    return (column + row) % 4


@given(
    st.lists(st.tuples(*[st.floats(-1.73, 1.73)] * 2), min_size=1, max_size=20),
    st.integers(min_value=1, max_value=9),
)
def test_classes_are_those_of_the_squares(points: list[tuple[float, float]], cells: int) -> None:
    side = 2 * ROOT / cells
    # On a line between two squares the last bit of the arithmetic decides.
    clear = [p for p in points if all(abs((v + ROOT) / side - round((v + ROOT) / side)) > 1e-9 for v in p)]
    got = checkerboard_class(torch.tensor(clear, dtype=torch.float64).reshape(-1, 2), cells=cells)
    assert got.tolist() == [square(x, y, cells) for x, y in clear]


def test_corners_and_edges_belong_to_the_outer_squares() -> None:
    edge = torch.tensor([[-ROOT, -ROOT], [ROOT, -ROOT], [-ROOT, ROOT], [ROOT, ROOT]])
    assert checkerboard_class(edge).tolist() == [0, 3, 3, 2]


def test_the_printed_rule_is_the_formula() -> None:
    data = CHECKERBOARD.load("train", samples=500, rule="printed")
    expected = [math.floor((x + y) / math.sqrt(3) * 4) % 4 for x, y in data.inputs.double().tolist()]
    assert data.labels.tolist() == expected
    grid = CHECKERBOARD.load("train", samples=500)
    assert torch.equal(grid.inputs, data.inputs)
    assert not torch.equal(grid.labels, data.labels)


def test_points_are_uniform_and_standardised() -> None:
    """Null: 50,000 independent points, uniform on the square; 4 tests, of error probability ERROR / 4 each."""
    data = CHECKERBOARD.load("train")
    assert len(data) == 50_000
    for feature in data.inputs.double().T:
        assert scipy.stats.kstest(feature.numpy(), scipy.stats.uniform(-ROOT, 2 * ROOT).cdf).pvalue > ERROR / 4
    counts = torch.histogramdd(data.inputs.double(), bins=[4, 4], range=[-ROOT, ROOT, -ROOT, ROOT]).hist.flatten()
    assert scipy.stats.chisquare(counts.numpy()).pvalue > ERROR / 4
    # Four squares of each class: uniform over the classes.
    assert scipy.stats.chisquare(torch.bincount(data.labels, minlength=4).numpy()).pvalue > ERROR / 4
    # Mean 0 and variance 1 of the distribution itself, exactly: (2 sqrt 3)^2 / 12.
    assert (2 * ROOT) ** 2 / 12 == pytest.approx(1, abs=1e-12)


def test_splits_sizes_seeds_and_global_state() -> None:
    before = torch.get_rng_state()
    parts = [CHECKERBOARD.load(split, samples=200) for split in SPLITS]
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(part) for part in parts] == [200, 20, 200]
    assert len(torch.cat([part.inputs for part in parts]).unique(dim=0)) == 420
    assert torch.equal(CHECKERBOARD.load("test", samples=200).inputs, parts[2].inputs)
    assert not torch.equal(CHECKERBOARD.load("test", samples=200, seed=1).inputs, parts[2].inputs)
    assert parts[0].classes == CHECKERBOARD.classes
    assert parts[0].inputs.dtype == torch.float32
    assert parts[0].inputs.shape[1:] == CHECKERBOARD.shape
    assert (parts[0].mean, parts[0].std) == ((), ())


@pytest.mark.parametrize(
    "params", [{"samples": 0}, {"cells": 0}, {"cells": 2.5}, {"seed": -1}, {"rule": "stripes"}, {"samples": True}]
)
def test_parameters_that_do_not_fit(params: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(params))):
        CHECKERBOARD.load("train", **params)
