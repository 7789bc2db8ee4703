"""Breakpoints along lines against a walk in exact rational arithmetic."""

from __future__ import annotations

import copy
import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.strategies import SEEDS, batches, networks
from reluscope_plugins.regions import line_walk
from reluscope_plugins.regions.crossings import winner_changes
from reluscope_plugins.regions.line_regions import line_regions

_spec = importlib.util.spec_from_file_location("rational_walk", Path(__file__).with_name("rational_walk.py"))
assert _spec is not None
assert _spec.loader is not None
reference = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(reference)


def drawn_layers(generator: np.random.Generator, *, coarse: bool) -> tuple[list, list[float], list[float]]:
    """Draw a small network and a line; coarse weights are small integers, with many ties and zeros."""

    def numbers(*shape: int) -> list:
        if coarse:
            return generator.integers(-2, 3, shape).astype(float).tolist()
        return generator.standard_normal(shape).tolist()

    inputs = int(generator.integers(1, 4))
    width = inputs
    layers: list = []
    for _ in range(int(generator.integers(1, 4))):
        units = int(generator.integers(1, 6))
        bias = [0.0] * units if generator.random() < 0.25 else numbers(units)
        layers.append(("linear", numbers(units, width), bias))
        width = units
        kind = generator.choice(["relu", "relu", "relu6", "pool", "pool after", "residual"])
        if kind == "relu":
            layers.append(("relu",))
        elif kind == "relu6":
            layers += [("linear", (4 * np.eye(width)).tolist(), [0.0] * width), ("relu6",)]
        elif kind == "residual":
            layers.append(("residual", [("relu",), ("linear", numbers(width, width), numbers(width)), ("relu",)]))
        else:
            if kind == "pool after":
                layers.append(("relu",))
            size = int(generator.integers(1, width + 1))
            stride = int(generator.integers(1, 3))
            layers.append(("pool", size, stride))
            width = (width - size) // stride + 1
    layers.append(("linear", numbers(1, width), numbers(1)))
    begin, end = numbers(inputs), numbers(inputs)
    return layers, begin, end


@pytest.mark.parametrize("coarse", [False, True])
@given(seed=SEEDS)
@settings(max_examples=400)
def test_breakpoints_and_pieces_are_those_of_an_exact_walk(coarse: bool, seed: int) -> None:
    layers, begin, end = drawn_layers(np.random.default_rng(seed), coarse=coarse)
    if all(kind in ("linear", "pool") for kind, *_ in layers):
        layers.append(("relu",))
    breakpoints, pieces = reference.walk(layers, begin, end)
    model = reference.Described(layers)
    found = line_regions(model, torch.tensor([begin, end], dtype=torch.float64))
    assert int(found.region_count) == len(breakpoints) + 1
    np.testing.assert_allclose(found.breakpoint, [float(t) for t in breakpoints], rtol=0, atol=1e-9)
    scale = 1 + max(abs(float(value)) for piece in pieces for value in piece)
    np.testing.assert_allclose(found.slope[:, 0], [float(s) for s, _ in pieces], rtol=0, atol=1e-9 * scale)
    np.testing.assert_allclose(found.offset[:, 0], [float(o) for _, o in pieces], rtol=0, atol=1e-9 * scale)


def states_of(model: nn.Module, x: torch.Tensor) -> tuple[list[str], torch.Tensor]:
    observation = observe(model, x)
    parts = [observation.pattern[name].reshape(len(x), -1).long() for name in observation.pattern]
    names = [name for name, part in zip(observation.pattern, parts, strict=True) for _ in range(part.shape[1])]
    return names, torch.cat(parts, 1)


@given(model=networks(), batch=batches(min_samples=2, max_samples=2))
def test_neighbouring_pieces_differ_in_the_named_units_and_in_no_other(model: nn.Module, batch: tuple) -> None:
    points = batch[0]
    found = line_regions(model, points)
    middle = torch.from_numpy(((found.piece_start + found.piece_end) / 2).values)
    x = torch.lerp(points[0], points[1], middle.reshape(-1, *[1] * (points.ndim - 1)))
    observation = observe(model, x)
    wide = (found.piece_end - found.piece_start).values > 1e-9
    for number, (t, left, right) in enumerate(zip(found.breakpoint.values, wide[:-1], wide[1:], strict=True)):
        if not (left and right):
            continue
        named = {
            (str(site), int(unit))
            for parameter, site, unit in zip(
                found.crossing_parameter.values,
                found.crossing_site.values,
                found.crossing_unit.values,
                strict=True,
            )
            if parameter == t
        }
        changed = set()
        for name, pattern in observation.pattern.items():
            rows = pattern.reshape(len(x), -1)
            changed |= {(name, int(unit)) for unit in (rows[number] != rows[number + 1]).nonzero()}
        assert changed == named


@given(model=networks(), batch=batches(min_samples=2, max_samples=2))
def test_no_sampled_pattern_is_missed_and_the_pieces_are_the_function(model: nn.Module, batch: tuple) -> None:
    points = batch[0]
    found = line_regions(model, points)
    t = np.random.default_rng(0).random(300)
    x = torch.lerp(points[0], points[1], torch.from_numpy(t).reshape(-1, *[1] * (points.ndim - 1)))
    piece = np.searchsorted(found.piece_end.values, t)
    with torch.no_grad():
        expected = model(x).reshape(len(t), -1).numpy()
    values = found.slope.values[piece] * t[:, None] + found.offset.values[piece]
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9 * (1 + np.abs(expected).max()))
    _, states = states_of(model, x)
    away = np.abs(t[:, None] - np.concatenate((found.breakpoint.values, [np.inf]))).min(1) > 1e-9
    for number in np.unique(piece):
        inside = states[torch.from_numpy((piece == number) & away)]
        assert len(torch.unique(inside, dim=0)) <= 1


def test_a_polyline_is_its_segments_and_its_vertices() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 20), nn.ReLU(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 2)).double()
    points = torch.randn(5, 3, dtype=torch.float64)
    whole = line_regions(model, points)
    expected = [line_regions(model, pair).breakpoint.values + k for k, pair in enumerate(points.unfold(0, 2, 1).mT)]
    np.testing.assert_allclose(whole.breakpoint, np.concatenate(expected), atol=1e-12)
    assert int(whole.region_count) == len(whole.breakpoint) + 1
    assert whole.sizes["piece"] == len(whole.breakpoint) + 4
    inner = whole.piece_end.values[:-1, None]
    left = (whole.slope.values * whole.piece_end.values[:, None] + whole.offset.values)[:-1]
    np.testing.assert_allclose(left, whole.slope.values[1:] * inner + whole.offset.values[1:], atol=1e-12)


def test_a_breakpoint_at_a_vertex_counts_once_and_at_an_end_not() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.zero_()
    # through, touching from either side, and along zero
    for line, expected in (
        ([-1.0, 0.0, 1.0], [1.0]),
        ([1.0, 0.0, 1.0], []),
        ([-1.0, 0.0, -1.0], []),
        ([1.0, 0.0, 0.0, 1.0], [1.0, 2.0]),
        ([-1.0, 0.0, 0.0, 1.0], [2.0]),
        ([0.0, 1.0], []),
        ([-1.0, 0.0], []),
        ([0.0, 0.0], []),
        ([2.0, 2.0], []),
    ):
        found = line_regions(model, torch.tensor(line, dtype=torch.float64)[:, None])
        assert found.breakpoint.values.tolist() == expected, line


def test_equal_rows_break_together_and_dead_units_never() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1)).double()
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[4:] = layer.weight[:4]
            layer.bias[4:] = layer.bias[:4]
            layer.weight[3] = layer.weight[7] = 0.0
            layer.bias[3] = layer.bias[7] = 0.0
    points = torch.tensor([[-9.0, 4.0], [9.0, -5.0]], dtype=torch.float64)
    found = line_regions(model, points)
    units = found.crossing_unit.values
    for t in found.breakpoint.values:
        here = units[found.crossing_parameter.values == t]
        assert set(here % 4) == {here.min()}
        assert len(here) == 2
    assert 3 not in units
    assert len(found.breakpoint) >= 3


def test_a_network_without_biases_has_one_region_on_a_ray_and_all_break_at_the_origin() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Linear(2, 64, bias=False), nn.ReLU(), nn.Linear(64, 64, bias=False), nn.ReLU(), nn.Linear(64, 1, bias=False)
    ).double()
    point = torch.tensor([0.3, -1.7], dtype=torch.float64)
    assert int(line_regions(model, torch.stack((0 * point, 5 * point))).region_count) == 1
    through = line_regions(model, torch.stack((-2 * point, 5 * point)))
    np.testing.assert_allclose(through.breakpoint, [2 / 7], atol=1e-12)


def test_windows_within_the_memory_bound_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)
    ).double()
    points = 3 * torch.randn(2, 1, 8, 8, dtype=torch.float64)
    whole = line_regions(model, points)
    monkeypatch.setattr(line_walk, "_NUMBERS", 20 * 500)
    monkeypatch.setattr(line_walk, "_AT_ONCE", 3 * 500)
    parts = line_regions(model, points)
    np.testing.assert_allclose(parts.breakpoint, whole.breakpoint, atol=1e-12)
    for name in ("crossing_site", "crossing_unit", "crossing_beyond"):
        assert (parts[name].values == whole[name].values).all()
    assert len(whole.breakpoint) > 60


def test_float32_is_looked_at_in_float64_and_the_model_is_left_as_found() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 2))
    before = copy.deepcopy(model.state_dict())
    points = torch.randn(2, 5)
    found = line_regions(model, points)
    exact = line_regions(copy.deepcopy(model).double(), points.double())
    assert (found.breakpoint.values == exact.breakpoint.values).all()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_resnet18_unchanged() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval()
    begin = torch.randn(3, 32, 32)
    points = torch.stack((begin, begin + 0.003 * torch.randn(3, 32, 32)))
    found = line_regions(model, points)
    assert len(found.breakpoint) > 20
    assert {"maxpool#0", "relu#0", "layer1.0.relu#1"} <= set(found.site.values.tolist())
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    with torch.no_grad():
        expected = copy.deepcopy(model).double()(points.double())
    values = found.slope.values[[0, -1]] * ends[:, None].numpy() + found.offset.values[[0, -1]]
    np.testing.assert_allclose(values, expected.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "points", "words"),
    [
        (nn.Sequential(nn.Linear(2, 3), nn.GELU()), torch.randn(2, 2), "gelu"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Softmax(1)), torch.randn(2, 2), "softmax"),
        (nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU()), torch.randn(2, 2), "batch norm"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.randn(1, 2), "at least two points"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), [[0.0, 1.0]], "list"),
        (nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.tensor([[0.0, 1.0], [torch.nan, 0.0]]), "NaN"),
        (nn.Sequential(nn.Linear(1, 1), nn.Hardshrink()), torch.tensor([[-9.0], [9.0]]), "hardshrink"),
    ],
)
def test_what_cannot_be_is_refused_by_name(model: nn.Module, points: torch.Tensor, words: str) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    with pytest.raises(ObservationError, match=words):
        line_regions(model, points)


class Unheard(nn.Module):
    """Bends by `torch.abs`, which is no activation."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x.abs() + self.bias)


@pytest.mark.parametrize("bias", [-0.5, 0.5])
def test_what_bends_where_no_site_is_is_refused(bias: float) -> None:
    points = torch.tensor([[-0.2], [1.0]], dtype=torch.float64)
    with pytest.raises(ObservationError, match="'abs' in the root module bends the network"):
        line_regions(Unheard(bias), points)


@pytest.mark.parametrize("seed", range(30))
def test_places_that_meet_in_one_point_change_the_winner_once(seed: int) -> None:
    slope = np.sort(np.random.default_rng(seed).standard_normal(4))
    values = np.outer([-1 / 3, 2 / 3], slope)
    behind = values.max(1, keepdims=True) - values
    found = winner_changes(np.array([0.0, 1.0]), behind, np.arange(4)[None], 1e-14, None)
    np.testing.assert_allclose(found.parameter, [1 / 3], atol=1e-13)
    assert found.column.tolist() == [3]


@given(st.integers(1, 8))
def test_a_tent_map_has_two_to_the_n_pieces(times: int) -> None:
    tent = (nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())
    with torch.no_grad():
        tent[0].weight.copy_(torch.tensor([[1.0], [1.0]]))
        tent[0].bias.copy_(torch.tensor([0.0, -0.5]))
        tent[2].weight.copy_(torch.tensor([[2.0, -4.0]]))
        tent[2].bias.zero_()
    model = nn.Sequential(*itertools.chain.from_iterable([tent] * times)).double()
    found = line_regions(model, torch.tensor([[0.0], [1.0]]))
    assert found.breakpoint.values.tolist() == [k / 2**times for k in range(1, 2**times)]
