"""Ranks of the local affine map against NumPy's rank of the explicit product."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.geometry import affine_rank, preactivation_rank
from reluscope_plugins.geometry.numerical_rank import numerical_rank

WIDTHS = (6, 5, 3, 4, 4)


def network(seed: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(WIDTHS)]
        model = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1]).to(dtype)
        with torch.no_grad():
            model[2].weight[1] = model[2].weight[0]  # two equal directions, so that a rank is lost
        return model


def products(model: nn.Sequential, x: np.ndarray) -> list[np.ndarray]:
    """Multiply weights and masks for one sample: the map to each pre-activation, and to the output."""
    maps, product, h = [], np.eye(len(x)), x
    for layer in model:
        if isinstance(layer, nn.Linear):
            weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
            product, h = weight @ product, weight @ h + bias
            maps.append(product)
        else:
            mask = np.diag((h > 0).astype(float))
            product, h = mask @ product, mask @ h
    return maps


@pytest.mark.parametrize("seed", range(5))
def test_explicit_product(seed: int) -> None:
    model = network(seed)
    x = torch.randn(12, WIDTHS[0], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    observation = observe(model, x, affine=True)
    ranks = np.array([[np.linalg.matrix_rank(m) for m in products(model, row)] for row in x.numpy()])
    assert affine_rank(observation).item() == ranks[:, -1].mean()
    np.testing.assert_array_equal(preactivation_rank(observation).values, ranks[:, :-1].mean(0))
    assert preactivation_rank(observation).site.values.tolist() == list(observation.sites)


def test_rank_at_initialisation_is_the_least_width() -> None:
    """Johansson 2022, eq. 2.3."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 5)).double()
    x = torch.randn(30, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    observation = observe(model, x, affine=True)
    active = torch.stack([observation.pattern[site].sum(1) for site in observation.sites])
    expected = torch.minimum(active.amin(0), torch.tensor(5)).double().mean().item()
    assert affine_rank(observation).item() == expected


def test_convolution_and_pool() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)).double()
    x = torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    observation = observe(model, x, affine=True)
    jacobians = [torch.func.jacrev(model)(row[None]).reshape(3, 25).detach().numpy() for row in x]
    assert affine_rank(observation).item() == np.mean([np.linalg.matrix_rank(j) for j in jacobians])
    first = [torch.func.jacrev(model[0])(row[None]).reshape(-1, 25).detach().numpy() for row in x]
    assert preactivation_rank(observation).item() == np.mean([np.linalg.matrix_rank(j) for j in first])


def test_tolerance() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([1.0, 1e-3, 1e-6])))
        model[0].bias.fill_(1.0)
    observation = observe(model, torch.zeros(2, 3).double(), affine=True)
    assert affine_rank(observation).item() == 3
    assert affine_rank.bind(rtol=1e-4)(observation).item() == 2
    assert affine_rank.bind(rtol=0.1)(observation).item() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tolerance_is_that_of_numpy(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(50, 7, 2, generator=generator), torch.randn(50, 2, 5, generator=generator)
    matrices = (left @ right).to(dtype)
    expected = np.linalg.matrix_rank(matrices.numpy())
    np.testing.assert_array_equal(numerical_rank(matrices).numpy(), expected)
    assert numerical_rank(torch.eye(3).bfloat16()[None]).tolist() == [3]


def test_smooth_networks_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2))
    with pytest.raises(ObservationError, match="gelu"):
        affine_rank(observe(model, torch.randn(2, 3), affine=True))


def test_an_observation_without_the_map_says_what_to_do() -> None:
    with pytest.raises(ObservationError, match="affine"):
        affine_rank(observe(network(0).float(), torch.randn(2, 6)))
