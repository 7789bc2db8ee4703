"""Metrics of slope and singular values against NumPy on full Jacobians, also of torchvision's networks."""

from __future__ import annotations

import copy
import math
import re

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.geometry import (
    affine_frobenius_norm,
    reciprocal_condition_number,
    singular_values,
    slope,
    slope_interval,
)
from reluscope_plugins.geometry.operator_norm import operator_norms
from reluscope_plugins.geometry.spectrum import condition_numbers, spectra


def network(seed: int = 0, widths: tuple[int, int, int] = (6, 12, 4)) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second, third = widths
        return nn.Sequential(nn.Linear(first, second), nn.ReLU(), nn.Linear(second, third)).double()


def draw(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobians(model: nn.Module, x: Tensor) -> np.ndarray:
    """One full Jacobian a sample, `(sample, out, in)`."""
    rows = [torch.autograd.functional.jacobian(model, one[None])[0, :, 0].flatten(1).numpy() for one in x]
    return np.stack(rows)


def norms(model: nn.Module, x: Tensor, p: float) -> np.ndarray:
    return np.array([np.linalg.norm(jacobian, p) for jacobian in jacobians(model, x)])


@pytest.mark.parametrize("p", [1, 2, "inf"])
def test_slope_is_the_mean_norm(p: float | str) -> None:
    model, x = network(), draw(9, 6)
    observation = observe(model, x, affine=True)
    expected = norms(model, x, float(p)).mean()
    np.testing.assert_allclose(slope.bind(p=p)(observation), expected, rtol=1e-12)
    np.testing.assert_allclose(slope_interval.bind(p=p)(observation), [expected] * 2, rtol=1e-12)


def test_interval_of_another_p() -> None:
    observation = observe(network(), draw(9, 6), affine=True)
    interval = slope_interval.bind(p=3.0)(observation)
    assert interval["bound"].values.tolist() == ["lower", "upper"]
    lower, upper = interval.values
    assert slope.bind(p=3.0)(observation).item() == lower < upper


def test_slope_is_the_fastest_growth_seen_nearby() -> None:
    """Definition 1 itself: no direction grows faster, and the right singular vector grows as fast."""
    model, x = network(), draw(1, 6)
    limit = slope(observe(model, x, affine=True)).item()
    directions = torch.cat([draw(1000, 6, seed=2), torch.linalg.svd(torch.from_numpy(jacobians(model, x)))[2][:, 0]])
    directions = directions / directions.norm(dim=1, keepdim=True)
    step = 1e-7
    with torch.no_grad():
        growth = (model(x + step * directions) - model(x)).norm(dim=1) / step
    # differences of numbers of size 1 over 1e-7
    assert growth.max().item() == pytest.approx(limit, abs=1e-7)


def test_singular_values_and_what_follows() -> None:
    model, x = network(), draw(9, 6)
    observation = observe(model, x, affine=True)
    values = np.stack([np.linalg.svd(jacobian, compute_uv=False) for jacobian in jacobians(model, x)])
    found = singular_values(observation)
    assert found.dims == ("feature",)
    np.testing.assert_allclose(found, values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(spectra(observation.affine()), values, rtol=1e-12)
    np.testing.assert_allclose(condition_numbers(spectra(observation.affine())), values[:, 0] / values[:, -1], 1e-11)
    np.testing.assert_allclose(reciprocal_condition_number(observation), (values[:, -1] / values[:, 0]).mean(), 1e-11)
    np.testing.assert_allclose(
        affine_frobenius_norm(observation), np.linalg.norm(jacobians(model, x), axis=(1, 2)).mean(), rtol=1e-12
    )


def test_small_singular_values_keep_their_precision() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU()).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([1.0, 1e-5, 1e-10])))
        model[0].bias.fill_(1.0)
    observation = observe(model, torch.zeros(2, 3).double(), affine=True)
    np.testing.assert_allclose(singular_values(observation), [1.0, 1e-5, 1e-10], rtol=1e-5)
    assert reciprocal_condition_number(observation).item() == pytest.approx(1e-10, rel=1e-5)


def test_the_zero_map() -> None:
    model = network()
    with torch.no_grad():
        model[0].bias.fill_(-100.0)
    observation = observe(model, draw(3, 6), affine=True)
    for metric in (slope, slope_interval, singular_values, reciprocal_condition_number, affine_frobenius_norm):
        assert not metric(observation).values.any()
    assert condition_numbers(spectra(observation.affine())).tolist() == [math.inf] * 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    model, x = network().to(dtype), draw(3, 6).to(dtype)
    observation = observe(model, x, affine=True)
    values = np.linalg.svd(observation.affine().weight.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(observation), values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(slope(observation), values[:, 0].mean(), rtol=1e-5)


def test_overflow_names_the_sample() -> None:
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1e20], [1e20]]))
        model[0].bias.fill_(0.0)
        model[2].weight.copy_(torch.tensor([[1e30, 1e30]]))
    x = torch.tensor([[-1.0], [1e-20]])
    with pytest.raises(ObservationError, match=r"at sample 1 .*use float64"):
        spectra(observe(model, x, affine=True).affine())


def test_one_pass_serves_all() -> None:
    model, data = network(), [draw(5, 6, seed=seed) for seed in range(3)]
    metrics = ["slope", "slope_interval", "singular_values", "reciprocal_condition_number", "affine_frobenius_norm"]
    dataset = rs.measure(model, data, metrics=metrics)
    values = np.linalg.svd(jacobians(model, torch.cat(data)), compute_uv=False)
    np.testing.assert_allclose(dataset["singular_values"], values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(dataset["slope"], values[:, 0].mean(), rtol=1e-12)
    assert dataset["singular_values"].sizes == {"feature": 4}


@pytest.mark.parametrize("name", [pytest.param("vgg11_bn", marks=pytest.mark.slow), "resnet18"])
def test_torchvision(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, num_classes=10).double().eval()
    x = draw(2, 3, 32, 32)
    before, flags = copy.deepcopy(model.state_dict()), [p.requires_grad for p in model.parameters()]
    with torch.no_grad():
        affine_map = observe(model, x, affine=True).affine()
        for p in (1, 2, math.inf):
            np.testing.assert_allclose(operator_norms(affine_map, p).lower, norms(model, x, p), rtol=1e-9)
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert not any(module.training or module._forward_hooks for module in model.modules())


@pytest.mark.slow
def test_a_thousand_outputs_by_products_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None).double().eval()
    x = draw(1, 3, 32, 32)
    affine_map = observe(model, x, affine=True).affine()
    found = operator_norms(affine_map, rtol=1e-6)
    expected = norms(model, x, 2)
    assert "weight" not in vars(affine_map)
    np.testing.assert_allclose(found.lower, expected, rtol=1e-6)
    assert found.upper.item() >= expected.item() * (1 - 1e-12)


def test_vit_b_16_is_refused_by_its_first_smooth_site() -> None:
    model = torchvision.models.vit_b_16(weights=None, image_size=32, num_classes=10).eval()
    observation = observe(model, draw(2, 3, 32, 32).float(), affine=True)
    first = next(site for site in observation.sites if observation.site[site].smooth)
    with pytest.raises(ObservationError, match=rf"gelu.*{re.escape(first)}"):
        operator_norms(observation.affine())
