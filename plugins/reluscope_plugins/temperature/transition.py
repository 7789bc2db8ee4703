"""The transition models by name, and fits of them to the measured probability that a pattern changes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Generic

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtri

from reluscope.errors import ObservationError, nearest
from reluscope_plugins.temperature.error_function import ErrorFunction
from reluscope_plugins.temperature.independent_units import Arctangent, HalfErrorFunction
from reluscope_plugins.temperature.transition_model import (
    Array,
    ModelT,
    TransitionModel,
    Values,
    line,
    outside,
)

__all__ = [
    "METHODS",
    "MODELS",
    "SATURATED",
    "Arctangent",
    "ErrorFunction",
    "Fit",
    "HalfErrorFunction",
    "TransitionModel",
    "fit",
]

METHODS = ("least_squares", "probit")
"""What `fit` can do."""

SATURATED = 1e-10
"""Within this of 0 or 1 a probability is left out of a regression of its quantiles (A.4, step 4 ii)."""

_TOLERANCE = 1e-12

# MINPACK lets the first step be 100 units of x_scale; a long one ends where nothing depends on the coordinates.
_FIRST_STEP = 2.0

MODELS: dict[str, type[TransitionModel]] = {
    "error_function": ErrorFunction,
    "half_error_function": HalfErrorFunction,
    "arctangent": Arctangent,
}
"""The transition models by name."""


@dataclass(frozen=True, eq=False)
class Fit(Generic[ModelT]):
    """A transition model and how well it fits.

    Attributes:
        model (TransitionModel): The model.
        residuals: Measured minus modelled probability, in the order of the measurements, saturated ones included.
        mu_error: Standard error of mu, for errors of the measurements that are independent and may differ in size;
            NaN where two measurements alone decide, infinite where mu cannot be told. Of binomial draws, the interval
            of twice this error held the parameters of `ErrorFunction` in 90 to 97 % of fits to 50 rates and in 82 to
            94 % of fits to 3 to 7. In the other models mu and sigma can hardly be told apart, and it is far too small.
            Rates measured on one batch do not err independently.
        sigma_error: The same of sigma.
    """

    model: ModelT
    residuals: Array
    mu_error: float
    sigma_error: float

    @property
    def rmse(self) -> float:
        """Root mean square of the residuals."""
        return math.sqrt(float(self.residuals @ self.residuals) / len(self.residuals))

    @property
    def maximum_residual(self) -> float:
        """Greatest magnitude of a residual."""
        return float(np.abs(self.residuals).max())


def fit(
    model_class: type[ModelT],
    rates: Values,
    probabilities: Values,
    *,
    start: ModelT | None = None,
    method: str = "least_squares",
) -> Fit[ModelT]:
    r"""Fit a transition model to measured probabilities.

    `"least_squares"` minimises the squared residuals of the probability with Levenberg and Marquardt's method, from the
    best of a few starts; probabilities of 0 and 1 take part. `"probit"` is for `ErrorFunction` alone and in closed
    form: $\ln \eta = \mu + \sigma \Phi^{-1}(P)$ by linear least squares, without probabilities within `SATURATED` of 0
    or 1, and all others alike, however uncertain their quantiles are.

    Args:
        model_class: One of `MODELS`.
        rates: Learning rates, above 0 and finite, in any order.
        probabilities: Probabilities measured there, as many, from 0 to 1. At least two, at different rates, must lie
            strictly between.
        start: A model to start from too, such as that of the step before; `"probit"` needs none.
        method: One of `METHODS`.

    Returns:
        The model that fits best, with its residuals.

    Raises:
        ObservationError: If the measurements do not determine the parameters.

    References:
        Hartmann (2025), section 3.2.3; section A.4, step 4 (iv).

    Example:
        >>> rates = np.geomspace(1e-4, 1e2, 50)
        >>> found = fit(ErrorFunction, rates, ErrorFunction(mu=-2.0, sigma=1.5).probability(rates))
        >>> round(found.model.mu, 6), round(found.model.sigma, 6)
        (-2.0, 1.5)
    """
    if method not in METHODS:
        raise ObservationError(f"no method {method!r} to fit a transition model; {nearest(method, METHODS)}")
    if method == "probit" and not issubclass(model_class, ErrorFunction):
        raise ObservationError(
            f"method 'probit' fits ErrorFunction, got {model_class.__name__}; fit it by method 'least_squares'"
        )
    given_rates, measured = _checked(rates, probabilities)
    if method == "probit":
        return _fit_probit(model_class, given_rates, measured)

    logarithms = np.log(given_rates)
    inner = (measured > 0) & (measured < 1)
    if len(np.unique(given_rates[inner])) < 2:
        what = f"{inner.sum()} strictly between 0 and 1, expected two at different rates"
        raise ObservationError(_undetermined(model_class, measured, what))
    away = logarithms - logarithms.mean()
    if not away @ measured > 1e-12 * float(np.abs(away) @ measured):
        raise ObservationError(_undetermined(model_class, measured, "which do not rise with the rate"))

    with np.errstate(all="ignore"):
        starts = model_class._starts(given_rates, measured) + ([] if start is None else [start])
        model = min((_descend(first, given_rates, measured) for first in starts), key=lambda found: found[1])[0]
        residuals = measured - model._probability(given_rates)
        mu_error, sigma_error = _errors(model._jacobian(given_rates), model._parameter_jacobian(), residuals)
    return Fit(model, residuals, mu_error, sigma_error)


def _descend(start: ModelT, rates: Array, measured: Array) -> tuple[ModelT, float]:
    """Return the local minimum that a start leads to, and its sum of squares."""
    origin = np.array(start._coordinates)
    found = least_squares(
        lambda moved: start._from_coordinates(origin + moved)._probability(rates) - measured,
        np.zeros(2),
        lambda moved: start._from_coordinates(origin + moved)._jacobian(rates),
        method="lm",
        x_scale=_FIRST_STEP / 100,
        ftol=_TOLERANCE,
        xtol=_TOLERANCE,
        gtol=_TOLERANCE,
    )
    return start._from_coordinates(origin + found.x), float(found.cost)


def _fit_probit(model_class: type[ModelT], rates: Array, measured: Array) -> Fit[ModelT]:
    inner = (measured > SATURATED) & (measured < 1 - SATURATED)
    quantiles, logarithms = ndtri(measured[inner]), np.log(rates[inner])
    if len(np.unique(quantiles)) < 2:
        what = f"{inner.sum()} above {SATURATED} and below 1 - {SATURATED}, expected two different ones"
        raise ObservationError(_undetermined(model_class, measured, what))
    sigma, mu = line(quantiles, logarithms, np.ones_like(quantiles))
    if not sigma > 0:
        raise ObservationError(_undetermined(model_class, measured, "which do not rise with the rate"))
    model = model_class(mu, sigma)
    with np.errstate(all="ignore"):
        residuals = measured - model._probability(rates)
        design = np.stack([np.ones_like(quantiles), quantiles], axis=1)
        mu_error, sigma_error = _errors(design, np.eye(2), logarithms - design @ (mu, sigma))
    return Fit(model, residuals, mu_error, sigma_error)


def _errors(jacobian: Array, parameter_jacobian: Array, residuals: Array) -> tuple[float, float]:
    """Return standard errors of the two parameters, of a linearised least-squares problem (HC3)."""
    (a, b), (_, d) = jacobian.T @ jacobian
    determinant = a * d - b * b
    if not determinant > 1e-14 * a * d:
        return math.inf, math.inf
    influence = jacobian @ (np.array([[d, -b], [-b, a]]) / determinant)
    left = 1 - (influence * jacobian).sum(axis=1)
    # A point that the model must go through has no residual to tell its error by.
    if left.min() < 1e-6:
        return math.nan, math.nan
    mu, sigma = (((influence @ parameter_jacobian.T) * (residuals / left)[:, None]) ** 2).sum(axis=0)
    return math.sqrt(mu), math.sqrt(sigma)


def _checked(rates: Values, probabilities: Values) -> tuple[Array, Array]:
    given, measured = np.asarray(rates, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
    if given.ndim != 1 or given.shape != measured.shape:
        raise ObservationError(
            f"a fit of rates of shape {given.shape} and probabilities of shape {measured.shape}, expected two lists of "
            "the same length"
        )
    inside = (given > 0) & np.isfinite(given)
    if not inside.all():
        raise ObservationError(
            f"a fit at the learning rate {outside(given, inside)}, expected rates above 0 and finite; leave it out"
        )
    inside = (measured >= 0) & (measured <= 1)
    if not inside.all():
        raise ObservationError(
            f"a fit of the probability {outside(measured, inside)} at the learning rate {outside(given, inside)}, "
            "expected one within 0..1; leave out the rates at which the network overflows"
        )
    return given, measured


def _undetermined(model_class: type[TransitionModel], measured: Array, what: str) -> str:
    shown = ", ".join(f"{value:.4g}" for value in measured[:8]) + (", ..." if len(measured) > 8 else "")
    return (
        f"a fit of {model_class.__name__} to {len(measured)} probabilities ({shown}), {what}; measure at more rates, "
        "around the one at which half the patterns change, or on more samples"
    )
