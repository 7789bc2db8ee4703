"""The decision boundary against the network's own answers on both sides, and against rational numbers."""

from __future__ import annotations

import importlib.util
import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.regions.decision_boundary import decision_boundary
from reluscope_plugins.regions.plane_picture import plane_picture
from reluscope_plugins.regions.plane_regions import SQUARE, plane_regions

_spec = importlib.util.spec_from_file_location("rational_polygons", Path(__file__).with_name("rational_polygons.py"))
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)

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


def chain(*layers: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight, bias in layers:
        layer = nn.Linear(len(weight[0]), len(weight)).double()
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(weight, dtype=torch.float64))
            layer.bias.copy_(torch.tensor(bias, dtype=torch.float64))
        modules += [layer, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def check_ends(found: xr.Dataset) -> None:
    """An end lies on the window's edge or is the end of another segment, and each segment has two sides."""
    ends = found["boundary_end"].values
    every = ends.reshape(-1, 2)
    near = np.abs(every[:, None] - every[None]).max(2) <= 1e-12
    assert ((np.abs(every).max(1) >= 1 - 1e-12) | (near.sum(1) > 1)).all()
    assert (np.diff(found["boundary_class"].values, axis=1) > 0).all()
    middle = np.sort(ends.mean(1).round(9), axis=0)
    assert len(np.unique(middle, axis=0)) == len(middle)


def total(found: xr.Dataset) -> float:
    ends = found["boundary_end"].values
    return float(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1).sum())


@settings(max_examples=100)
@given(
    widths=st.lists(st.integers(1, 4), min_size=1, max_size=2),
    classes=st.integers(1, 3),
    bias=st.booleans(),
    seed=st.integers(0, 100_000),
)
def test_length_against_rational_numbers(widths: list[int], classes: int, bias: bool, seed: int) -> None:
    """Small integer weights: logits that are equal on whole regions, zeros along walls, walls that coincide."""
    generator = np.random.default_rng(seed)
    layers = [
        (
            generator.integers(-2, 3, (b, a)).astype(float).tolist(),
            generator.integers(-2 * bias, 2 * bias + 1, b).astype(float).tolist(),
        )
        for a, b in itertools.pairwise((2, *widths, classes))
    ]
    steps = [step for layer in layers for step in (("linear", *layer), ("relu",))][:-1]
    cells = reference.cells([(Fraction(int(x)), Fraction(int(y))) for x, y in SQUARE], steps)
    if classes == 1:
        cells = [(polygon, [reference.ZERO, *outputs], pattern) for polygon, outputs, pattern in cells]
    found = decision_boundary(plane_regions(chain(*layers)))
    assert total(found) == pytest.approx(reference.boundary_length(reference.answers(cells)), rel=1e-12, abs=1e-12)
    check_ends(found)


@settings(max_examples=40)
@given(seed=st.integers(0, 100_000), classes=st.sampled_from([1, 2]))
def test_a_boundary_along_a_wall(seed: int, classes: int) -> None:
    """f = a relu(u) - b relu(-u), plus terms that cancel up to rounding, has the zeros of u: a straight line."""
    generator = np.random.default_rng(seed)
    u, v, w = generator.standard_normal((3, 3))
    a, b, c, d, s, t = generator.uniform(0.1, 10, 6)
    units = np.stack([u, -u, v, s * v, -w, -t * w])
    out = np.array([a, -b, c, -c / s, d, -d / t])
    head = out[None] if classes == 1 else np.stack([0.3 * out, 1.3 * out])
    model = chain((units[:, :2].tolist(), units[:, 2].tolist()), (head.tolist(), [0.0] * classes))
    # where the line u = 0 enters and leaves the square
    inside = []
    for axis, side in itertools.product((0, 1), (-1.0, 1.0)):
        across = -(u[2] + u[axis] * side) / u[1 - axis]
        if abs(across) < 1:
            inside.append((side, across) if axis == 0 else (across, side))
    expected = float(np.linalg.norm(np.ptp(inside, axis=0))) if inside else 0.0
    found = decision_boundary(plane_regions(model))
    assert total(found) == pytest.approx(expected, abs=1e-9)
    check_ends(found)
    ends = found["boundary_end"].values
    assert np.abs(ends @ u[:2] + u[2]).max(initial=0) < 1e-12
    # the greater class is right of the segment, where u is positive
    along = ends[:, 1] - ends[:, 0]
    assert (along[:, 1] * u[0] - along[:, 0] * u[1] > 0).all()


@pytest.mark.parametrize(
    ("head", "pairs"),
    [
        ([[1.0, 0.0]], [[0, 1]]),  # relu(x): zero for all x < 0
        ([[-1.0, 0.0]], []),  # never above zero
        ([[1.0, 1.0]], []),  # |x|: zero on a line, but 1 on both sides
        ([[-1.0, -1.0]], []),
        ([[1.0, -1.0]], [[0, 1]]),  # x
        ([[0.0, 0.0], [1.0, -1.0], [2.0, -2.0]], [[0, 2]]),  # 0, x and 2x: all three equal, but 1 on neither side
        ([[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]], [[0, 2]]),  # x, relu(x), |x|
        ([[1.0, 0.0], [1.0, 0.0]], []),  # equal everywhere
    ],
)
def test_what_the_boundary_is_where_logits_are_equal(head: list[list[float]], pairs: list[list[int]]) -> None:
    """Of relu(x) and relu(-x): all there can be is the line x = 0."""
    regions = plane_regions(chain(([[1.0, 0.0], [-1.0, 0.0]], [0.0, 0.0]), (head, [0.0] * len(head))))
    found = decision_boundary(regions)
    assert np.sort(found["boundary_class"].values, axis=1).tolist() == pairs
    assert total(found) == (2.0 if pairs else 0.0)
    if pairs:
        assert (found["boundary_end"].values[..., 0] == 0).all()
        assert len(set(found["boundary_region"].values[0].tolist())) == 2


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


@pytest.mark.parametrize("resolution", [0, -3])
def test_a_picture_has_pixels(resolution: int) -> None:
    with pytest.raises(ObservationError, match=f"resolution is {resolution}, expected at least 1 pixel"):
        plane_picture(plane_regions(network((2, 3, 1), 0)), resolution=resolution)
