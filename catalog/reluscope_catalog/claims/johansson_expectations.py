"""Samples of the claims of Johansson 2022 on mean differences of singular values at initialisation.

Weights and biases of a layer are uniform between plus and minus one over the root of its inputs, so that C = 1/3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_plugins.geometry.perturbation import expected_squared_norm, expected_squared_slope_difference

Cases = SearchStrategy[dict[str, Any]]
Floats = npt.NDArray[np.float64]

_C = 1 / 3


def sizes() -> Cases:
    """Return numbers of inputs, hidden units and outputs."""
    return st.fixed_dictionaries(
        {"inputs": st.integers(1, 2), "hidden": st.integers(1, 6), "outputs": st.integers(1, 2)}
    )


def wide_sizes() -> Cases:
    """Return numbers of units of a wide layer between one input and one output."""
    return st.fixed_dictionaries({"hidden": st.sampled_from([10, 20, 40])})


def widths() -> Cases:
    """Return numbers of hidden units between one input and one output."""
    return st.fixed_dictionaries({"hidden": st.integers(1, 8)})


def expected_perturbation(generator: np.random.Generator, size: int, inputs: int, hidden: int, outputs: int) -> Floats:
    """Return squared differences of the singular values on both sides of a point of the first unit's wall."""
    inward, outward, bias = _drawn(generator, size, inputs, hidden, outputs)
    x = generator.standard_normal((size, inputs))
    row = inward[:, 0]
    x -= ((np.sum(row * x, axis=1) + bias[:, 0]) / np.sum(row**2, axis=1))[:, None] * row
    active = np.einsum("ski,si->sk", inward, x) + bias > 0
    return _squared_difference(inward, outward, active, np.zeros(size, dtype=np.int64))


def expected_perturbation_value(inputs: int, hidden: int, outputs: int) -> float:
    """Return C^2 n_c / n_1."""
    return expected_squared_norm(_C, outputs=outputs, hidden=hidden)


def expected_perturbation_nearest(generator: np.random.Generator, size: int, hidden: int) -> Floats:
    """Return squared differences between the region of 0 and the one beyond its nearest wall."""
    inward, outward, bias = _drawn(generator, size, 1, hidden, 1)
    nearest = np.argmin(np.abs(bias / inward[:, :, 0]), axis=1)
    return _squared_difference(inward, outward, bias > 0, nearest)


def expected_perturbation_nearest_value(hidden: int) -> float:
    """Return C^2 n_c / n_1."""
    return expected_perturbation_value(1, hidden, 1)


def expected_perturbation_chosen_value(hidden: int) -> float:
    """Return C n_c / n_1: no row of W_1 is longer than 1."""
    return _C / hidden


def unit_interval_bound(generator: np.random.Generator, size: int, hidden: int) -> Floats:
    """Return squared differences of the slopes at 0 and at 1."""
    inward, outward, bias = _drawn(generator, size, 1, hidden, 1)
    changes = inward[:, :, 0] * outward[:, 0]
    here, there = (np.abs(np.sum(changes * (inward[:, :, 0] * x + bias > 0), axis=1)) for x in (0, 1))
    found: Floats = (here - there) ** 2
    return found


def unit_interval_bound_value(hidden: int) -> float:
    """Return 2 C^2 - 2 C^2 / n_1."""
    return expected_squared_slope_difference(_C, hidden=hidden)


def unit_interval_bound_any_width_value(hidden: int) -> float:
    """Return C^2."""
    return _C**2


def _drawn(
    generator: np.random.Generator, size: int, inputs: int, hidden: int, outputs: int
) -> tuple[Floats, Floats, Floats]:
    inward = generator.uniform(-1, 1, (size, hidden, inputs)) / np.sqrt(inputs)
    bias = generator.uniform(-1, 1, (size, hidden)) / np.sqrt(inputs)
    return inward, generator.uniform(-1, 1, (size, outputs, hidden)) / np.sqrt(hidden), bias


# of the regions with these units active, and with one of them switched
def _squared_difference(
    inward: Floats, outward: Floats, active: npt.NDArray[np.bool_], unit: npt.NDArray[np.int64]
) -> Floats:
    switched = active.copy()
    cases = np.arange(len(unit))
    switched[cases, unit] ^= True
    here, there = (_singular_values(outward @ (z[:, :, None] * inward)) for z in (active, switched))
    found: Floats = np.sum((here - there) ** 2, axis=1)
    return found


def _singular_values(matrices: Floats) -> Floats:
    if 1 in matrices.shape[1:]:
        norms: Floats = np.sqrt(np.sum(matrices**2, axis=(1, 2)))
        return norms[:, None]
    return np.asarray(np.linalg.svd(matrices, compute_uv=False), dtype=np.float64)
