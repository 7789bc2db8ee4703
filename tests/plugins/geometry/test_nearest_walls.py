"""The distance to the edge of a region against explicit matrices, linear programs, and the network's own patterns."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope.lab import Lab
from reluscope.observation import Observation, observe
from reluscope.testing import check_metric
from reluscope_plugins.geometry.edge_distance import edge_distance, least_edge_distance
from reluscope_plugins.geometry.nearest_walls import NearestWalls, nearest_walls


def drawn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(model: nn.Module, seed: int = 0) -> nn.Module:
    model.double().eval()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=1000 * seed + number) / max(1, parameter[0].numel()) ** 0.5)
    return model


def dense(widths: tuple[int, ...], seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
    return seeded(nn.Sequential(*[module for layer in layers for module in (layer, activation())][:-1]), seed)


def convolutional(seed: int) -> nn.Sequential:
    return seeded(
        nn.Sequential(
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
        seed,
    )


def explicit_walls(model: nn.Sequential, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows a and offsets b of all walls a y + b >= 0 around one sample of a dense ReLU network: products in NumPy."""
    product, offset, rows, offsets = np.eye(len(x)), np.zeros(len(x)), [], []
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            product, offset = weight @ product, weight @ offset + bias
        else:
            sign = np.where(product @ x + offset > 0, 1.0, -1.0)
            rows.append(sign[:, None] * product)
            offsets.append(sign * offset)
            product, offset = (sign > 0)[:, None] * product, (sign > 0) * offset
    return np.concatenate(rows), np.concatenate(offsets)


def edge_by_programs(rows: np.ndarray, offsets: np.ndarray, x: np.ndarray) -> float:
    """Distance to the edge: over all walls that the closed region really has (a linear program each), the nearest.

    A wall belongs to the region's edge if the region has a point on it: a y + b = 0 with all other functions at least
    zero. The perpendicular to the nearest of these hyperplanes is no longer than that to any other.
    """
    best = math.inf
    for row, offset in zip(rows, offsets, strict=True):
        length = np.linalg.norm(row)
        if length == 0:
            continue
        program = scipy.optimize.linprog(
            np.zeros(len(x)), A_ub=-rows, b_ub=offsets, A_eq=row[None], b_eq=[-offset], bounds=(None, None)
        )
        if program.status == 0:
            best = min(best, (row @ x + offset) / length)
    return float(best)


@given(
    widths=st.lists(st.integers(1, 6), min_size=3, max_size=5).map(tuple),
    seed=st.integers(0, 10_000),
)
def test_dense_networks_against_linear_programs(widths: tuple[int, ...], seed: int) -> None:
    model, x = dense(widths, seed), drawn(3, widths[0], seed=seed)
    found = nearest_walls(observe(model, x, affine=True))
    for sample in range(3):
        expected = edge_by_programs(*explicit_walls(model, x[sample].numpy()), x[sample].numpy())
        assert found.distance[sample].item() == pytest.approx(expected, rel=1e-9)


def full(observation: Observation) -> torch.Tensor:
    """Distances by all gradients."""
    walls = observation.walls()
    lengths = torch.linalg.vector_norm(walls.map.weight, dim=2)
    return torch.where(lengths > 0, walls.value / lengths, math.inf).amin(1)


@given(seed=st.integers(0, 10_000))
def test_every_way_of_searching_agrees(seed: int) -> None:
    """Bounds by random directions fail with probability 1e-12 a case."""
    x = 2 * drawn(4, 1, 9, 9, seed=seed)
    model = seeded(nn.Sequential(nn.Conv2d(1, 3, 4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 9)), seed)
    observation = observe(nn.Sequential(model, nn.ReLU()), x, affine=True)
    certain, random = nearest_walls(observation, error=0), nearest_walls(observation)
    assert (certain.directions, random.directions) == (81, 64)
    for found in (certain, random):
        torch.testing.assert_close(found.distance, full(observation), rtol=1e-12, atol=0)
    assert random.gradients < random.walls * 4


@given(widths=st.lists(st.integers(1, 40), min_size=2, max_size=6).map(tuple), seed=st.integers(0, 10_000))
def test_chains_agree_with_all_gradients(widths: tuple[int, ...], seed: int) -> None:
    model = seeded(nn.Sequential(dense(widths, seed), nn.ReLU()), seed)
    observation = observe(model, drawn(5, widths[0], seed=seed), affine=True)
    found = nearest_walls(observation)
    assert found.directions == 0
    torch.testing.assert_close(found.distance, full(observation), rtol=1e-9, atol=0)


def patterns(model: nn.Module, points: torch.Tensor) -> torch.Tensor:
    observation = observe(model, points)
    return torch.cat(
        [
            observation.pattern[name].reshape(len(points), -1).long()
            for name in (*observation.sites, *observation.pools)
        ],
        1,
    )


def check_edge(model: nn.Module, x: torch.Tensor, found: NearestWalls) -> None:
    """The nearest point lies on a wall; just before it the pattern is that of x, just behind it another."""
    step = found.point - x.flatten(1)
    torch.testing.assert_close(torch.linalg.vector_norm(step, dim=1), found.distance, rtol=1e-9, atol=1e-15)
    at = observe(model, found.point.view_as(x), affine=True).walls()
    assert at.value.amin(1).max() < 1e-9
    here = patterns(model, x)
    for share, same in ((0.999, True), (1.001, False)):
        there = patterns(model, (x.flatten(1) + share * step).view_as(x))
        assert bool(((there == here).all(1) == same).all())


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, nn.ReLU6])
def test_ten_thousand_points_of_a_dense_network(activation: type[nn.Module]) -> None:
    model, x = dense((5, 30, 30, 30, 3), 7, activation), 3 * drawn(10_000, 5)
    check_edge(model, x, nearest_walls(observe(model, x, affine=True)))


def test_ten_thousand_points_of_convolutional_networks() -> None:
    """Random directions: error probability 1e-12 a network. 4 x 2500 points."""
    for seed in range(4):
        model, x = convolutional(seed), 4 * drawn(2500, 1, 6, 6, seed=seed)
        # two places of a window that are both above 6 tie, and have no wall between them
        found = nearest_walls(observe(model, x, affine=True))
        torch.testing.assert_close(found.distance, full(observe(model, x, affine=True)), rtol=1e-12, atol=0)
        step = (found.point - x.flatten(1)).view_as(x)
        here = patterns(model, x)
        assert bool((patterns(model, x + 0.999 * step) == here).all())
        assert bool((patterns(model, x + 1.001 * step) != here).any(1).all())
        at = observe(model, found.point.view_as(x), affine=True).walls()
        number = {
            key: i for i, key in enumerate(zip(at.site.tolist(), at.unit.tolist(), at.beyond.tolist(), strict=True))
        }
        for sample in range(0, len(x), 25):
            named = at.sites.index(found.site[sample]), int(found.unit[sample]), int(found.beyond[sample])
            assert at.value[sample, number[named]] < 1e-9


def test_the_wall_is_named() -> None:
    model = convolutional(1)
    x = 3 * drawn(200, 1, 6, 6)
    found = nearest_walls(observe(model, x, affine=True))
    step = (found.point - x.flatten(1)).view_as(x)
    beyond, here = observe(model, x + 1.0001 * step), observe(model, x)
    assert {"1#0", "2#0", "4#0"} <= set(found.site)
    for sample, site in enumerate(found.site):
        for name in (*here.sites, *here.pools):
            before, after = (o.pattern[name].reshape(200, -1)[sample] for o in (here, beyond))
            changed = (before != after).nonzero().flatten().tolist()
            if name == site:
                assert found.unit[sample].item() in changed
            elif name in here.sites:
                assert changed == []


def test_zero_gradients_are_no_walls() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU())
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.fill_(1.0)
    for network in (model, nn.Sequential(*model, nn.Unflatten(1, (1, -1)), nn.MaxPool1d(1))):
        found = nearest_walls(observe(network, torch.ones(3, 2), affine=True))
        assert found.distance.tolist() == [math.inf] * 3
        assert found.site == [""] * 3
        assert found.unit.tolist() == found.beyond.tolist() == [-1] * 3
        assert bool(found.point.isnan().all())


def test_on_a_wall() -> None:
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU())
    for network in (model, nn.Sequential(*model, nn.Unflatten(1, (1, -1)), nn.MaxPool1d(1))):
        found = nearest_walls(observe(network, torch.zeros(1, 2), affine=True))
        assert found.distance.item() == 0
        assert found.point.tolist() == [[0.0, 0.0]]


def test_few_gradients_are_taken() -> None:
    model = Lab().architectures["f1"].build()
    x = drawn(20, 784).float()
    found = nearest_walls(observe(model, x, affine=True))
    assert found.walls == 2560
    assert found.gradients < 20 * 128


def test_bounds_hold_for_every_gradient() -> None:
    """Null: a bound is exceeded with probability 1e-12; 3 x 1296 gradients, error probability 1e-12."""
    from reluscope_plugins.geometry.nearest_walls import _gradient_bounds

    model = seeded(nn.Sequential(nn.Conv2d(1, 4, 4), nn.ReLU(), nn.Conv2d(4, 6, 2), nn.ReLU()), 1)
    walls = observe(model, drawn(3, 1, 12, 12), affine=True).walls()
    bounds, directions, exact = _gradient_bounds(walls, 1e-12, 0)
    ratio = bounds / torch.linalg.vector_norm(walls.map.weight, dim=2)
    assert (directions, exact) == (64, False)
    assert ratio[ratio.isfinite()].min() >= 1
    # the sum of 64 squares lies within a factor 4 of its mean but for 1e-12
    assert ratio[ratio.isfinite()].max() < 12


@pytest.mark.parametrize("name", ["resnet18", pytest.param("vgg11_bn", marks=pytest.mark.slow)])
def test_torchvision_unchanged(name: str) -> None:
    import torchvision

    model = seeded(getattr(torchvision.models, name)(num_classes=3), 1)
    before = copy.deepcopy(model.state_dict())
    hooks = [len(module._forward_hooks) for module in model.modules()]
    state = torch.random.get_rng_state()
    x = drawn(1, 3, 32, 32)
    with torch.no_grad():
        found = nearest_walls(observe(model, x, affine=True))
    step = (found.point - x.flatten(1)).view_as(x)
    here = patterns(model, x)
    assert found.gradients < 100
    assert bool((patterns(model, x + 0.999 * step) == here).all())
    assert bool((patterns(model, x + 1.001 * step) != here).any())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert hooks == [len(module._forward_hooks) for module in model.modules()]
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training


def test_a_transformer_is_refused() -> None:
    import torchvision

    model = torchvision.models.vit_b_16(image_size=32)
    with pytest.raises(ObservationError, match=r"encoder_layer_0\.mlp\.1#0.*gelu"):
        nearest_walls(observe(model.eval(), torch.zeros(1, 3, 32, 32), affine=True))


class Shortcut(nn.Module):
    """A residual sum written as the bias of a product."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.weight = nn.Linear(4, 4).double(), nn.Parameter(drawn(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(torch.addmm(x, torch.relu(self.first(x)), self.weight))


def test_a_shortcut_in_a_product_is_no_chain() -> None:
    observation = observe(Shortcut(), drawn(50, 4), affine=True)
    assert observation.dense_weights() is None
    torch.testing.assert_close(nearest_walls(observation).distance, full(observation), rtol=1e-12, atol=0)


class Bent(nn.Module):
    def __init__(self, bend: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.bend = bend

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bend(x) + 10)


@pytest.mark.parametrize(
    ("bend", "name"),
    [
        (torch.abs, "abs"),
        (lambda x: torch.maximum(x[:, :1], x[:, 1:]), "maximum"),
        (lambda x: x.amax(1, keepdim=True), "amax"),
        (lambda x: x.max(1).values[:, None], "max"),
        (lambda x: x.sort(1).values, "sort"),
        (lambda x: x * (x > 0), "gt"),
        (lambda x: torch.where(x.detach() > 0, x, 0.1 * x), "where"),
        (lambda x: torch.clamp(x, min=0.5 * x.flip(1)), "clamp"),
    ],
)
def test_bends_that_are_no_sites_are_refused(bend: Callable[[torch.Tensor], torch.Tensor], name: str) -> None:
    with pytest.raises(ObservationError, match=rf"'{name}' in the root module bends the network"):
        nearest_walls(observe(Bent(bend), drawn(3, 2), affine=True))


@pytest.mark.parametrize("scale", [1e-30, 1e-25, 1e20, 1e25])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU])
def test_small_and_large_weights_in_single_precision(scale: float, activation: type[nn.Module]) -> None:
    """Distances do not change where weights and biases of the first layer are scaled."""
    model = nn.Sequential(nn.Linear(70, 5), activation(), nn.Linear(5, 1)).double()
    x = drawn(4, 70)
    expected = nearest_walls(observe(model, x, affine=True)).distance
    with torch.no_grad():
        for parameter in model[0].parameters():
            parameter.mul_(scale)
    found = nearest_walls(observe(model.float(), x.float(), affine=True)).distance
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)


def test_weights_that_were_changed() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU())
    observation = observe(model, torch.ones(1, 2), affine=True)
    with torch.no_grad():
        model[2].weight.add_(1)
    with pytest.raises(ObservationError, match="changed after the observation"):
        nearest_walls(observation)


@pytest.mark.parametrize("error", [-0.1, 1, True, "none", math.nan])
def test_error_is_a_probability(error: object) -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(ObservationError, match=r"error is .*, expected a probability"):
        nearest_walls(observe(model, torch.ones(1, 2), affine=True), error=error)  # type: ignore[arg-type]


def test_metrics() -> None:
    model, x = convolutional(2), drawn(30, 1, 6, 6)
    observation = observe(model, x, affine=True)
    expected = full(observation)
    for bound in ({}, {"error": 0}):
        assert edge_distance.bind(**bound)(observation).item() == pytest.approx(expected.mean().item(), rel=1e-12)
        assert least_edge_distance.bind(**bound)(observation).item() == pytest.approx(expected.min().item(), rel=1e-12)


def test_metrics_leave_out_what_has_no_edge() -> None:
    """Without weights nothing bends; states of batches that have an edge and of such that have none merge."""
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).double()
    bent = observe(model, drawn(3, 2), affine=True)
    expected = full(bent)
    metrics = (edge_distance, least_edge_distance)
    states = [metric.measure(bent) for metric in metrics]
    with torch.no_grad():
        model[0].weight.zero_()
    flat = observe(model, drawn(3, 2), affine=True)
    for metric, state, value in zip(metrics, states, (expected.mean(), expected.min()), strict=True):
        assert math.isnan(metric(flat).item())
        merged = metric.finish(metric.merge(state, metric.measure(flat)))
        assert merged.item() == pytest.approx(value.item(), rel=1e-12)


def test_metrics_obey_the_laws() -> None:
    check_metric(edge_distance)
    check_metric(least_edge_distance)
