"""p-slopes against explicit products of weights and masks, full Jacobians, and grids of directions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize
from torch import Tensor, nn

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.geometry import operator_norm
from reluscope_plugins.geometry.operator_norm import operator_norms

EXACT = [1, 2, math.inf]


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def seeded(model: nn.Sequential, seed: int) -> nn.Sequential:
    model.double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed + 100 * number) / parameter[0].numel() ** 0.5)
    return model.eval()


def mlp(widths: list[int], seed: int) -> nn.Sequential:
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return seeded(nn.Sequential(*layers[:-1]), seed)


def products(model: nn.Sequential, x: Tensor) -> np.ndarray:
    """Multiply weights and masks: `(sample, out, in)`."""
    found = []
    for sample in x.numpy():
        product, h = np.eye(len(sample)), sample
        for layer in model:
            if isinstance(layer, nn.Linear):
                weight = layer.weight.detach().numpy()
                product, h = weight @ product, weight @ h + layer.bias.detach().numpy()
            else:
                product, h = np.diag((h > 0).astype(float)) @ product, np.maximum(h, 0)
        found.append(product)
    return np.stack(found)


class Given(nn.Module):
    """A network whose local maps are the matrices that it is given, `(sample, out, in)`."""

    def __init__(self, matrices: Tensor) -> None:
        super().__init__()
        self.matrices = nn.Parameter(matrices)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu((self.matrices @ x.unsqueeze(-1)).squeeze(-1) + 1)


def given_map(matrices: Tensor) -> AffineMap:
    zeros = matrices.new_zeros(matrices.shape[0], matrices.shape[2])
    return observe(Given(matrices), zeros, affine=True).affine()


def dense(matrices: np.ndarray, p: float) -> np.ndarray:
    return np.array([np.linalg.norm(matrix, p) for matrix in matrices])


@pytest.mark.parametrize("p", EXACT)
@given(
    widths=st.lists(st.integers(1, 9), min_size=3, max_size=5),
    batch=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)
def test_random_networks(p: float, widths: list[int], batch: int, seed: int) -> None:
    model, x = mlp(widths, seed), normal(batch, widths[0], seed=seed + 1)
    norms = operator_norms(observe(model, x, affine=True).affine(), p)
    np.testing.assert_allclose(norms.lower, dense(products(model, x), p), rtol=1e-9, atol=1e-14)
    assert torch.equal(norms.lower, norms.upper)
    assert norms.products == min(widths[0], widths[-1])


@pytest.mark.parametrize("p", EXACT)
@settings(max_examples=20)
@given(channels=st.integers(1, 4), outs=st.integers(1, 5), size=st.integers(3, 6), seed=st.integers(0, 10_000))
def test_small_convnets(p: float, channels: int, outs: int, size: int, seed: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(2, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(0.1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(channels, 3, 2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, outs),
    ).double()
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.copy_(normal(*parameter.shape, seed=seed + 100 * number))
    model.eval()
    x = normal(2, 2, size, size, seed=seed + 1)
    full = [torch.autograd.functional.jacobian(model, one[None])[0, :, 0].flatten(1).numpy() for one in x]
    norms = operator_norms(observe(model, x, affine=True).affine(), p)
    np.testing.assert_allclose(norms.lower, dense(np.stack(full), p), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("p", EXACT)
@pytest.mark.parametrize("widths", [[60, 50, 40], [40, 70, 60]])
def test_without_forming(p: float, widths: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = mlp(widths, 3), normal(4, widths[0])
    monkeypatch.setattr(operator_norm, "_FORMED", 0)
    monkeypatch.setattr(operator_norm, "_BLOCK", 7 * 4 * max(widths[0], widths[-1]))
    affine_map = observe(model, x, affine=True).affine()
    with torch.no_grad():
        norms = operator_norms(affine_map, p, rtol=1e-10)
    np.testing.assert_allclose(norms.lower, dense(products(model, x), p), rtol=1e-9)
    np.testing.assert_allclose(norms.upper, dense(products(model, x), p), rtol=1e-9)
    assert "weight" not in vars(affine_map)


def test_beyond_few_outputs_lanczos_takes_products_alone() -> None:
    model, x = mlp([90, 200, 200, 80], 4), normal(5, 90)
    affine_map = observe(model, x, affine=True).affine()
    expected = dense(products(model, x), 2)
    for rtol in (1e-2, 1e-10):
        norms = operator_norms(affine_map, rtol=rtol)
        assert np.all(norms.lower.numpy() <= expected * (1 + 1e-12))
        assert np.all(expected <= norms.upper.numpy() * (1 + 1e-12))
        np.testing.assert_allclose(norms.upper, norms.lower * (1 + rtol), rtol=1e-12)
    assert operator_norms(affine_map, rtol=1e-2).products < 80
    assert "weight" not in vars(affine_map)


def test_against_power_iteration_on_a_gaussian_matrix() -> None:
    matrix = normal(1024, 2048, seed=11)
    expected = np.linalg.norm(matrix.numpy(), 2)
    vector, errors = normal(2048, seed=12), {}
    for step in range(1, 101):
        vector = matrix.mT @ (matrix @ vector)
        vector = vector / vector.norm()
        errors[step] = 1 - (matrix @ vector).norm().item() / expected
    assert errors[10] > 0.01
    assert errors[100] > 1e-4
    affine_map = given_map(matrix[None])
    coarse = operator_norms(affine_map, rtol=1e-3)
    assert coarse.products <= 200
    assert abs(1 - coarse.lower.item() / expected) <= 1e-6
    proven = operator_norms(affine_map, rtol=1e-6)
    assert proven.products <= 240
    assert proven.lower.item() * (1 - 1e-12) <= expected <= proven.upper.item()


@given(
    matrices=st.lists(st.lists(st.floats(-3, 3), min_size=6, max_size=6), min_size=1, max_size=3),
    p=st.sampled_from([1.1, 1.5, 3.0, 10.0]),
)
def test_any_p_lies_in_the_interval(matrices: list[list[float]], p: float) -> None:
    given_ = torch.tensor(matrices, dtype=torch.float64).reshape(-1, 3, 2)
    norms = operator_norms(given_map(given_), p)
    angle = np.linspace(0, np.pi, 2001)
    directions = np.stack([np.cos(angle), np.sin(angle)])
    length = np.linalg.norm(directions, p, axis=0)
    for matrix, lower, upper in zip(given_.numpy(), norms.lower.tolist(), norms.upper.tolist(), strict=True):
        seen = (np.linalg.norm(matrix @ directions, p, axis=0) / length).max()
        assert seen <= upper * (1 + 1e-12) + 1e-14
        # for a unit vector v next to u: |W v| >= |W u| - |W| |v - u|, and at half a step |v - u|_p < 2 * half a step
        assert lower * (1 - 4 * (angle[1] - angle[0])) <= seen + 1e-14
        assert lower <= upper


@pytest.mark.parametrize("p", [1.2, 1.7, 2.5, 6.0])
@pytest.mark.parametrize("formed", [True, False])
def test_any_p_is_found_for_positive_matrices(p: float, formed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    matrices = normal(6, 4, 2).abs() + 0.01
    if not formed:
        monkeypatch.setattr(operator_norm, "_FORMED", 0)
    norms = operator_norms(given_map(matrices), p, rtol=1e-12)
    for matrix, lower in zip(matrices.numpy(), norms.lower.tolist(), strict=True):

        def loss(angle: float, matrix: np.ndarray = matrix) -> float:
            v = np.array([np.cos(angle), np.sin(angle)])
            return float(-np.linalg.norm(matrix @ v, p) / np.linalg.norm(v, p))

        found = optimize.minimize_scalar(loss, bounds=(0, np.pi / 2), method="bounded", options={"xatol": 1e-10})
        assert lower == pytest.approx(-found.fun, rel=1e-9)


@pytest.mark.parametrize("p", [1.5, 4.0])
def test_a_matrix_and_its_transpose_have_dual_norms(p: float) -> None:
    matrices = normal(5, 7, 4)
    norms = operator_norms(given_map(matrices), p, rtol=1e-12)
    dual = operator_norms(given_map(matrices.mT.contiguous()), p / (p - 1), rtol=1e-12)
    assert bool((norms.lower <= dual.upper * (1 + 1e-12)).all())
    assert bool((dual.lower <= norms.upper * (1 + 1e-12)).all())
    torch.testing.assert_close(norms.upper, dual.upper, rtol=1e-12, atol=0)


@pytest.mark.parametrize("p", [1.3, 5.0, 300.0])
def test_any_p_where_the_norm_is_known(p: float) -> None:
    q = p / (p - 1)
    row, column = normal(3, 1, 5), normal(3, 5, 1)
    for matrices, expected in (
        (row, np.linalg.norm(row.numpy()[:, 0], q, axis=1)),
        (column, np.linalg.norm(column.numpy()[:, :, 0], p, axis=1)),
        (torch.diag_embed(row[:, 0]), row.abs().amax((1, 2)).numpy()),
        (torch.zeros(3, 4, 2).double(), np.zeros(3)),
    ):
        norms = operator_norms(given_map(matrices), p)
        np.testing.assert_allclose(norms.lower, expected, rtol=1e-12)
        np.testing.assert_allclose(norms.upper, expected, rtol=1e-12)


@pytest.mark.parametrize("p", [1, 2, 3.0, math.inf])
@pytest.mark.parametrize("shape", [(2, 3, 40), (2, 40, 50)])
def test_maps_of_any_size(p: float, shape: tuple[int, ...]) -> None:
    matrices = normal(*shape).float()
    usual = operator_norms(given_map(matrices), p)
    tiny = operator_norms(given_map(matrices * 2.0**-100), p)
    torch.testing.assert_close(tiny.lower * 2.0**100, usual.lower, rtol=1e-5, atol=0)
    torch.testing.assert_close(tiny.upper * 2.0**100, usual.upper, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [1, 2, 3.0, "inf"])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, p: float | str) -> None:
    affine_map = given_map(normal(2, 40, 50).to(dtype))
    norms = operator_norms(affine_map, p)
    assert norms.lower.dtype == torch.float32
    if p != 3.0:
        expected = dense(affine_map.weight.double().numpy(), float(p))
        np.testing.assert_allclose(norms.lower, expected, rtol=1e-5)


def test_starts_come_from_the_seed_alone() -> None:
    affine_map = given_map(normal(2, 40, 50))
    before = torch.random.get_rng_state()
    first = operator_norms(affine_map, rtol=1e-2)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(5)
    assert torch.equal(operator_norms(affine_map, rtol=1e-2).lower, first.lower)
    assert not torch.equal(operator_norms(affine_map, rtol=1e-2, seed=3).lower, first.lower)
    torch.random.set_rng_state(before)


@pytest.mark.parametrize("p", [0.5, 0, -1, math.nan, True, "two", None])
def test_exponents_that_are_none(p: object) -> None:
    with pytest.raises(ObservationError, match=r"p is .*expected 1, 2, 'inf'"):
        operator_norms(given_map(normal(1, 2, 2)), p)  # type: ignore[arg-type]


def test_arguments_out_of_range() -> None:
    affine_map = given_map(normal(1, 2, 2).float())
    with pytest.raises(ObservationError, match=r"rtol is 1e-08, expected at least 9\.5e-07 in torch.float32"):
        operator_norms(affine_map, rtol=1e-8)
    with pytest.raises(ObservationError, match="failure is 0"):
        operator_norms(affine_map, failure=0)


@pytest.mark.parametrize("p", [1, 2, 3.0, math.inf])
def test_overflow_names_the_sample(p: float) -> None:
    matrices = torch.ones(3, 2, 4)
    matrices[1] = 3e38
    with pytest.raises(ObservationError, match=r"at sample 1 .*use float64"):
        operator_norms(given_map(matrices), p)


def test_smooth_networks_are_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.GELU(), nn.Linear(3, 2))
    with pytest.raises(ObservationError, match="gelu"):
        operator_norms(observe(model, torch.randn(2, 3), affine=True).affine())
