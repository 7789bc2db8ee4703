"""Regions of a box: against all sign vectors, against volumes, and against lines."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import ConvexHull, HalfspaceIntersection
from torch import nn

import reluscope as rs
from reluscope import zoo
from reluscope.errors import ObservationError
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.plane_regions import plane_regions
from reluscope_plugins.regions.refinement import Refinement
from reluscope_plugins.regions.region_bounds import (
    central_regions,
    hyperplane_regions,
    product_upper_bound,
    serra_upper_bound,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
SHAPES = [
    (1, (7,)),
    (1, (4, 3)),
    (2, (7,)),
    (2, (4, 3)),
    (2, (2, 2, 2)),
    (3, (6,)),
    (3, (3, 3)),
    (4, (5,)),
    (4, (3, 2)),
]


def chain(inputs: int, widths: tuple[int, ...], seed: int, kind: str) -> nn.Sequential:
    """Random ReLU layers; `kind` says how degenerate."""
    generator = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    sizes = [inputs, *widths, 1]
    for before, after in itertools.pairwise(sizes):
        linear = nn.Linear(before, after, dtype=torch.float64)
        weight, bias = generator.normal(size=(after, before)), generator.normal(size=after) / 2
        if kind == "integers":  # zeros, equal and opposite rows, walls through corners and along faces of the box
            weight, bias = generator.integers(-1, 2, (after, before)), generator.integers(-1, 2, after)
        if kind == "bias-free":
            bias = np.zeros(after)
        if kind == "doubled":
            weight, bias = weight[np.arange(after) // 2], bias[np.arange(after) // 2]
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
            linear.bias.copy_(torch.from_numpy(bias))
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def has_inside(normal: Floats, offset: Floats) -> bool:
    """Whether {normal x + offset >= 0}, bounded, has an inside: whether the mean of its vertices is one of it."""
    inputs = normal.shape[1]
    chosen = np.array(list(itertools.combinations(range(len(normal)), inputs)))
    square = normal[chosen]
    regular = np.abs(np.linalg.det(square)) > 1e-10
    vertices = np.linalg.solve(square[regular], -offset[chosen][regular][..., None])[..., 0]
    vertices = vertices[(vertices @ normal.T + offset > -1e-9).all(axis=1)]
    return len(vertices) > 0 and bool((normal @ vertices.mean(0) + offset > 1e-7).all())


def all_sign_vectors(model: nn.Sequential, inputs: int) -> set[tuple[bool, ...]]:
    """The patterns of all regions in [-1, 1]^n, by looking at each of the 2^n sign vectors."""
    linears = [layer for layer in model if isinstance(layer, nn.Linear)][:-1]
    weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linears]
    found = set()
    for pattern in itertools.product([False, True], repeat=sum(len(bias) for _, bias in weights)):
        gradient, value, states = np.eye(inputs), np.zeros(inputs), list(pattern)
        rows, offsets = [np.eye(inputs), -np.eye(inputs)], [np.ones(2 * inputs)]
        possible = True
        for weight, bias in weights:
            gradient, value = weight @ gradient, weight @ value + bias
            active = np.array(states[: len(bias)])
            del states[: len(bias)]
            constant = np.linalg.norm(gradient, axis=1) < 1e-12
            possible &= bool(((value > 1e-12) == active)[constant].all())
            length = np.linalg.norm(gradient[~constant], axis=1)
            sign = np.where(active, 1.0, -1.0)[~constant] / length
            rows.append(gradient[~constant] * sign[:, None])
            offsets.append(value[~constant] * sign)
            gradient, value = gradient * active[:, None], value * active
        if possible and has_inside(np.concatenate(rows), np.concatenate(offsets)):
            found.add(pattern)
    return found


def unit_box(inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    return -torch.ones(inputs), torch.ones(inputs)


def assert_all_found(model: nn.Sequential, inputs: int, seed: int = 0) -> None:
    found = box_regions(model, *unit_box(inputs), samples=50, seed=seed)
    patterns = {tuple(row) for row in found.region_pattern.values.astype(bool).tolist()}
    assert len(patterns) == found.sizes["region"]
    assert patterns == all_sign_vectors(model, inputs)


@settings(max_examples=120)
@given(st.sampled_from(SHAPES), st.integers(0, 2**31), st.sampled_from(["normal", "integers", "bias-free", "doubled"]))
def test_regions_are_those_of_all_sign_vectors(shape: tuple[int, tuple[int, ...]], seed: int, kind: str) -> None:
    inputs, widths = shape
    assert_all_found(chain(inputs, widths, seed, kind), inputs)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["normal", "integers", "bias-free", "doubled"])
def test_regions_of_thousands_of_networks(shape: tuple[int, tuple[int, ...]], kind: str) -> None:
    for seed in range(100):
        assert_all_found(chain(shape[0], shape[1], 10_000 + seed, kind), shape[0], seed)


class Slice(nn.Module):
    """A network of the zoo on a plane or a line through its inputs, of few dimensions."""

    def __init__(self, kind: str, inputs: int, seed: int) -> None:
        super().__init__()
        self.network = zoo.network(kind, seed)
        generator = torch.Generator().manual_seed(seed)
        self.axes = nn.Parameter(torch.randn(inputs, 16, generator=generator, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network((x @ self.axes).reshape(-1, *zoo.INPUT))
        return out


KINDS = sorted(set(zoo.BUILDERS) - zoo.SMOOTH)


@pytest.mark.parametrize(("kind", "inputs"), [*((kind, 2) for kind in KINDS), ("three_states", 3), ("reused", 3)])
def test_volumes_sum_to_that_of_the_box(kind: str, inputs: int) -> None:
    model = Slice(kind, inputs, seed=inputs)
    found = box_regions(model, *unit_box(inputs))
    points = torch.from_numpy(found.region_point.values)
    walls = rs.observe(model, points, affine=True).walls()
    gradient = walls.map.weight.numpy()
    offset = walls.value.numpy() - np.einsum("rwi,ri->rw", gradient, points.numpy())
    faces = np.concatenate([np.eye(inputs), -np.eye(inputs)])
    total = 0.0
    for normals, offsets, point in zip(gradient, offset, points.numpy(), strict=True):
        length = np.linalg.norm(normals, axis=1)
        bent = length > 1e-9
        rows = np.concatenate([normals[bent] / length[bent, None], faces])
        shifts = np.concatenate([offsets[bent] / length[bent], np.ones(2 * inputs)])
        corners = HalfspaceIntersection(-np.column_stack([rows, shifts]), point).intersections
        total += float(ConvexHull(corners).volume)
    assert found.sizes["region"] > 10
    # regions thinner than the tolerance, 1e-7 of half a side, are left out
    assert total == pytest.approx(2.0**inputs, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_regions_of_a_line_are_those_found_along_it(kind: str, seed: int) -> None:
    model = Slice(kind, 1, seed)
    low, high = torch.tensor([-2.0]), torch.tensor([3.0])
    along = line_regions(model, torch.stack([low, high]), pieces=False)
    assert box_regions(model, low, high).sizes["region"] == int(along.region_count)


@pytest.mark.parametrize("kind", KINDS)
def test_regions_of_a_square_are_the_polygons_of_the_plane(kind: str) -> None:
    model = Slice(kind, 2, seed=0)
    found = box_regions(model, *unit_box(2))
    assert found.sizes["region"] == plane_regions(model).sizes["region"]


@pytest.mark.parametrize("inputs", range(1, 5))
@pytest.mark.parametrize("units", range(1, 13))
def test_general_position_attains_the_binomial_sum(units: int, inputs: int) -> None:
    generator = np.random.default_rng([units, inputs])
    normals = generator.normal(size=(units, inputs))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    offsets = generator.normal(size=units)
    chosen = np.array(list(itertools.combinations(range(units), min(units, inputs))))
    vertices = np.einsum("vij,vj->vi", np.linalg.pinv(normals[chosen]), -offsets[chosen])
    size = 1.1 * float(np.abs(vertices).max()) + 1.0  # all vertices are inside, so that every region meets the box
    model = chain(inputs, (units,), 0, "normal")
    with torch.no_grad():
        model[0].weight.copy_(torch.from_numpy(normals))  # type: ignore[operator]
        model[0].bias.copy_(torch.from_numpy(offsets))  # type: ignore[operator]
    sides = torch.full((inputs,), size, dtype=torch.float64)
    found = box_regions(model, -sides, sides, tolerance=1e-9, samples=20)
    assert found.sizes["region"] == hyperplane_regions(units, inputs)


@pytest.mark.parametrize("units", [1, 2, 7, 64])
def test_a_layer_without_biases(units: int) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, units, bias=False), nn.ReLU(), nn.Linear(units, 1))
    assert box_regions(model, *unit_box(2)).sizes["region"] == central_regions(units, 2) == 2 * units


def test_a_layer_without_biases_in_three_dimensions() -> None:
    model = chain(3, (6,), 3, "bias-free")
    assert box_regions(model, *unit_box(3)).sizes["region"] == central_regions(6, 3) == 32


def with_rows(rows: list[list[float]], biases: list[float]) -> nn.Sequential:
    model = nn.Sequential(nn.Linear(len(rows[0]), len(rows)), nn.ReLU(), nn.Linear(len(rows), 1)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(rows, dtype=torch.float64))  # type: ignore[operator]
        model[0].bias.copy_(torch.tensor(biases, dtype=torch.float64))  # type: ignore[operator]
    return model


@pytest.mark.parametrize(
    ("rows", "biases", "regions"),
    [
        ([[0.0, 0.0]], [0.0], 1),
        ([[0.0, 0.0], [0.0, 0.0]], [1.0, -1.0], 1),
        ([[1.0, 1.0]], [-2.0], 1),  # through a corner of the box
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], 1),  # along its faces
        ([[1.0, 0.0]] * 5, [0.0] * 5, 2),
        ([[1.0, 0.0], [-2.0, 0.0]], [0.3, -0.6], 2),
        ([[1.0, 1.0], [1.0, -1.0], [1.0, 0.0], [0.0, 1.0]], [0.0] * 4, 8),  # through corners and each other
        ([[1e-100, 0.0]], [0.0], 2),
        ([[1e6, 0.0], [0.0, 1e-6]], [0.0, 0.0], 4),
    ],
)
def test_degenerate_layers(rows: list[list[float]], biases: list[float], regions: int) -> None:
    assert box_regions(with_rows(rows, biases), *unit_box(2)).sizes["region"] == regions


def test_opposite_weights_on_equal_units_make_no_wall() -> None:
    # in floating point the second layer's gradients are rounding
    first = with_rows([[0.3, 0.1], [0.1, 0.7], [0.4, 0.8]], [0.0, 0.0, 0.0])
    second = with_rows([[0.1, 0.1, -0.1]], [0.0])
    model = nn.Sequential(first[0], nn.Hardtanh(-9.0, 9.0), second[0], nn.ReLU(), second[2])
    gradient = rs.observe(model, torch.ones(1, 2).double(), affine=True).affine("3#0").weight
    assert 0 < gradient.abs().max() < 1e-15
    found = box_regions(model, *unit_box(2))
    assert found.sizes["region"] == 1
    # whichever sign the rounding has
    assert found.region_pattern.values.tolist() == [[1, 1, 1, 0]]
    with torch.no_grad():
        model[2].weight.neg_()  # type: ignore[operator]
    assert box_regions(model, *unit_box(2)).region_pattern.values.tolist() == [[1, 1, 1, 0]]


def test_of_equal_places_the_first_wins() -> None:
    pool = nn.Sequential(nn.Unflatten(1, (1, 2)), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
    found = box_regions(pool, *unit_box(2))
    states = sorted(map(tuple, found.region_pattern.values.tolist()))
    assert states == [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 1, 0), (1, 1, 1)]


def test_regions_thinner_than_the_tolerance_are_not_counted() -> None:
    model = with_rows([[1.0, 0.0], [1.0, 0.0]], [0.0, 1e-8])
    low, high = unit_box(2)
    assert box_regions(model, low, high).sizes["region"] == 2
    assert box_regions(model, low, high, tolerance=1e-9).sizes["region"] == 3


def test_points_and_radii() -> None:
    found = box_regions(with_rows([[1.0, 0.0]], [-0.5]), torch.zeros(2), torch.tensor([1.0, 4.0]))
    points = found.region_point.values[np.argsort(found.region_point.values[:, 0])]
    np.testing.assert_allclose(points[:, 0], [0.25, 0.75])
    np.testing.assert_allclose(found.region_radius.values, [0.5, 0.5])  # of half a side
    assert ((found.region_point.values > 0) & (found.region_point.values < [1, 4])).all()


def test_layers_are_counted_one_after_the_other() -> None:
    model = chain(2, (4, 3), 1, "normal")
    found = box_regions(model, *unit_box(2))
    first = nn.Sequential(*list(model)[:2], nn.Linear(4, 1).double())
    assert found.regions_so_far.values.tolist() == [
        box_regions(first, *unit_box(2)).sizes["region"],
        found.sizes["region"],
    ]


@settings(max_examples=15)
@given(st.integers(0, 2**31))
def test_counts_stay_below_the_bounds(seed: int) -> None:
    count = box_regions(chain(2, (4, 3, 3), seed, "normal"), *unit_box(2), samples=0).sizes["region"]
    assert count <= serra_upper_bound(2, [4, 3, 3]) <= product_upper_bound(2, [4, 3, 3])


def test_images_and_single_precision_and_the_model_is_left_as_found() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(2, 1)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    low, high = -torch.ones(1, 2, 2), torch.ones(1, 2, 2)
    assert box_regions(model, low, high).sizes == box_regions(model.double(), low, high).sizes
    model.float()
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_missing_region_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    centred = Refinement.centred
    monkeypatch.setattr(Refinement, "centred", lambda self: tuple(part[1:] for part in centred(self)))
    with pytest.raises(ObservationError, match="found 0 times"):
        box_regions(with_rows([[1.0, 0.0]], [0.0]), *unit_box(2))


def test_a_region_found_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    centred = Refinement.centred
    monkeypatch.setattr(
        Refinement, "centred", lambda self: tuple(np.concatenate([part, part]) for part in centred(self))
    )
    with pytest.raises(ObservationError, match="found 2 times"):
        box_regions(with_rows([[1.0, 0.0]], [0.0]), *unit_box(2))


def test_refusals_say_what_it_would_cost() -> None:
    torch.manual_seed(0)
    wide = nn.Sequential(nn.Linear(4, 60), nn.ReLU(), nn.Linear(60, 60), nn.ReLU(), nn.Linear(60, 1))
    with pytest.raises(
        ObservationError, match=r"about .* regions \(estimated from .*linear programmes at \d+ a second"
    ):
        box_regions(wide, *unit_box(4), limit=10_000)
    with pytest.raises(ObservationError, match=r"about 4\.0e"):
        box_regions(chain(1, (7,), 0, "integers"), torch.tensor([-9.0]), torch.tensor([9.0]), limit=3, seconds=1e9)


def test_the_limit_holds_also_where_the_estimate_was_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reluscope_plugins.regions.box_regions.look_ahead", lambda *_: None)
    with pytest.raises(ObservationError, match=r"more than 3 regions when \d units are left"):
        box_regions(chain(2, (7,), 0, "normal"), *unit_box(2), limit=3)


def test_a_network_of_many_inputs_is_refused_before_it_begins() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(400, 128), nn.ReLU(), nn.Linear(128, 10))
    with pytest.raises(ObservationError, match=r"expected at most 131072; one takes .* for a single region.*3\.4e\+38"):
        box_regions(model, *unit_box(400))


@pytest.mark.parametrize(
    ("low", "high", "options", "match"),
    [
        (torch.zeros(2), torch.ones(3), {}, "two tensors"),
        (torch.zeros(2), torch.tensor([1.0, 0.0]), {}, "low below high"),
        (torch.zeros(2), torch.tensor([1.0, math.inf]), {}, "finite"),
        (torch.zeros(2), torch.ones(2), {"tolerance": 0.0}, "at least 1e-9"),
        (torch.zeros(2), torch.ones(2), {"limit": 0}, "limit is 0"),
        (torch.zeros(2), torch.ones(2), {"samples": -1}, "samples is -1"),
        (torch.zeros(2), torch.ones(2), {"seconds": -1}, "seconds is -1, expected a number above 0; math.inf"),
        (torch.zeros(2), torch.ones(2), {"seconds": math.nan}, "seconds is nan"),
    ],
)
def test_bad_input(low: torch.Tensor, high: torch.Tensor, options: dict[str, float], match: str) -> None:
    with pytest.raises(ObservationError, match=match):
        box_regions(with_rows([[1.0, 0.0]], [0.0]), low, high, **options)  # type: ignore[arg-type]


def test_a_smooth_network_is_refused() -> None:
    with pytest.raises(ObservationError, match="smooth"):
        box_regions(nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1)), *unit_box(2))
