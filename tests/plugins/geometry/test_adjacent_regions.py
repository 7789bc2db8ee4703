"""Neighbouring regions: found by dense walls, checked by patterns and by the products of weights and masks."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope.observation import Observation
from reluscope_plugins.geometry.adjacent_regions import adjacent_regions
from reluscope_plugins.geometry.perturbation import hidden_unit_norms, singular_value_difference

EPS = np.finfo(np.float64).eps


def dense(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1]).double()


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dense_walls(observation: Observation) -> Any:
    """The nearest wall of each sample, from all rows of all maps: a unit is zero on a hyperplane."""
    best = torch.full((observation.samples,), torch.inf, dtype=torch.float64)
    point = observation.input.flatten(1).clone()
    sites, units = [""] * observation.samples, torch.full((observation.samples,), -1)
    for site in observation.sites:
        weight = observation.affine(site).weight
        value = observation.preactivation[site].reshape(observation.samples, -1)
        for sample, unit in itertools.product(range(observation.samples), range(value.shape[1])):
            row, z = weight[sample, unit], value[sample, unit]
            squared = row @ row
            if squared > 0 and abs(z) / squared.sqrt() < best[sample]:
                best[sample], sites[sample], units[sample] = abs(z) / squared.sqrt(), site, unit
                point[sample] = observation.input[sample].flatten() - z * row / squared
    return SimpleNamespace(distance=best, point=point, site=sites, unit=units)


def product(model: nn.Sequential, masks: list[np.ndarray]) -> np.ndarray:
    """W = W_n Z_{n-1} ... Z_1 W_1, eq. 2.2, for given masks."""
    linears = [layer.weight.detach().numpy() for layer in model if isinstance(layer, nn.Linear)]
    matrix = linears[0]
    for mask, weight in zip(masks, linears[1:], strict=True):
        matrix = weight @ np.diag(mask.astype(float)) @ matrix
    return matrix


def masks_of(observation: Observation, sample: int) -> list[np.ndarray]:
    return [observation.pattern[site][sample].numpy().copy() for site in observation.sites]


@given(
    st.lists(st.integers(1, 7), min_size=3, max_size=5).map(tuple),
    st.integers(0, 2**31),
)
def test_neighbours_differ_in_the_walls_unit_and_their_map_is_that_of_eq_2_5(
    widths: tuple[int, ...], seed: int
) -> None:
    model = dense(widths, seed)
    observation = rs.observe(model, normal((6, widths[0]), seed), affine=True)
    walls = dense_walls(observation)
    beyond = adjacent_regions(observation, walls)
    assert beyond.found.tolist() == walls.distance.isfinite().tolist()
    for sample in beyond.found.nonzero().squeeze(1).tolist():
        masks, across = masks_of(observation, sample), masks_of(beyond.observation, sample)
        layer, unit = observation.sites.index(walls.site[sample]), int(walls.unit[sample])
        flipped = [mask.copy() for mask in masks]
        flipped[layer][unit] = ~flipped[layer][unit]
        assert all(np.array_equal(a, b) for a, b in zip(flipped, across, strict=True))
        here, there = product(model, masks), product(model, flipped)
        scale = np.prod([np.linalg.norm(p.detach().numpy()) for p in model.parameters() if p.ndim == 2])
        rounding = 8 * sum(widths) * EPS * scale  # each of the products' entries has at most sum(widths) terms a factor
        np.testing.assert_allclose(beyond.observation.affine().weight[sample], there, rtol=0, atol=rounding)
        # the direction of the normal is that of p - x, whose rounding counts against the distance
        skew = 4 * EPS * (1 + observation.input[sample].norm() / walls.distance[sample]).item()
        change = beyond.perturbation
        np.testing.assert_allclose(change.matrix[sample], here - there, rtol=0, atol=rounding + scale * skew)
        norm = np.linalg.norm(here - there)
        np.testing.assert_allclose(change.frobenius_norm[sample], norm, rtol=0, atol=rounding + scale * skew)


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 5), st.integers(0, 2**31))
def test_norm_of_one_hidden_layer_is_eq_2_8(inputs: int, hidden: int, outputs: int, seed: int) -> None:
    """Both against the dense E = W2 (Z - Z~) W1 of every unit, and as met across the nearest wall."""
    model = dense((inputs, hidden, outputs), seed)
    inward, outward = model[0].weight.detach(), model[2].weight.detach()
    norms = hidden_unit_norms(inward, outward)
    for unit in range(hidden):
        switched = torch.zeros(hidden, dtype=torch.float64)
        switched[unit] = 1.0
        explicit = torch.linalg.matrix_norm(outward @ torch.diag(switched) @ inward)
        squared = sum(outward[j, unit] ** 2 * inward[unit, i] ** 2 for i in range(inputs) for j in range(outputs))
        bound = 8 * (inputs + outputs) * EPS
        assert abs(norms[unit] - explicit) <= bound * explicit
        assert abs(norms[unit] ** 2 - squared) <= bound * squared
    observation = rs.observe(model, normal((4, inputs), seed), affine=True)
    walls = dense_walls(observation)
    beyond = adjacent_regions(observation, walls)
    expected = norms[walls.unit]
    scale = torch.linalg.matrix_norm(inward) * torch.linalg.matrix_norm(outward)
    ratio = 1 + observation.input.norm(dim=1) / walls.distance
    met = beyond.found
    error = (beyond.perturbation.frobenius_norm - expected).abs()
    assert (error <= 8 * (inputs + hidden + outputs) * EPS * scale * ratio)[met].all()


@given(st.lists(st.integers(2, 9), min_size=3, max_size=5).map(tuple), st.integers(0, 2**31))
def test_singular_values_keep_to_eq_2_7(widths: tuple[int, ...], seed: int) -> None:
    observation = rs.observe(dense(widths, seed), normal((6, widths[0]), seed), affine=True)
    beyond = adjacent_regions(observation, dense_walls(observation))
    here, there = observation.affine().weight, beyond.observation.affine().weight
    bound = torch.linalg.matrix_norm(here - there)
    values = torch.linalg.svdvals(here), torch.linalg.svdvals(there)
    # LAPACK's values are exact for a matrix within max(out, in) eps of the norm; so twice, in the Frobenius norm
    rounding = sum(max(here.shape[1:]) * EPS * min(here.shape[1:]) ** 0.5 * value[:, 0] for value in values)
    assert (singular_value_difference(here, there) <= bound + rounding).all()
    # E has rank one, so that the sum of the differences is no greater either
    assert ((values[0] - values[1]).abs().sum(1) <= bound + min(here.shape[1:]) ** 0.5 * rounding).all()


@pytest.mark.parametrize("pool", [False, True])
def test_convolutions(pool: bool) -> None:
    """E of rank one along the wall's normal, against the Jacobians on both sides."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        middle = [nn.MaxPool2d(3, 2, 1)] if pool else []
        size = 4 * (9 if pool else 36)
        layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), *middle, nn.Flatten(), nn.Linear(size, 5)]
        model = nn.Sequential(*layers).double()
    x = normal((20, 1, 6, 6), 4)
    observation = rs.observe(model, x, affine=True)
    beyond = adjacent_regions(observation)
    assert beyond.found.all()
    points = x, beyond.observation.input
    here, there = (torch.func.jacrev(lambda y: model(y).sum(0))(p).movedim(1, 0).reshape(20, 5, 36) for p in points)
    # both sides have entries of order 1 and at most 300 terms; the normal's rounding counts against the distance
    torch.testing.assert_close(beyond.perturbation.matrix, (here - there).detach(), rtol=0, atol=1e-11)
    for sample in range(20):
        changed = {
            kind: sum(
                int(
                    (observation.pattern[s].reshape(20, -1) != beyond.observation.pattern[s].reshape(20, -1))[
                        sample
                    ].sum()
                )
                for s in sites
            )
            for kind, sites in (("unit", observation.sites), ("pool", observation.pools))
        }
        assert changed["unit"] == 1 if changed["unit"] else changed["pool"] >= 1


def test_units_that_switch_beneath_a_pool_take_its_winner_along() -> None:
    """All inputs of the window are inactive at first, so its winner is the first; then the unit that switches on."""
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU(), nn.MaxPool1d(3), nn.Flatten(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.zero_()
    observation = rs.observe(model, torch.tensor([[[-3.0, -1.0, -2.0]]], dtype=torch.float64), affine=True)
    beyond = adjacent_regions(observation, dense_walls(observation))
    assert beyond.found.tolist() == [True]
    (pool,) = observation.pools
    assert (observation.pattern[pool].item(), beyond.observation.pattern[pool].item()) == (0, 1)
    expected = torch.zeros(2, 3, dtype=torch.float64)
    expected[:, 1] = -model[4].weight[:, 0].detach()
    torch.testing.assert_close(beyond.perturbation.matrix[0], expected, rtol=0, atol=1e-14)


def test_the_tie_of_a_pool_is_a_wall() -> None:
    model = nn.Sequential(nn.MaxPool1d(2), nn.Flatten(), nn.Linear(1, 1, bias=False), nn.ReLU()).double()
    with torch.no_grad():
        model[2].weight.fill_(1.0)
    observation = rs.observe(model, torch.tensor([[[3.0, 5.0]]], dtype=torch.float64), affine=True)
    walls = SimpleNamespace(
        distance=torch.tensor([2**0.5]),
        point=torch.tensor([[4.0, 4.0]]),
        site=[observation.pools[0]],
        unit=torch.tensor([0]),
    )
    beyond = adjacent_regions(observation, walls)
    assert beyond.found.tolist() == [True]
    torch.testing.assert_close(beyond.perturbation.matrix, torch.tensor([[[-1.0, 1.0]]], dtype=torch.float64))


def test_the_step_is_shortened_until_one_wall_lies_behind() -> None:
    """A second unit's wall lies 1e-6 of the way beyond the first."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.copy_(torch.tensor([-1.0, -1.0 - 1e-6]))
    observation = rs.observe(model, torch.zeros(1, 1, dtype=torch.float64), affine=True)
    beyond = adjacent_regions(observation, dense_walls(observation))
    assert beyond.found.tolist() == [True]
    assert 1.0 < beyond.observation.input.item() < 1.0 + 1e-6
    assert beyond.observation.pattern["1#0"].tolist() == [[True, False]]


def test_no_neighbour() -> None:
    """Where two walls coincide, where the sample lies on one, and where there is none: W is then left as it is."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        model[0].bias.fill_(-1.0)
    observation = rs.observe(model, torch.tensor([[0.0], [1.0], [0.5]], dtype=torch.float64), affine=True)
    walls = dense_walls(observation)
    walls.distance[2] = torch.inf
    beyond = adjacent_regions(observation, walls)
    assert beyond.found.tolist() == [False, False, False]
    assert torch.equal(beyond.observation.input, observation.input)
    assert beyond.perturbation.frobenius_norm.tolist() == [0.0, 0.0, 0.0]
    assert (beyond.perturbation.normal == 0).all()


def test_the_model_is_left_as_found_and_grad_mode_does_not_matter() -> None:
    model = dense((3, 5, 2), 0).train()
    x = normal((4, 3), 0)
    observation = rs.observe(model, x, affine=True)
    expected = adjacent_regions(observation, dense_walls(observation)).perturbation.output
    with torch.no_grad():
        again = adjacent_regions(observation, dense_walls(observation)).perturbation.output
    assert torch.equal(again, expected)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_several_inputs_are_refused() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return torch.relu(a + b)

    observation = rs.observe(Sum(), (torch.ones(2, 3), torch.ones(2, 3)), affine=True)
    with pytest.raises(ObservationError, match="tuple, expected one tensor"):
        adjacent_regions(observation)
