"""Whether regions are bounded, against linear programmes over explicit walls and the network's own patterns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.geometry import bounded_region_share
from reluscope_plugins.geometry.bounded_regions import never_bounded, region_boundedness


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense(widths: list[int], seed: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    model = nn.Sequential(
        *[m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), activation())], nn.Linear(widths[-1], 2)
    ).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=100 * (seed % 2**20) + number))
    return model


def explicit(model: nn.Sequential, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Walls A y + b >= 0 of the region around x: products of weights and masks in NumPy, for ReLU, leaky, ReLU6."""
    a, b, rows, offsets = np.eye(len(x)), np.zeros(len(x)), [], []
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
            a, b = weight @ a, weight @ b + bias
            continue
        z = a @ x + b
        kinks = (0.0, 6.0) if isinstance(layer, nn.ReLU6) else (0.0,)
        for kink in kinks:
            sign = np.where(z > kink, 1.0, -1.0)
            rows.append(sign[:, None] * a)
            offsets.append(sign * (b - kink))
        slope = np.where(z > 0, 1.0, 0.01 if isinstance(layer, nn.LeakyReLU) else 0.0)
        offset = np.zeros(len(z))
        if isinstance(layer, nn.ReLU6):
            slope, offset = np.where(z >= 6, 0.0, slope), np.where(z >= 6, 6.0, 0.0)
        a, b = slope[:, None] * a, slope * b + offset
    return np.concatenate(rows), np.concatenate(offsets)


def bounded_by_hand(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether every coordinate has a least and a greatest value on {y : a y + b >= 0}: 2 n linear programmes."""
    for axis, sign in itertools.product(range(a.shape[1]), (1.0, -1.0)):
        cost = np.zeros(a.shape[1])
        cost[axis] = sign
        solved = scipy.optimize.linprog(cost, A_ub=-a, b_ub=b, bounds=(None, None), method="highs-ds")
        if solved.status in (3, 4):
            return False
        assert solved.status == 0, solved
    return True


NETWORKS = dict(
    widths=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    seed=st.integers(0, 2**20),
    activation=st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.ReLU6]),
)


@given(**NETWORKS)
def test_bounded_where_every_coordinate_is(widths: list[int], seed: int, activation: type[nn.Module]) -> None:
    model, x = dense(widths, seed, activation), drawn(3, widths[0], seed=seed)
    found = region_boundedness(observe(model, x, affine=True))
    assert found.bounded.tolist() == [bounded_by_hand(*explicit(model, row)) for row in x.numpy()]


@given(**NETWORKS)
def test_the_region_reaches_to_infinity_along_the_direction(
    widths: list[int], seed: int, activation: type[nn.Module]
) -> None:
    """No wall is crossed: each grows along the direction, or stays, up to the tolerance stated."""
    model, x = dense(widths, seed, activation), drawn(3, widths[0], seed=seed)
    found = region_boundedness(observe(model, x, affine=True))
    for row, bounded, direction in zip(x.numpy(), found.bounded, found.direction, strict=True):
        if bounded:
            assert not direction.any()
            continue
        assert np.abs(direction).max() == pytest.approx(1.0, abs=1e-12)
        a, _ = explicit(model, row)
        length = np.linalg.norm(a, axis=1)
        assert (a @ direction >= -2e-9 * length).all()


@given(inputs=st.integers(1, 4), widths=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 2**20))
def test_never_bounded_whatever_the_weights(inputs: int, widths: list[int], seed: int) -> None:
    assume(never_bounded(inputs, widths))
    model, x = dense([inputs, *widths], seed), 10.0 * drawn(4, inputs, seed=seed)
    assert not any(bounded_by_hand(*explicit(model, row)) for row in x.numpy())
    assert bounded_region_share(observe(model, x, affine=True)).item() == 0.0


@given(inputs=st.integers(1, 4), widths=st.lists(st.integers(1, 6), min_size=1, max_size=3), three=st.booleans())
def test_where_it_says_no_some_weights_give_a_bounded_region(inputs: int, widths: list[int], three: bool) -> None:
    """The corners of a simplex, of a box between two kinks, or of a cone that the second layer closes."""
    assume(not never_bounded(inputs, widths, states=3 if three else 2))
    model = dense([inputs, *widths], 0, nn.ReLU6 if three else nn.ReLU)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model[0].weight[:inputs] = torch.eye(inputs)
        model[0].bias[:inputs] = 1.0
        if widths[0] > inputs:
            model[0].weight[inputs] = -1.0
            model[0].bias[inputs] = 1.0
        elif len(widths) > 1:
            model[2].weight[0, :inputs] = -1.0
            model[2].bias[0] = inputs + 1.0
    x = torch.zeros(1, inputs, dtype=torch.float64)
    assert bounded_by_hand(*explicit(model, x[0].numpy()))
    assert region_boundedness(observe(model, x, affine=True)).bounded.tolist() == [True]


def test_the_sources_condition_is_sufficient_and_not_necessary() -> None:
    for inputs in range(1, 6):
        for widths in itertools.chain(*(itertools.product(range(1, 6), repeat=depth) for depth in (1, 2, 3))):
            if inputs >= sum(widths):
                assert never_bounded(inputs, widths)
    assert never_bounded(3, [2, 9, 9])


def test_pools_are_walls() -> None:
    """A window of two places, and one unit for their sum: the losing place may fall without end, unless held."""
    model = nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.ReLU()).double()
    x = torch.tensor([[[2.0, 1.0]]], dtype=torch.float64)
    found = region_boundedness(observe(model, x, affine=True))
    assert found.bounded.tolist() == [False]

    class Held(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            pooled = nn.functional.max_pool1d(x, 2).flatten(1)
            return torch.relu(3.0 - pooled) + torch.relu(x.flatten(1)[:, 1:])

    assert region_boundedness(observe(Held().double(), x, affine=True)).bounded.tolist() == [True]
    # the walls: first >= second, first <= 3, second >= 0; without the pool the first has no lower end


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_convolutions_by_their_own_patterns(seed: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 2), nn.ReLU6(), nn.MaxPool2d(2, stride=1), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten()
    ).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(drawn(*parameter.shape, seed=10 * seed + number))
    x = drawn(12, 1, 3, 3, seed=seed)
    start = observe(model, x, affine=True)
    found = region_boundedness(start)

    def same(step: np.ndarray) -> np.ndarray:
        there = observe(model, x + torch.from_numpy(step).reshape(x.shape), affine=True)
        equal = torch.ones(len(x), dtype=torch.bool)
        for site in (*start.sites, *start.pools):
            equal &= (there.pattern[site] == start.pattern[site]).reshape(len(x), -1).all(1)
        return equal.numpy()

    assert 0 < found.bounded.sum() < len(x)
    unbounded = ~found.bounded
    # a little short of the walls that the direction runs along, so that rounding leads across none
    for length in (1.0, 1e3):
        assert same(length * found.direction)[unbounded].all()
    for number in range(20):
        direction = drawn(12, 9, seed=1000 + number).numpy()
        assert not same(1e9 * direction)[found.bounded].any()


def test_a_region_between_parallel_walls_alone_is_unbounded() -> None:
    """All walls in pairs, so that the recession cone is a plane through zero: no direction leads away from a wall."""
    model = dense([4, 3], 0, nn.Hardtanh)
    with torch.no_grad():
        model[0].bias.zero_()
    x = torch.zeros(1, 4, dtype=torch.float64)
    found = region_boundedness(observe(model, x, affine=True))
    assert found.bounded.tolist() == [False]
    assert np.abs(model[0].weight.detach().numpy() @ found.direction[0]).max() < 1e-14


def test_without_enough_walls_no_programme_is_solved() -> None:
    found = region_boundedness(observe(dense([5, 3, 9, 9], 0), drawn(4, 5), affine=True))
    assert not found.bounded.any()
    assert found.programmes == 0
    assert region_boundedness(observe(dense([2, 8], 0), drawn(4, 2), affine=True)).programmes == 4


def test_too_large_is_refused_with_its_size() -> None:
    observation = observe(dense([4, 6, 5], 0), drawn(2, 4), affine=True)
    with pytest.raises(ObservationError, match=r"11 walls in 4 inputs, 44 numbers, expected at most 43"):
        region_boundedness(observation, limit=43)
    with pytest.raises(ObservationError, match=r"bounded_region_share.*raise limit"):
        bounded_region_share.bind(limit=43)(observation)
    assert region_boundedness(observation, limit=44).bounded.shape == (2,)


@pytest.mark.parametrize(("inputs", "widths", "states"), [(0, [2], 2), (2, [], 2), (2, [3, 0], 2), (2, [3], 4)])
def test_never_bounded_refuses_what_is_no_network(inputs: int, widths: list[int], states: int) -> None:
    with pytest.raises(ObservationError, match="never_bounded: got"):
        never_bounded(inputs, widths, states=states)


def test_a_smooth_network_has_no_regions() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2))
    with pytest.raises(ObservationError, match="gelu"):
        bounded_region_share(observe(model, torch.randn(2, 3), affine=True))
