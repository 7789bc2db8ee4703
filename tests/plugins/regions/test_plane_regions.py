"""The partition of a plane against sign enumeration by linear programs, grids of patterns, and its own laws."""

from __future__ import annotations

import copy
import importlib.util
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.packing import unpack
from reluscope_plugins.patterns.plane import Plane
from reluscope_plugins.regions.box_regions import box_regions
from reluscope_plugins.regions.decision_boundary import decision_boundary
from reluscope_plugins.regions.dense_cutter import DenseCutter
from reluscope_plugins.regions.line_regions import line_regions
from reluscope_plugins.regions.network_cutter import NetworkCutter
from reluscope_plugins.regions.plane_regions import SQUARE, plane_regions
from reluscope_plugins.regions.region_states import region_states


def loaded(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


polygons, walk = loaded("rational_polygons"), loaded("rational_walk")
MARGIN = 1e-7


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(widths: Sequence[int], seed: int, *, bias: bool = True) -> nn.Sequential:
    layers = [nn.Linear(a, b, bias=bias).double() for a, b in itertools.pairwise(widths)]
    with torch.no_grad():
        for number, layer in enumerate(layers):
            layer.weight.copy_(drawn(*layer.weight.shape, seed=1000 * seed + number))
            if bias:
                layer.bias.copy_(drawn(*layer.bias.shape, seed=1000 * seed + 100 + number))
    return nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])


def torch_default(*widths: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])


class Hidden(nn.Module):
    """The same network, but no chain that can be read off the graph."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) * 1.0


def enumerated(model: nn.Sequential, corners: Sequence[Sequence[float]] = SQUARE) -> set[tuple[bool, ...]]:
    """All sign vectors whose region has an inner circle of radius above MARGIN in the window: 2^units programs."""
    layers = [(layer.weight.detach().numpy(), layer.bias) for layer in model if isinstance(layer, nn.Linear)][:-1]
    layers = [(w, np.zeros(len(w)) if b is None else b.detach().numpy()) for w, b in layers]
    points = np.asarray(corners)
    sides = np.roll(points, -1, 0) - points
    inward = np.stack([-sides[:, 1], sides[:, 0]], 1)
    box = [(n / np.linalg.norm(n), -n @ p / np.linalg.norm(n)) for n, p in zip(inward, points, strict=True)]
    found = set()
    for signs in itertools.product([False, True], repeat=sum(len(w) for w, _ in layers)):
        rows, product, offset, rest = list(box), np.eye(2), np.zeros(2), list(signs)
        possible = True
        for weight, bias in layers:
            z, b = weight @ product, weight @ offset + bias
            mask, rest = np.array(rest[: len(weight)]), rest[len(weight) :]
            for row, value, on in zip(z, b, mask, strict=True):
                length = np.linalg.norm(row)
                if length < 1e-12:
                    possible &= bool((value > 0) == on)  # constant here: not above zero is inactive
                else:
                    rows.append(((row if on else -row) / length, (value if on else -value) / length))
            product, offset = mask[:, None] * z, mask * b
        if not possible:
            continue
        a = np.array([[-normal[0], -normal[1], 1.0] for normal, _ in rows])
        program = scipy.optimize.linprog([0, 0, -1], A_ub=a, b_ub=[value for _, value in rows], bounds=(None, None))
        if program.status == 0 and -program.fun > MARGIN:
            found.add(signs)
    return found


def bits(found: xr.Dataset, units: Sequence[int]) -> set[tuple[bool, ...]]:
    """Patterns of all regions, each site's rows without what fills them up."""
    packed, begin, parts = found["region_pattern"].values, 0, []
    for count in units:
        width = {1: 1, 2: 2, 3: 4, 4: 4}.get(-(-count // 8), 8 * -(-count // 64))
        parts.append(np.unpackbits(packed[:, begin : begin + width], axis=1, bitorder="little")[:, :count])
        begin += width
    assert begin == packed.shape[1]
    return {tuple(bool(bit) for bit in row) for row in np.concatenate(parts, 1)}


def output(found: xr.Dataset, region: np.ndarray, points: np.ndarray) -> np.ndarray:
    slope, offset = found["region_slope"].values[region], found["region_offset"].values[region]
    return np.einsum("nfa,na->nf", slope, points) + offset


def check_laws(found: xr.Dataset, model: nn.Module, plane: Plane, corners: Sequence[Sequence[float]] = SQUARE) -> None:
    """What every partition must obey."""
    points, ends = found["vertex_position"].values, found["edge_vertices"].values
    sides, patterns = found["edge_regions"].values, found["region_pattern"].values
    counts, corner = found["region_corners"].values, found["corner_vertex"].values
    x, y = np.asarray(corners).T
    window = float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert found["region_area"].values.sum() == pytest.approx(window, rel=1e-9)
    assert len(points) - len(ends) + len(counts) == 1
    # no two regions of one pattern: a pattern's region is convex, so it meets the plane in one piece
    assert len(np.unique(patterns, axis=0)) == len(patterns)
    # the maps are the network's, and continuous across every edge
    region = np.repeat(np.arange(len(counts)), counts)
    with torch.no_grad():
        inputs = plane.at(*torch.from_numpy(points[corner].T.copy()))
        expected = copy.deepcopy(model).double().eval()(inputs).flatten(1).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(output(found, region, points[corner]), expected, rtol=0, atol=1e-9 * scale)
    # corners run counterclockwise, and no angle bends back
    start = np.cumsum(counts) - counts
    after = np.arange(len(corner)) + 1
    after[start + counts - 1] = start
    step = points[corner[after]] - points[corner]
    turn = step[:, 0] * step[after][:, 1] - step[:, 1] * step[after][:, 0]
    assert (turn >= -1e-12).all()
    # each edge's regions are those around which it runs
    inner = (sides >= 0).all(1)
    assert ((found["edge_site"].values >= 0) == inner).all()
    both = {(int(a), int(b)): int(r) for a, b, r in zip(corner, corner[after], region, strict=True)}
    for (a, b), (left, right) in zip(ends.tolist(), sides.tolist(), strict=True):
        assert left < 0 or both[a, b] == left
        assert right < 0 or both[b, a] == right


def neighbours_differ_in_one_unit(found: xr.Dataset) -> bool:
    sides, patterns = found["edge_regions"].values, found["region_pattern"].values
    left, right = sides[(sides >= 0).all(1)].T
    return bool((np.unpackbits(patterns[left] ^ patterns[right], axis=1).sum(1) == 1).all())


@given(
    widths=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    bias=st.booleans(),
    seed=st.integers(0, 100_000),
    hide=st.booleans(),
)
def test_counts_against_sign_enumeration(widths: list[int], bias: bool, seed: int, hide: bool) -> None:
    model = dense((2, *widths, 1), seed, bias=bias)
    found = plane_regions(Hidden(model) if hide else model)
    assert bits(found, widths) == enumerated(model)
    check_laws(found, model, Plane.axes())


@pytest.mark.slow
@settings(max_examples=2000)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=2),
    bias=st.booleans(),
    seed=st.integers(0, 10_000_000),
    hide=st.booleans(),
)
def test_thousands_of_counts(widths: list[int], bias: bool, seed: int, hide: bool) -> None:
    model = dense((2, *widths, 1), seed, bias=bias)
    assert bits(plane_regions(Hidden(model) if hide else model), widths) == enumerated(model)


@given(widths=st.lists(st.integers(1, 20), min_size=1, max_size=4), seed=st.integers(0, 100_000))
def test_laws(widths: list[int], seed: int) -> None:
    model = dense((2, *widths, 3), seed)
    corners = ((-2.0, -1.0), (1.5, -1.5), (2.0, 0.5), (0.0, 3.0))
    found = plane_regions(model, window=corners)
    check_laws(found, model, Plane.axes(), corners)
    assert neighbours_differ_in_one_unit(found)
    general = plane_regions(Hidden(model), window=corners)
    assert bits(found, widths) == bits(general, widths)
    np.testing.assert_array_equal(found["regions_so_far"], general["regions_so_far"])


def test_no_bias_has_two_regions_a_unit() -> None:
    """All lines meet in one point."""
    for seed in range(5):
        model = dense((2, 64, 1), seed, bias=False)
        for network in (model, Hidden(model)):
            found = plane_regions(network)
            assert found.sizes["region"] == 128
            check_laws(found, model, Plane.axes())


def with_weights(weight: list[list[float]], bias: list[float], more: Sequence[nn.Module] = ()) -> nn.Sequential:
    layer = nn.Linear(2, len(bias)).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    last = nn.Linear(len(bias), 1).double()
    with torch.no_grad():
        last.weight.fill_(1.0)
        last.bias.zero_()
    return nn.Sequential(layer, nn.ReLU(), *more, last)


@pytest.mark.parametrize(
    ("weight", "bias", "count"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], [0.0, 0.0], 2),  # equal rows
        ([[1.0, 0.0], [-2.0, 0.0]], [0.5, -1.0], 2),  # one line, both ways round
        ([[0.0, 0.0], [0.0, 0.0]], [1.0, -1.0], 1),  # zero weights
        ([[0.0, 0.0], [0.0, 1.0]], [0.0, 0.0], 2),  # a unit that is zero everywhere
        ([[1.0, 0.0], [0.0, 1.0]], [5.0, -5.0], 1),  # a unit always on, one dead
        ([[1.0, 1.0], [1.0, -1.0]], [0.0, 0.0], 4),  # walls through the corners
        ([[1.0, 1.0]], [2.0], 1),  # a wall that touches one corner
        ([[1.0, 0.0], [0.0, 1.0]], [1.0, -1.0], 1),  # walls along the window's edges
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]], [0.0] * 4, 8),  # four lines through one point
    ],
)
def test_degenerate_networks(weight: list[list[float]], bias: list[float], count: int) -> None:
    model = with_weights(weight, bias)
    for network in (model, Hidden(model)):
        found = plane_regions(network)
        assert found.sizes["region"] == count
        assert found["region_area"].values.sum() == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize(("widths", "count"), [((2, 64, 64, 1), 2943), ((2, 128, 128, 128, 1), 20714)])
def test_counts_of_public_tools(widths: tuple[int, ...], count: int) -> None:
    """As two independent public tools count them; torch's own initial weights of seed 0."""
    model = torch_default(*widths)
    found = plane_regions(model)
    assert found.sizes["region"] == count
    check_laws(found, model, Plane.axes())
    assert neighbours_differ_in_one_unit(found)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(2, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.first(x))
        return self.last(torch.relu(self.second(h) + h))


NETWORKS = {
    "residual": (Residual, ()),
    "three states": (lambda: nn.Sequential(nn.Linear(2, 5), nn.ReLU6(), nn.Linear(5, 5), nn.Hardtanh()), ()),
    "leaky": (lambda: nn.Sequential(nn.Linear(2, 7), nn.LeakyReLU(), nn.Linear(7, 2), nn.Softshrink()), ()),
    "pools": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.ReLU6(),
            nn.MaxPool2d(2),
            nn.Conv2d(2, 3, 2),
            nn.LeakyReLU(),
            nn.Flatten(),
            nn.Linear(12, 4),
            nn.ReLU(),
            nn.Linear(4, 2),
        ),
        (1, 6, 6),
    ),
    "pool first": (
        lambda: nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(9, 5), nn.ReLU(), nn.Linear(5, 1)),
        (1, 5, 5),
    ),
    "pool after ReLU": (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)),
        (1, 5, 5),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=6)
@given(seed=st.integers(0, 10_000))
def test_other_networks(name: str, seed: int) -> None:
    """No pattern of 20,000 points is missing, and all laws hold."""
    build, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build().double()
    plane = Plane.through(*drawn(3, *shape, seed=seed)) if shape else Plane.axes()
    corners = tuple((3 * x, 3 * y) for x, y in SQUARE)
    found = plane_regions(model, plane, window=corners)
    check_laws(found, model, plane, corners)
    generator = torch.Generator().manual_seed(seed)
    points = 6 * torch.rand(20_000, 2, generator=generator, dtype=torch.float64) - 3
    observation = observe(model, plane.at(points[:, 0], points[:, 1]))
    names = (*observation.sites, *observation.pools)
    seen = torch.cat([observation.packed[site].reshape(len(points), -1) for site in names], 1).numpy()
    listed = {row.tobytes() for row in found["region_pattern"].values}
    assert {row.tobytes() for row in seen} <= listed


def coarse_layers(generator: np.random.Generator, kind: str, tenths: bool) -> tuple[list, list]:
    """Layers of small integers, or of as many tenths, whose sums are no longer exact in float64; and in rationals."""
    exact: list = []
    rounded: list = []

    def linear(width: int, units: int) -> tuple[tuple, tuple]:
        weight = generator.integers(-2, 3, (units, width)).tolist()
        bias = (generator.integers(-2, 3, units) * int(generator.integers(2))).tolist()
        scale = 10 if tenths else 1
        rational = ([[Fraction(w, scale) for w in row] for row in weight], [Fraction(b, scale) for b in bias])
        return ("linear", *rational), (
            "linear",
            [[w / scale for w in row] for row in weight],
            [b / scale for b in bias],
        )

    def add(width: int, units: int) -> None:
        for layers, layer in zip((exact, rounded), linear(width, units), strict=True):
            layers.append(layer)

    width = 2
    for _ in range(int(generator.integers(1, 3))):
        units = int(generator.integers(1, 5))
        add(width, units)
        width = units
        if kind != "pool":
            for layers in (exact, rounded):
                layers.append(("relu",))
        if kind == "residual":
            for layers, layer in zip((exact, rounded), linear(width, width), strict=True):
                layers.append(("residual", [layer, ("relu",)]))
        elif kind != "dense":
            size, stride = int(generator.integers(1, width + 1)), int(generator.integers(1, 3))
            width = (width - size) // stride + 1
            for layers in (exact, rounded):
                layers.append(("pool", size, stride))
            if kind == "pool":
                add(width, width)
                for layers in (exact, rounded):
                    layers.append(("relu",))
    add(width, 1)
    return exact, rounded


def states_as_they_come(found: xr.Dataset, model: nn.Module, layers: list) -> np.ndarray:
    """States of all units, and of windows the winners' places, in the order of the layers, `(region, unit)`."""
    seen = observe(model, torch.zeros(1, 2, dtype=torch.float64))
    patterns, begin, by_site = found["region_pattern"].values, 0, {}
    for name in (*seen.sites, *seen.pools):
        end = begin + seen.packed[name].numel()
        rows = torch.from_numpy(patterns[:, begin:end].copy()).reshape(-1, seen.packed[name].shape[1])
        by_site[name] = unpack(rows, seen.site[name].units, bits=seen.site[name].bits).reshape(len(patterns), -1)
        begin = end
    flat = [layer for outer in layers for layer in (outer[1] if outer[0] == "residual" else [outer])]
    parts, sites, pools = [], iter(seen.sites), iter(seen.pools)
    for kind, *rest in flat:
        if kind == "relu":
            parts.append(by_site[next(sites)].numpy().astype(int))
        elif kind == "pool":
            winner = by_site[next(pools)].numpy()
            parts.append(winner - rest[1] * np.arange(winner.shape[1]))
    return np.concatenate(parts, 1)


@pytest.mark.parametrize("tenths", [False, True])
@pytest.mark.parametrize("kind", ["dense", "residual", "pool after ReLU", "pool"])
@settings(max_examples=25)
@given(seed=st.integers(0, 100_000))
def test_patterns_and_areas_are_those_of_rational_numbers(kind: str, tenths: bool, seed: int) -> None:
    """Equal rows, units that are zero on whole regions, places that win together, cuts that coincide."""
    exact, rounded = coarse_layers(np.random.default_rng(seed), kind, tenths)
    model = walk.Described(rounded)
    found = plane_regions(model)
    cells = polygons.cells([(Fraction(int(x)), Fraction(int(y))) for x, y in SQUARE], exact)
    expected = {pattern: float(polygons.area(polygon)) for polygon, _, pattern in cells}
    assert len(expected) == len(cells)
    states = [tuple(row) for row in states_as_they_come(found, model, rounded).tolist()]
    assert len(set(states)) == len(states)
    areas = dict(zip(states, found["region_area"].values.tolist(), strict=True))
    assert areas == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("hide", [False, True])
def test_a_unit_that_is_zero_but_for_rounding_is_inactive(hide: bool) -> None:
    """0.1 + 0.2 - 0.3 of the same positive unit, which is not zero in float64."""
    ones, zeros = [[1.0, 0.0]] * 3, [0.0] * 3
    layers = [("linear", ones, zeros), ("relu",), ("linear", [[0.1, 0.2, -0.3]], [0.0]), ("relu",)]
    model = walk.Described(layers)
    assert float(model(torch.tensor([[1.0, 0.0]], dtype=torch.float64))) > 0
    network = Hidden(model) if hide else model
    states = states_as_they_come(plane_regions(network), network, layers)
    assert sorted(map(tuple, states.tolist())) == [(0, 0, 0, 0), (1, 1, 1, 0)]


@pytest.mark.parametrize("name", NETWORKS)
def test_states_of_regions(name: str) -> None:
    """At a point inside of each region the network's own pattern, unit by unit as edges count them."""
    build, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = build().double()
    plane = Plane.through(*drawn(3, *shape, seed=3)) if shape else Plane.axes()
    found = plane_regions(model, plane)
    states = region_states(found)
    np.testing.assert_array_equal(found["window_corner"], SQUARE)
    np.testing.assert_array_equal(found["plane_origin"], plane.origin.flatten())
    np.testing.assert_array_equal(found["plane_direction"], [direction.flatten() for direction in plane.directions])
    large = np.flatnonzero(found["region_area"].values > 1e-6)
    ends = np.cumsum(found["region_corners"].values)
    points, corner = found["vertex_position"].values, found["corner_vertex"].values
    corners = np.split(points[corner], ends[:-1])
    inside = torch.from_numpy(np.array([corners[region].mean(0) for region in large]))
    seen = observe(model, plane.at(*inside.T))
    assert len(large) > 3
    for number, site in enumerate(found["site"].values.tolist()):
        own = states["region_state"].values[:, states["unit_site"].values == number]
        np.testing.assert_array_equal(own[large], seen.pattern[site].reshape(len(large), -1))
        np.testing.assert_array_equal(
            states["site_unit"].values[states["unit_site"].values == number], range(own.shape[1])
        )
    sides, maker = found["edge_regions"].values, found["edge_site"].values
    inner = np.flatnonzero(maker >= 0)
    offset = np.searchsorted(states["unit_site"].values, maker[inner]) + found["edge_unit"].values[inner]
    left, right = (states["region_state"].values[side, offset] for side in sides[inner].T)
    assert (left != right).all()
    with pytest.raises(ObservationError, match="regions is int, expected the data set that plane_regions returns"):
        region_states(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("hide", [False, True])
def test_a_wrong_pattern_is_found(monkeypatch: pytest.MonkeyPatch, hide: bool) -> None:
    """Areas, Euler's formula and continuity are as they should be; one bit of the greatest region is not."""
    cutter: Any = NetworkCutter if hide else DenseCutter
    right = cutter.finish

    def wrong(self: Any, subdivision: Any) -> tuple[np.ndarray, np.ndarray]:
        maps, patterns = right(self, subdivision)
        patterns[subdivision.areas().argmax(), 0] ^= 4
        return maps, patterns

    model = dense((2, 5, 4, 1), 3)
    network = Hidden(model) if hide else model
    plane_regions(network)
    monkeypatch.setattr(cutter, "finish", wrong)
    with pytest.raises(
        ObservationError, match=r"unit 2 of site '(model\.)?1#0' is not in the state that region \d+ has"
    ):
        plane_regions(network)


class Greatest(nn.Module):
    """Two channels: the greatest of x, 0 and 1/2, and of x, 0 and -5: their cuts along x = 0 and x = 1/2 coincide."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.stack([x[:, 0], 0 * x[:, 0], 0 * x[:, 0] + 0.5], 1)
        second = torch.stack([x[:, 0], 0 * x[:, 0], 0 * x[:, 0] - 5.0], 1)
        pooled = nn.functional.max_pool1d(torch.stack([first, second], 1), 3).flatten(1)
        return torch.relu(pooled + 1).sum(1, keepdim=True)


def test_cuts_that_coincide_are_walls_where_any_of_them_is() -> None:
    found = plane_regions(Greatest())
    areas = dict(zip(found["region_slope"].values[:, 0, 0].round(9), found["region_area"].values, strict=True))
    assert areas == {0.0: pytest.approx(2.0), 1.0: pytest.approx(1.0), 2.0: pytest.approx(1.0)}
    # each bears the window whose winner changes there
    at = found["vertex_position"].values[found["edge_vertices"].values].mean(1)[:, 0].round(9)
    inner = found["edge_site"].values >= 0
    assert dict(zip(at[inner], found["edge_unit"].values[inner], strict=True)) == {0.0: 1, 0.5: 0}


@pytest.mark.parametrize("seed", [3, 6, 8, 18, 22])
def test_overlapping_pools_behind_a_relu(seed: int) -> None:
    """Patches that share pooled zeros make walls that coincide."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(2, 9),
            nn.ReLU(),
            nn.Unflatten(1, (1, 3, 3)),
            nn.MaxPool2d(2, 1),
            nn.Conv2d(1, 2, 1),
            nn.Hardtanh(),
            nn.MaxPool2d(2, 1),
            nn.Flatten(),
            nn.Linear(2, 2),
        ).double()
    check_laws(plane_regions(model), model, Plane.axes())


def test_jumps_are_refused() -> None:
    with pytest.raises(ObservationError, match="the function jumps by"):
        plane_regions(nn.Sequential(nn.Linear(2, 3), nn.Hardshrink(), nn.Linear(3, 1)))


def test_a_window_far_away() -> None:
    corners = tuple((x + 1e8, y) for x, y in SQUARE)
    found = plane_regions(nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)), window=corners)
    assert found["region_area"].values.sum() == pytest.approx(4, rel=1e-6)


def test_a_unit_that_is_zero_is_inactive() -> None:
    """The second layer's unit is the difference of two equal ones."""
    model = dense((2, 4, 1, 1), 7)
    with torch.no_grad():
        model[0].weight[1], model[0].bias[1] = model[0].weight[0], model[0].bias[0]
        model[2].weight.copy_(torch.tensor([[0.3, -0.3, 0.0, 0.0]]))
        model[2].bias.zero_()
    patterns = bits(plane_regions(model), [4, 1])
    assert not any(pattern[4] for pattern in patterns)


def test_edges_name_the_unit_that_made_them() -> None:
    model = dense((2, 9, 8, 1), 3)
    found = plane_regions(model)
    ends = found["vertex_position"].values[found["edge_vertices"].values].mean(1)
    observation = observe(model, torch.from_numpy(ends))
    for site, name in enumerate(found["site"].values.tolist()):
        made = np.flatnonzero(found["edge_site"].values == site)
        assert len(made)
        values = observation.preactivation[name].numpy()[made, found["edge_unit"].values[made]]
        assert np.abs(values).max() < 1e-10


def test_the_first_layer_is_straight() -> None:
    """The binomial sum: 12 lines in general position, all of whose crossings lie in the window."""
    model = dense((2, 12, 1), 5)
    corners = tuple((1e4 * x, 1e4 * y) for x, y in SQUARE)
    assert plane_regions(model, window=corners).sizes["region"] == sum(math.comb(12, k) for k in range(3))


def test_the_model_is_left_as_found() -> None:
    model = torch_default(2, 8, 8, 1).train()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    with torch.no_grad():
        plane_regions(model)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(value.dtype == torch.float32 for value in model.state_dict().values())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (((0, 0), (1, 0)), r"window has shape \(2, 2\), expected at least three corners"),
        (((0, 0), (0, 1), (1, 0)), "not counterclockwise"),
        (((0, 0), (1, 0), (2, 0), (0, 1)), "not strictly convex"),
        (((0, 0), (1, 0), (math.nan, 1)), "finite coordinates"),
        (
            [(math.cos(4 * math.pi * k / 5), math.sin(4 * math.pi * k / 5)) for k in range(5)],
            r"crosses itself.*give the corners of a convex polygon",
        ),
        # twice around; from its first corner all others run counterclockwise
        (
            [
                ((1.1 if k == 5 else 1.0) * math.cos(4 * math.pi * k / 10), math.sin(4 * math.pi * k / 10))
                for k in range(10)
            ],
            "crosses itself",
        ),
        ("abc", "window is 'abc', expected at least three corners.*give numbers"),
        (((0, 0), (1,), (0, 1)), r"window is \(\(0, 0\), \(1,\), \(0, 1\)\), expected at least three corners"),
        (None, "expected at least three corners"),
    ],
)
def test_windows_are_convex_polygons(window: Sequence[Sequence[float]], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        plane_regions(dense((2, 3, 1), 0), window=window)


def test_smooth_networks_are_refused() -> None:
    with pytest.raises(ObservationError, match="gelu"):
        plane_regions(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 1)))


def test_inputs_that_do_not_fit() -> None:
    model, side = dense((3, 3, 1), 0), torch.ones(2)
    for find, what in (
        (lambda: plane_regions(model), "origin and directions of a plane"),
        (lambda: line_regions(model, torch.eye(2)), "the points of a line"),
        (lambda: box_regions(model, -side, side), "low and high"),
    ):
        with pytest.raises(ObservationError, match=r"cannot be run on a batch of shape \(\d, 2\)") as caught:
            find()
        assert f"{what} must have the shape of one of them, without a sample dim, not (2,)" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_planes_are_planes() -> None:
    with pytest.raises(ObservationError, match=r"plane is list, expected a Plane or None; make one with"):
        plane_regions(dense((2, 3, 1), 0), [[0.0, 0.0]])  # type: ignore[arg-type]


@pytest.mark.parametrize("regions", [1, xr.Dataset()])
def test_boundaries_are_of_regions(regions: Any) -> None:
    with pytest.raises(ObservationError, match=r"regions is (int|Dataset), expected the data set that plane_regions"):
        decision_boundary(regions)


@settings(max_examples=15)
@given(widths=st.lists(st.integers(1, 15), min_size=1, max_size=3), seed=st.integers(0, 100_000))
def test_a_line_crosses_as_many_polygons_as_it_has_pieces(widths: list[int], seed: int) -> None:
    model = dense((2, *widths, 1), seed)
    found = plane_regions(model)
    start, end = 0.99 * (2 * torch.rand(2, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1)
    pieces = line_regions(model, torch.stack([start, end]))
    points, corner = found["vertex_position"].values, found["corner_vertex"].values
    crossed, begin = 0, 0
    for count in found["region_corners"].values.tolist():
        polygon = points[corner[begin : begin + count]]
        begin += count
        sides = np.roll(polygon, -1, 0) - polygon
        inward = np.stack([-sides[:, 1], sides[:, 0]], 1)
        height = ((start.numpy() - polygon) * inward).sum(1)
        speed = inward @ (end - start).numpy()
        low = max([0.0, *(-height[speed > 0] / speed[speed > 0])])
        high = min([1.0, *(-height[speed < 0] / speed[speed < 0])])
        crossed += int(high - low > 1e-11 and (height[speed == 0] >= 0).all())
    assert crossed == int(pieces["region_count"])


@pytest.mark.parametrize("hide", [False, True])
def test_values_that_shrink_from_layer_to_layer_are_not_taken_as_zero(hide: bool) -> None:
    """Forty layers without biases, in which values fall to 1e-17 of the inputs; doubled weights change no pattern."""
    widths = [2, *[8] * 40, 1]
    generator = torch.Generator().manual_seed(3)
    counts = []
    for scale in (0.3, 0.6):
        layers = [nn.Linear(a, b, bias=False, dtype=torch.float64) for a, b in itertools.pairwise(widths)]
        generator.manual_seed(3)
        for layer in layers:
            layer.weight.data.copy_(scale * torch.randn(layer.weight.shape, generator=generator, dtype=torch.float64))
        model = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])
        counts.append(plane_regions(Hidden(model) if hide else model).sizes["region"])
    assert counts[0] == counts[1] > 40


@pytest.mark.parametrize("power", [-50, 30, 50])
def test_a_unit_of_another_scale_changes_nothing(power: int) -> None:
    """One hidden unit times a power of two, what leaves it over that: the same function, bit for bit."""
    model = dense((2, 6, 6, 1), 1)
    same = copy.deepcopy(model)
    for layer in (same[0].weight, same[0].bias):
        layer.data[0] *= 2.0**power
    same[2].weight.data[:, 0] /= 2.0**power
    areas = [np.sort(plane_regions(network).region_area.values) for network in (model, same)]
    np.testing.assert_allclose(areas[0], areas[1], rtol=1e-9)
    bounds = torch.ones(2, dtype=torch.float64)
    assert box_regions(same, -bounds, bounds).sizes["region"] == len(areas[0])
