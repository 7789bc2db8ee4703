"""Strategy and sample of Theorem 1 of Hartmann 2025 in layers that are wide, as it asks.

Of a layer of d units on n inputs: weights and biases have the standard deviation 1 / n, and so a variance below 1 / n;
the gradient of a weight has 1 / n, too, that of a bias 2 / sqrt(n); the rate is 1 / d. Inputs are 1 with some
probability, else -1. Then both eta s_g d / s_c and its printed form tend to constants, which differ.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_plugins.temperature.theorem import predicted_distance

Cases = SearchStrategy[dict[str, Any]]

_BLOCK = 64
"""Layers drawn at once."""


def wide_layers() -> Cases:
    """Return numbers of inputs and units, and the probability of an input of 1."""
    return st.fixed_dictionaries(
        {
            "inputs": st.sampled_from([64, 128]),
            "units": st.sampled_from([32, 64]),
            "positive": st.sampled_from([0.9375, 0.875]),
        }
    )


def changes_of_wide_layers(
    generator: np.random.Generator, size: int, inputs: int, units: int, positive: float
) -> npt.NDArray[np.bool_]:
    """Return whether the pattern of a layer changes in a step."""
    found = []
    for first in range(0, size, _BLOCK):
        number = min(_BLOCK, size - first)
        weight, step = generator.standard_normal((2, number, units, inputs)) / inputs
        bias, bias_step = generator.standard_normal((2, number, units))
        x = np.where(generator.random((number, inputs, 1)) < positive, 1.0, -1.0)
        before = (weight @ x)[:, :, 0] + bias / inputs
        after = before - ((step @ x)[:, :, 0] + 2 / math.sqrt(inputs) * bias_step) / units
        found.append(((before > 0) != (after > 0)).any(1))
    return np.concatenate(found)


def arctan_law(inputs: int, units: int, positive: float) -> float:
    """Return the probability of Theorem 1 as printed, with the variances of the inputs."""
    return law(inputs, units, 4 * positive * (1 - positive))


def law(inputs: int, units: int, square: float, rate: float | None = None) -> float:
    """Compute the probability for some mean square of an input.

    Args:
        inputs: n.
        units: d.
        square: Var(x_j), or E[x_j^2].
        rate: eta; None takes 1 / d.

    Returns:
        1 - (1 - arctan(eta s_g / s_c) / pi)^d.
    """
    return predicted_distance(
        1 / inputs,
        1 / inputs,
        units,
        1 / units if rate is None else rate,
        squared_norm=inputs * square,
        bias_std=1 / inputs,
        step_bias_std=2 / math.sqrt(inputs),
    )
