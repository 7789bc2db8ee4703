"""What Theorem 1 predicts of a layer at initialisation: how often a pattern changes, from standard deviations alone."""

from __future__ import annotations

import math
from typing import overload

from reluscope.errors import ObservationError
from reluscope_plugins.temperature.independent_units import Arctangent
from reluscope_plugins.temperature.transition_model import Array, Values


def deviations(
    weight_std: float,
    step_weight_std: float,
    *,
    squared_norm: float = 1.0,
    bias_std: float = 0.0,
    step_bias_std: float = 0.0,
) -> tuple[float, float]:
    r"""Standard deviations of a unit's pre-activation and of what a step of rate 1 takes from it.

    $$\sigma_c^2 = \sigma_w^2 \sum_i \mathbb{E}[x_i^2] + \sigma_b^2, \qquad
    \sigma_g^2 = \sigma_{\Delta w}^2 \sum_i \mathbb{E}[x_i^2] + \sigma_{\Delta b}^2$$

    Eq. 3.19 has the variance of $x_i$ in place of its second moment. They are the same where inputs have mean zero;
    behind a ReLU they have not. Without biases the sum cancels in $\sigma_g / \sigma_c$.

    Args:
        weight_std: Standard deviation of the weights, above 0.
        step_weight_std: That of the direction of the step, before it is multiplied by the rate.
        squared_norm: $\sum_i \mathbb{E}[x_i^2]$, the mean squared norm of the layer's inputs.
        bias_std: Standard deviation of the biases.
        step_bias_std: That of their direction.

    Returns:
        $\sigma_c$ and $\sigma_g$.

    Raises:
        ObservationError: If a number is negative or not finite, or if pre-activations do not vary.

    References:
        Hartmann (2025), eq. 3.19 to 3.21.

    Example:
        >>> deviations(0.5, 1.5, squared_norm=4.0)
        (1.0, 3.0)
    """
    given = {
        "weight_std": weight_std,
        "step_weight_std": step_weight_std,
        "squared_norm": squared_norm,
        "bias_std": bias_std,
        "step_bias_std": step_bias_std,
    }
    for name, value in given.items():
        if not (math.isfinite(value) and value >= 0):
            raise ObservationError(f"{name} is {value!r}, expected a finite number of at least 0")
    sigma_c = math.hypot(weight_std * math.sqrt(squared_norm), bias_std)
    sigma_g = math.hypot(step_weight_std * math.sqrt(squared_norm), step_bias_std)
    if sigma_c == 0:
        raise ObservationError(
            "the pre-activations do not vary: weight_std (or squared_norm) and bias_std are 0, expected one above 0"
        )
    return sigma_c, sigma_g


@overload
def predicted_distance(
    weight_std: float,
    step_weight_std: float,
    width: int,
    rates: float,
    *,
    squared_norm: float | None = None,
    bias_std: float = 0.0,
    step_bias_std: float = 0.0,
) -> float: ...
@overload
def predicted_distance(
    weight_std: float,
    step_weight_std: float,
    width: int,
    rates: Values,
    *,
    squared_norm: float | None = None,
    bias_std: float = 0.0,
    step_bias_std: float = 0.0,
) -> Array: ...
def predicted_distance(
    weight_std: float,
    step_weight_std: float,
    width: int,
    rates: float | Values,
    *,
    squared_norm: float | None = None,
    bias_std: float = 0.0,
    step_bias_std: float = 0.0,
) -> float | Array:
    r"""Probability that a layer's pattern changes in a step with random directions.

    $$P(\eta) = 1 - \left( 1 - \frac{1}{\pi} \arctan \frac{\sigma_g \eta}{\sigma_c} \right)^d$$

    For normal weights and directions, independent of each other and of the input, and without biases it is exact: for
    every input but 0 and every width, large or not. With biases it is exact for inputs of one norm, or where a step
    has the same ratio to what it changes in weights and biases; else `squared_norm` is a mean, and the input should be
    wide enough for the norm to vary little.

    Gradients are not such directions. They lie along the directions in which the data lie, so that they move the
    pre-activations by more than independent numbers of the same size do, and patterns change at smaller rates than
    predicted. The same numbers in random order change them about as predicted.

    Args:
        weight_std: Standard deviation of the weights, above 0.
        step_weight_std: That of the direction of the step, before it is multiplied by the rate.
        width: Number of units of the layer, $d$.
        rates: Learning rates, at least 0.
        squared_norm: Mean squared norm of the layer's inputs; without biases nothing depends on it.
        bias_std: Standard deviation of the biases.
        step_bias_std: That of their direction.

    Returns:
        Probabilities, as many as rates.

    Raises:
        ObservationError: If a number is out of its range, or if there are biases and `squared_norm` is missing.

    References:
        Hartmann (2025), Theorem 1, eq. 3.18.

    Example:
        >>> round(predicted_distance(1.0, 1.0, 2, 1.0), 4)
        0.4375
    """
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise ObservationError(f"width is {width!r}, expected the number of units of the layer, at least 1")
    if squared_norm is None:
        if bias_std or step_bias_std:
            raise ObservationError(
                "a layer with biases, but no squared_norm: give the mean squared norm of the layer's inputs"
            )
        squared_norm = 1.0
    sigma_c, sigma_g = deviations(
        weight_std, step_weight_std, squared_norm=squared_norm, bias_std=bias_std, step_bias_std=step_bias_std
    )
    if sigma_g == 0:
        raise ObservationError("the step is zero: step_weight_std and step_bias_std are 0, expected one above 0")
    return Arctangent(mu=width, sigma=sigma_g / sigma_c).probability(rates)
