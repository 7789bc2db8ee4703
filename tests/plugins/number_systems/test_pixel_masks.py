"""Masks of pixels and the entropy of their classes, against sums written out and laws."""

from __future__ import annotations

import math

import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reluscope.errors import ObservationError
from reluscope_plugins.number_systems.last_pooling import last_pooling, pixel_entropy, pixel_logits
from reluscope_plugins.number_systems.pixel_masks import above, carried, enlarged, shuffled, widened


@st.composite
def masks(draw: st.DrawFn) -> Tensor:
    samples, height, width = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)))
    bits = draw(st.lists(st.booleans(), min_size=samples * height * width, max_size=samples * height * width))
    return torch.tensor(bits).reshape(samples, height, width)


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=6))
def test_entropy_is_the_sum_written_out(logits: list[float]) -> None:
    total = math.fsum(math.exp(a) for a in logits)
    shares = [math.exp(a) / total for a in logits]
    expected = -math.fsum(p * math.log(p) for p in shares)
    found = float(pixel_entropy(torch.tensor(logits, dtype=torch.float64)))
    # Terms of the sum are at most 1 / e; p and log p of at most 62 each have a few roundings.
    assert abs(found - expected) <= len(logits) * 70 * 8 * 2**-53


def test_entropy_of_certain_classes_is_zero() -> None:
    assert pixel_entropy(torch.tensor([0.0, 3e38])).item() == 0.0


class Hidden(nn.Module):
    """A pooling in a gate, then one of `pool`'s kind ahead of two layers and a bend."""

    def __init__(self, pool: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 3)
        self.hidden = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x * torch.sigmoid(x.mean((2, 3), keepdim=True))
        if self.pool == "adaptive":
            y = nn.functional.adaptive_avg_pool2d(x, (1, 1))
            y = y.view(len(y), -1)
        elif self.pool == "kernel":
            y = nn.functional.avg_pool2d(x, x.shape[2:]).flatten(1)
        else:
            y = x.mean([-1, -2])
        logits: Tensor = self.head(torch.relu(self.hidden(y)))
        return logits


@pytest.mark.parametrize("pool", ["adaptive", "kernel", "mean"])
def test_logits_of_each_pixel(pool: str) -> None:
    torch.manual_seed(0)
    model = Hidden(pool).double()
    x = torch.randn(3, 2, 6, 7, dtype=torch.float64)
    logits, pooling = last_pooling(model, x)
    assert torch.equal(logits, model(x))
    found = pixel_logits(model, x, pooling)
    features = model.conv(x)
    features = features * torch.sigmoid(features.mean((2, 3), keepdim=True))
    for sample in range(3):
        for row in range(4):
            for column in range(5):
                pixel = features[sample, :, row, column]
                expected = model.head(torch.relu(model.hidden(pixel)))
                assert torch.allclose(found[sample, row, column], expected, rtol=0, atol=1e-12)


def test_what_behind_the_pooling_needs_more_than_it() -> None:
    class Shape(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)).reshape(len(x), -1)

    model, x = Shape(), torch.randn(3, 2, 4, 4)
    _, pooling = last_pooling(model, x)
    with pytest.raises(ObservationError, match="cannot be given one pixel at a time"):
        pixel_logits(model, x, pooling)


@given(masks(), st.integers(0, 6))
def test_widened_is_what_lies_within_the_margin(mask: Tensor, margin: int) -> None:
    expected = torch.zeros_like(mask)
    for sample, row, column in mask.nonzero().tolist():
        top, left = max(row - margin, 0), max(column - margin, 0)
        expected[sample, top : row + margin + 1, left : column + margin + 1] = True
    assert torch.equal(widened(mask, margin), expected)


@given(masks(), st.integers(0, 2**32))
def test_shuffled_has_as_many(mask: Tensor, seed: int) -> None:
    found = shuffled(mask, torch.Generator().manual_seed(seed))
    assert torch.equal(found.sum((1, 2)), mask.sum((1, 2)))


def test_shuffled_takes_all_sets_alike() -> None:
    # Null: the 6 pairs of 4 pixels are equally likely; n = 6000, error probability 1e-6.
    mask = torch.tensor([[[True, True], [False, False]]]).expand(6000, 2, 2)
    pairs = shuffled(mask, torch.Generator().manual_seed(0)).flatten(1).int() @ torch.tensor([1, 2, 4, 8]).int()
    counts = torch.bincount(pairs)[[3, 5, 6, 9, 10, 12]]
    assert counts.sum() == 6000
    assert scipy.stats.chisquare(counts.numpy()).pvalue > 1e-6


@given(masks(), masks(), st.data())
def test_carried_is_the_union_over_pixels(mask: Tensor, other: Tensor, data: st.DataObject) -> None:
    pixels = mask[0].numel()
    bits = data.draw(st.lists(st.booleans(), min_size=6 * pixels, max_size=6 * pixels))
    field = torch.tensor(bits).reshape(pixels, 1, 2, 3)
    found = carried(mask, field)
    for sample, row in enumerate(mask.flatten(1)):
        expected = torch.zeros(1, 2, 3, dtype=torch.bool)
        for pixel in row.nonzero().flatten().tolist():
            expected |= field[pixel]
        assert torch.equal(found[sample], expected)


@given(masks(), st.integers(1, 9), st.integers(1, 9))
def test_enlarged_is_where_pixels_overlap(mask: Tensor, height: int, width: int) -> None:
    found = enlarged(mask, (height, width))
    rows, columns = mask.shape[1:]
    for sample, row, column in torch.ones(len(mask), height, width).nonzero().tolist():
        # [row / height, (row + 1) / height) meets [r / rows, (r + 1) / rows), in whole numbers.
        over = [r for r in range(rows) if r * height < (row + 1) * rows and row * rows < (r + 1) * height]
        across = [
            c for c in range(columns) if c * width < (column + 1) * columns and column * columns < (c + 1) * width
        ]
        expected = any(bool(mask[sample, r, c]) for r in over for c in across)
        assert bool(found[sample, row, column]) == expected


def test_above_is_strict_and_of_each_image_or_of_all() -> None:
    values = torch.tensor([[[1.0, 2.0], [3.0, 6.0]], [[0.1, 0.1], [0.1, 0.1]], [[-9.0, -1.0], [-1.0, -1.0]]])
    own = [[[False, False], [False, True]], [[False] * 2] * 2, [[False, True], [True, True]]]
    assert above(values, "image").tolist() == own
    # The mean of all is 0.4 / 12.
    assert above(values, "batch").tolist() == [[[True] * 2] * 2, [[True] * 2] * 2, [[False] * 2] * 2]
    assert above(values, 2.0).tolist() == [[[False, False], [True, True]], [[False] * 2] * 2, [[False] * 2] * 2]
