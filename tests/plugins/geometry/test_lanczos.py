"""Greatest eigenvalues against known spectra, where the start is kind, unlucky, or meant to be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reluscope_plugins.geometry.lanczos import GreatestEigenvalue, greatest_eigenvalue


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_diagonal(
    spectrum: torch.Tensor, start: torch.Tensor, rtol: float = 1e-10, failure: float = 1e-10
) -> GreatestEigenvalue:
    return greatest_eigenvalue(lambda v: v * spectrum, start, rtol=rtol, failure=failure)


@given(
    spectrum=st.lists(st.floats(0, 1).map(lambda value: round(value, 3)), min_size=1, max_size=12),
    samples=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
def test_rotated_spectra(spectrum: list[float], samples: int, seed: int) -> None:
    n = len(spectrum)
    rotation = torch.linalg.qr(normal(samples, n, n, seed=seed))[0]
    matrix = rotation @ torch.diag(torch.tensor(spectrum, dtype=torch.float64)) @ rotation.mT
    matrix = (matrix + matrix.mT) / 2
    start = normal(samples, n, seed=seed + 5000)
    found = greatest_eigenvalue(lambda v: (matrix @ v[..., None])[..., 0], start, rtol=1e-10, failure=1e-10)
    expected = np.linalg.eigvalsh(matrix.numpy())[:, -1]
    np.testing.assert_allclose(found.lower, expected, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(found.upper, expected, rtol=1e-9, atol=1e-15)
    assert found.steps <= n


@pytest.mark.parametrize(
    "spectrum",
    [
        torch.cat([torch.linspace(0, 1, 200), torch.linspace(2 - 1e-4, 2, 50)]),  # a cluster at the top
        torch.cat([torch.ones(250), torch.tensor([1 + 1e-5])]),  # one above many equals
        torch.cat([torch.full((250,), 3.0), torch.zeros(5)]),  # a multiple top
        torch.linspace(0, 1, 300) ** 8,
        1 - torch.linspace(0, 1, 300) ** 2,
    ],
)
def test_bounds_hold_for_hard_spectra(spectrum: torch.Tensor) -> None:
    # 20 samples at failure 1e-10: a false alarm has probability 2e-9
    spectrum = spectrum.double()
    for rtol in (1e-2, 1e-8):
        found = on_diagonal(spectrum, normal(20, len(spectrum)), rtol)
        rounding = 1e-12 * spectrum.max()
        assert bool((found.lower <= spectrum.max() + rounding).all())
        assert bool((found.upper >= spectrum.max() - rounding).all())
        assert bool((found.upper <= found.lower * (1 + 1.0001 * rtol)).all())


def test_a_start_nearly_orthogonal_to_what_is_sought() -> None:
    spectrum = torch.cat([torch.linspace(0, 0.5, 300), torch.tensor([0.9, 1.0])]).double()
    start = normal(1, 302)
    start[0, -1] = 1e-6 * torch.linalg.vector_norm(start)
    assert on_diagonal(spectrum, start, 1e-6).lower.item() == pytest.approx(1, rel=1e-6)
    # whoever allows that such starts are missed stops at the second, the residual being small
    missed = on_diagonal(spectrum, start, 1e-3, failure=0.5)
    assert missed.lower.item() == pytest.approx(0.9, rel=1e-3)
    assert missed.upper.item() < 1


def test_the_upper_bound_fails_as_rarely_as_stated() -> None:
    """H0: the bound fails with probability at most 0.2. 2000 independent starts; error probability 1e-6.

    One eigenvalue lies 5 % beyond the tolerance above 49 equal ones, which is nearly the worst there is: so many fail
    that a bound twice as bold would be found out.
    """
    rtol, failure, n, trials = 1e-4, 0.2, 50, 2000
    spectrum = torch.ones(n).double()
    spectrum[0] += 1.05 * rtol
    found = [on_diagonal(spectrum, start[None], rtol, failure).upper.item() for start in normal(trials, n)]
    failed = sum(upper < spectrum[0].item() - 1e-12 for upper in found)
    assert failed <= stats.binom.isf(1e-6, trials, failure)
    assert failed >= stats.binom.ppf(1e-6, trials, failure / 2)


def test_zero_and_one_dimension() -> None:
    zero = on_diagonal(torch.zeros(5).double(), normal(3, 5))
    assert zero.lower.tolist() == zero.upper.tolist() == [0.0] * 3
    one = on_diagonal(torch.tensor([4.0]).double(), normal(3, 1))
    assert one.lower.tolist() == one.upper.tolist() == pytest.approx([4.0] * 3)
    assert one.steps == 1


def test_float32_on_samples_of_different_difficulty() -> None:
    spectra = torch.stack([torch.linspace(0, 1, 64), torch.eye(64)[0], 1 - 1e-3 * torch.linspace(0, 1, 64)])
    found = on_diagonal(spectra, normal(3, 64).float(), 1e-5)
    assert found.lower.dtype == torch.float32
    np.testing.assert_allclose(found.lower, 1.0, rtol=1.1e-5)
    assert math.isfinite(found.upper.sum())


@pytest.mark.parametrize("top", [1.0001, 1.005, 1.01])
def test_single_precision_does_not_hide_the_greatest(top: float) -> None:
    """All eigenvalues but one are equal: the Krylov space closes after two steps, and after one but for rounding."""
    spectrum = torch.ones(3072)
    spectrum[7] = top
    for start in normal(5, 3072).float():
        found = on_diagonal(spectrum, start[None], 1e-6)
        assert found.lower.item() <= top * (1 + 1e-5)
        assert found.upper.item() >= top * (1 - 1e-5)
