"""The decision boundary against the network's own answers on both sides, and a closed curve."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope_plugins.regions.decision_boundary import decision_boundary
from reluscope_plugins.regions.plane_picture import plane_picture
from reluscope_plugins.regions.plane_regions import plane_regions

WIDTHS = st.lists(st.integers(1, 12), min_size=1, max_size=3)


def network(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(a, b).double() for a, b in itertools.pairwise(widths)]
    with torch.no_grad():
        for layer in layers:
            for parameter in layer.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])


def logits(model: nn.Module, points: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        found = model(torch.from_numpy(points)).numpy()
    return np.concatenate([np.zeros_like(found), found], 1) if found.shape[1] == 1 else found


@settings(max_examples=20)
@given(classes=st.integers(1, 5), hidden=WIDTHS, seed=st.integers(0, 9999))
def test_segments_separate_the_classes(classes: int, hidden: list[int], seed: int) -> None:
    model = network((2, *hidden, classes), seed)
    found = decision_boundary(plane_regions(model))
    ends, pair = found["boundary_end"].values, found["boundary_class"].values
    for share in (0.1, 0.5, 0.9):
        at = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
        values = logits(model, at) if len(at) else np.zeros((0, 2))
        scale = max(1.0, np.abs(values).max(initial=0))
        both = np.take_along_axis(values, pair, 1) if len(at) else np.zeros((0, 2))
        assert (np.abs(both - values.max(1, keepdims=True)) <= 1e-9 * scale).all()


@settings(max_examples=20)
@given(classes=st.integers(1, 4), hidden=WIDTHS, seed=st.integers(0, 9999))
def test_lines_cross_the_boundary_where_the_answer_changes(classes: int, hidden: list[int], seed: int) -> None:
    """Along a horizontal line the answer changes as often as segments cross it."""
    model = network((2, *hidden, classes), seed)
    found = decision_boundary(plane_regions(model))
    ends = found["boundary_end"].values
    for height in (-0.6180339887, 0.1234567891, 0.7071067812):
        below = ends[..., 1] < height
        hit = below[:, 0] != below[:, 1]
        share = (height - ends[hit, 0, 1]) / (ends[hit, 1, 1] - ends[hit, 0, 1])
        crossings = np.sort(ends[hit, 0, 0] + share * (ends[hit, 1, 0] - ends[hit, 0, 0]))
        grid = np.linspace(-1, 1, 4001)
        answer = logits(model, np.stack([grid, np.full_like(grid, height)], 1)).argmax(1)
        changes = np.flatnonzero(np.diff(answer))
        # each change on the grid has a crossing between its two points
        assert all(((crossings >= grid[i] - 1e-9) & (crossings <= grid[i + 1] + 1e-9)).any() for i in changes)
        # and between neighbouring crossings, if the grid has a point there, the answer is one
        for low, high in itertools.pairwise([-1.0, *crossings.tolist(), 1.0]):
            inside = (grid > low + 1e-9) & (grid < high - 1e-9)
            assert len(set(answer[inside].tolist())) <= 1


def test_no_boundary() -> None:
    model = network((2, 4, 2), 0)
    with torch.no_grad():
        model[2].bias.copy_(torch.tensor([100.0, -100.0]))
    assert decision_boundary(plane_regions(model)).sizes["segment"] == 0


def test_picture() -> None:
    """The wall x = 0 of the first site is a dark column, and nothing else is drawn but the window's edge."""
    model = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        model[0].bias.zero_()
    regions = plane_regions(model, window=((-1, -0.5), (1, -0.5), (1, 0.5), (-1, 0.5)))
    drawn = plane_picture(regions, resolution=101).astype(int)
    assert drawn.shape == (50, 101, 3)
    inner = drawn[3:-3, 3:-3]
    dark = (inner.sum(2) < 600).all(0)
    assert np.flatnonzero(dark).tolist() == [46, 47, 48]
    assert (inner[:, ~dark].reshape(-1, 3).min(0) > 150).all()
    tilted = plane_picture(regions, resolution=101, boundary=decision_boundary(regions))
    assert tilted.shape == drawn.shape


def test_early_sites_are_dark() -> None:
    regions = plane_regions(network((2, 6, 6, 1), 1))
    drawn = plane_picture(regions, resolution=300).reshape(-1, 3).tolist()
    assert [68, 1, 84] in drawn
    assert [230, 210, 40] in drawn


@pytest.mark.parametrize("resolution", [1, 10])
def test_small_pictures(resolution: int) -> None:
    assert plane_picture(plane_regions(network((2, 3, 1), 0)), resolution=resolution).shape == (
        resolution,
        resolution,
        3,
    )
