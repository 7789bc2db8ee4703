"""Transition models: how the probability that a pattern changes rises with the learning rate, and fits of them."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares
from scipy.special import erf, erfinv, ndtr, ndtri

from reluscope.errors import ObservationError, nearest

Array = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]] | Sequence[float]
ModelT = TypeVar("ModelT", bound="TransitionModel")

METHODS = ("least_squares", "probit")
"""What `fit` can do."""

SATURATED = 1e-10
"""Within this of 0 or 1 a probability is left out of a regression of its quantiles (A.4, step 4 ii)."""

_LARGEST_LOG = 30.0
_TOLERANCE = 1e-12

# MINPACK lets the first step be 100 units of x_scale; a long one ends where nothing depends on the coordinates.
_FIRST_STEP = 2.0


@dataclass(frozen=True)
class TransitionModel(abc.ABC):
    """Probability that a sample's pattern at a site changes in a step, as a function of the learning rate.

    Attributes:
        mu: First parameter.
        sigma: Second parameter, above 0.
    """

    mu: float
    sigma: float

    _mu_positive: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("mu", "sigma"):
            value = float(getattr(self, name))
            object.__setattr__(self, name, value)
            _check_parameter(type(self), name, value, positive=name == "sigma" or self._mu_positive)

    @property
    @abc.abstractmethod
    def limit(self) -> float:
        """Probability that an infinite rate has: no rate gives more."""

    @overload
    def probability(self, rate: float) -> float: ...
    @overload
    def probability(self, rate: Values) -> Array: ...
    def probability(self, rate: float | Values) -> float | Array:
        """Return the probability that a pattern changes.

        Args:
            rate: Learning rates, from 0 to infinity.

        Returns:
            Probabilities from 0 to `limit`, as many.

        Raises:
            ObservationError: If a rate is negative or NaN.
        """
        rates = np.asarray(rate, dtype=np.float64)
        if not np.all(rates >= 0):
            raise ObservationError(f"{_first(rates, rates >= 0)} is no learning rate, expected a number of at least 0")
        with np.errstate(all="ignore"):
            return _as_given(self._probability(rates))

    @overload
    def rate(self, probability: float) -> float: ...
    @overload
    def rate(self, probability: Values) -> Array: ...
    def rate(self, probability: float | Values) -> float | Array:
        """Return the learning rate at which a pattern changes with some probability.

        Args:
            probability: Probabilities, from 0 to `limit`.

        Returns:
            Rates, as many: 0 for a probability of 0, infinite for `limit` and where the rate exceeds what a float
            holds.

        Raises:
            ObservationError: If a probability is outside or NaN.
        """
        probabilities = np.asarray(probability, dtype=np.float64)
        inside = (probabilities >= 0) & (probabilities <= self.limit)
        if not np.all(inside):
            raise ObservationError(
                f"{self} gives no probability of {_first(probabilities, inside)} at any rate, expected one within "
                f"0..{self.limit!r}; ask for less, or fit a model that goes as far"
            )
        with np.errstate(all="ignore"):
            return _as_given(self._rate(probabilities))

    @overload
    @classmethod
    def mu_for(cls, rate: float, probability: float, sigma: float) -> float: ...
    @overload
    @classmethod
    def mu_for(cls, rate: Values, probability: Values, sigma: float) -> Array: ...
    @classmethod
    def mu_for(cls, rate: float | Values, probability: float | Values, sigma: float) -> float | Array:
        """Return the mu with which the model gives a probability at a rate: the update of mu alone.

        Args:
            rate: Learning rates, above 0 and finite.
            probability: Probabilities measured there, strictly between 0 and 1.
            sigma: The other parameter.

        Returns:
            Values of mu, as many.

        Raises:
            ObservationError: If there is none.
        """
        _check_parameter(cls, "sigma", float(sigma), positive=True)
        rates = np.asarray(rate, dtype=np.float64)
        probabilities = np.asarray(probability, dtype=np.float64)
        inside = (rates > 0) & np.isfinite(rates)
        if not np.all(inside):
            raise ObservationError(f"no mu for the learning rate {_first(rates, inside)}, expected one above 0, finite")
        inside = (probabilities > 0) & (probabilities < 1)
        if not np.all(inside):
            raise ObservationError(
                f"no mu for a probability of {_first(probabilities, inside)}, expected one strictly between 0 and 1; "
                "measure on more samples or at another rate"
            )
        with np.errstate(all="ignore"):
            return _as_given(cls._mu_for(rates, probabilities, float(sigma)))

    @abc.abstractmethod
    def _probability(self, rates: Array) -> Array: ...

    @abc.abstractmethod
    def _rate(self, probabilities: Array) -> Array: ...

    @classmethod
    @abc.abstractmethod
    def _mu_for(cls, rates: Array, probabilities: Array, sigma: float) -> Array: ...

    # A fit moves two unbounded coordinates.

    @property
    @abc.abstractmethod
    def _coordinates(self) -> tuple[float, float]: ...

    @classmethod
    @abc.abstractmethod
    def _from_coordinates(cls: type[ModelT], coordinates: Array) -> ModelT: ...

    @abc.abstractmethod
    def _jacobian(self, rates: Array) -> Array:
        """Return derivatives of the probability, (rate, coordinate)."""

    @abc.abstractmethod
    def _parameter_jacobian(self) -> Array:
        """Return derivatives of mu and sigma, (parameter, coordinate)."""

    @classmethod
    @abc.abstractmethod
    def _starts(cls: type[ModelT], rates: Array, probabilities: Array) -> list[ModelT]:
        """Return candidates to start a fit from."""


@dataclass(frozen=True)
class ErrorFunction(TransitionModel):
    r"""Cumulative normal distribution in the logarithm of the rate.

    $$P(\eta) = \frac{1}{2} \left( 1 + \mathrm{erf} \frac{\ln \eta - \mu}{\sigma \sqrt{2}} \right), \quad
    \eta(P) = e^{\mu + \sigma \Phi^{-1}(P)}, \quad \mu = \ln \eta - \sigma \Phi^{-1}(P)$$

    with the normal quantile $\Phi^{-1}(P) = \sqrt{2}\, \mathrm{erf}^{-1}(2P - 1)$. The source prints two signs of
    $\mu$. Eq. 3.17 and A.4 (a) to (c) are as here. Eq. 3.42, 3.43 and 3.44 have $\ln \eta + \mu$: they belong
    together, and their $\mu$ is the negative of this one, but the text has 3.43 and 3.44 follow from 3.17, which they
    do not invert.

    Attributes:
        mu: Natural logarithm of the rate at which half the patterns change.
        sigma: Width of the transition in the natural logarithm of the rate.

    References:
        Hartmann (2025), eq. 3.17, 3.42 to 3.44, section A.4.

    Example:
        >>> model = ErrorFunction(mu=-1.0, sigma=1.0)
        >>> round(model.rate(0.5), 4)
        0.3679
        >>> round(model.probability(1.0), 4)
        0.8413
    """

    @property
    def limit(self) -> float:
        """1: with a large enough rate all patterns change."""
        return 1.0

    def _probability(self, rates: Array) -> Array:
        return ndtr((np.log(rates) - self.mu) / self.sigma)

    def _rate(self, probabilities: Array) -> Array:
        return np.exp(self.mu + self.sigma * ndtri(probabilities))

    @classmethod
    def _mu_for(cls, rates: Array, probabilities: Array, sigma: float) -> Array:
        return np.log(rates) - sigma * ndtri(probabilities)

    @property
    def _coordinates(self) -> tuple[float, float]:
        return self.mu, math.log(self.sigma)

    @classmethod
    def _from_coordinates(cls, coordinates: Array) -> ErrorFunction:
        return cls(coordinates[0], math.exp(_within(coordinates[1], _LARGEST_LOG)))

    def _jacobian(self, rates: Array) -> Array:
        quantiles = (np.log(rates) - self.mu) / self.sigma
        density = np.exp(-0.5 * quantiles**2) / math.sqrt(2 * math.pi)
        return np.stack([-density / self.sigma, -density * quantiles], axis=1)

    def _parameter_jacobian(self) -> Array:
        return np.diag([1.0, self.sigma])

    @classmethod
    def _starts(cls, rates: Array, probabilities: Array) -> list[ErrorFunction]:
        logarithms = np.log(rates)
        inner = (probabilities > 0) & (probabilities < 1)
        quantiles = ndtri(probabilities[inner])
        # To first order an error of the probability is one of the quantile over the density.
        weights = np.exp(-(quantiles**2))
        slope, intercept = _line(logarithms[inner], quantiles, weights)
        lowest, highest = logarithms.min(), logarithms.max()
        width = highest - lowest
        middles = np.linspace(lowest, highest, 13)[:, None, None]
        widths = (width * np.geomspace(0.01, 2.0, 8))[None, :, None]
        squares = ((ndtr((logarithms - middles) / widths) - probabilities) ** 2).sum(axis=2)
        starts = [cls(middles[row, 0, 0], widths[0, column, 0]) for row, column in _two_least(squares, axis=1)]
        if slope > 0 and math.isfinite(intercept / slope):
            starts.append(cls(-intercept / slope, 1 / slope))
        return starts


class _IndependentUnits(TransitionModel):
    r"""$1 - (1 - h(\sigma \eta))^\mu$: that one of so many independent units at least changes its sign.

    $h$ rises from 0 to a half, so that an infinite rate has a probability of $1 - 2^{-\mu}$, not of 1.
    """

    _mu_positive: ClassVar[bool] = True

    @staticmethod
    @abc.abstractmethod
    def _share(scaled: Array) -> Array:
        """Return h, the probability that one unit changes."""

    @staticmethod
    @abc.abstractmethod
    def _share_slope(scaled: Array) -> Array:
        """Return the derivative of h."""

    @staticmethod
    @abc.abstractmethod
    def _share_inverse(share: Array) -> Array:
        """Return the argument at which h has a value within 0..0.5."""

    @property
    def limit(self) -> float:
        r"""$1 - 2^{-\mu}$: with an infinite rate each unit changes with probability a half."""
        return float(-np.expm1(self.mu * np.log1p(-0.5)))

    def _probability(self, rates: Array) -> Array:
        return -np.expm1(self.mu * np.log1p(-self._share(self.sigma * rates)))

    def _rate(self, probabilities: Array) -> Array:
        # At the limit rounding may go beyond a half; where the limit rounds to 1, the share is below it.
        share = np.minimum(-np.expm1(np.log1p(-probabilities) / self.mu), 0.5)
        scaled = np.where(share < 0.5, self._share_inverse(share), np.inf)
        return np.where(probabilities < self.limit, scaled, np.inf) / self.sigma

    @classmethod
    def _mu_for(cls, rates: Array, probabilities: Array, sigma: float) -> Array:
        return np.log1p(-probabilities) / np.log1p(-cls._share(sigma * rates))

    @property
    def _coordinates(self) -> tuple[float, float]:
        return math.log(self.mu) + math.log(self.sigma), math.log(self.mu)

    @classmethod
    def _from_coordinates(cls: type[ModelT], coordinates: Array) -> ModelT:
        number = _within(coordinates[1], _LARGEST_LOG)
        return cls(math.exp(number), math.exp(_within(coordinates[0] - number, 300.0)))

    def _jacobian(self, rates: Array) -> Array:
        scaled = self.sigma * rates
        share = self._share(scaled)
        logarithm = np.log1p(-share)
        unchanged = self.mu * np.exp(self.mu * logarithm)
        relative = self._share_slope(scaled) * scaled / (1 - share)
        return np.stack([unchanged * relative, -unchanged * (logarithm + relative)], axis=1)

    def _parameter_jacobian(self) -> Array:
        return np.array([[0.0, self.mu], [self.sigma, -self.sigma]])

    @classmethod
    def _starts(cls: type[ModelT], rates: Array, probabilities: Array) -> list[ModelT]:
        assert issubclass(cls, _IndependentUnits)
        sigmas = np.geomspace(1e-4 / rates.max(), 1e2 / rates.min(), 24)
        logarithms = np.log1p(-cls._share(sigmas[:, None] * rates))
        # To first order an error of the probability is one of log(1 - P) over 1 - P.
        weights = (1 - probabilities) ** 2
        measured = np.log1p(-np.minimum(probabilities, 1 - 1e-16))
        mus = (logarithms * weights) @ measured / (logarithms**2 @ weights)
        middles = np.geomspace(rates.min(), rates.max(), 13)
        halfway = math.log(0.5) / np.log1p(-cls._share(sigmas[:, None] * middles))
        candidates = np.concatenate([mus[:, None], halfway], axis=1)
        modelled = -np.expm1(candidates[:, :, None] * logarithms[:, None, :])
        squares = ((modelled - probabilities) ** 2).sum(axis=2)
        return [cls(candidates[row, column], sigmas[row]) for row, column in _two_least(squares, axis=0)]


@dataclass(frozen=True)
class HalfErrorFunction(_IndependentUnits):
    r"""Units that change independently, each with a step that is the same for all samples.

    $$P(\eta) = 1 - \left( 1 - \frac{1}{2} \mathrm{erf} \frac{\sigma \eta}{\sqrt{2}} \right)^\mu$$

    Attributes:
        mu: Number of independent units, above 0.
        sigma: Ratio of the step's pre-activation to the standard deviation of the pre-activation, at rate 1.

    References:
        Hartmann (2025), eq. 3.26 and 3.40.

    Example:
        >>> model = HalfErrorFunction(mu=1.0, sigma=1.0)
        >>> round(model.probability(1.0), 4), model.limit
        (0.3413, 0.5)
    """

    @staticmethod
    def _share(scaled: Array) -> Array:
        return 0.5 * erf(scaled / math.sqrt(2))

    @staticmethod
    def _share_slope(scaled: Array) -> Array:
        return np.exp(-0.5 * np.minimum(scaled, 1e3) ** 2) / math.sqrt(2 * math.pi)

    @staticmethod
    def _share_inverse(share: Array) -> Array:
        return math.sqrt(2) * erfinv(2 * share)


@dataclass(frozen=True)
class Arctangent(_IndependentUnits):
    r"""Units that change independently, with normally distributed weights and steps: Theorem 1.

    $$P(\eta) = 1 - \left( 1 - \frac{1}{\pi} \arctan(\sigma \eta) \right)^\mu$$

    Eq. 3.41 has $-\mu$ in the exponent, for the sake of a plot; here it is as in eq. 3.18.

    Attributes:
        mu: Number of independent units, above 0: the width of the layer in Theorem 1.
        sigma: Ratio of the standard deviations of the step's pre-activation at rate 1 and the pre-activation.

    References:
        Hartmann (2025), Theorem 1, eq. 3.18 and 3.41.

    Example:
        >>> model = Arctangent(mu=1.0, sigma=1.0)
        >>> round(model.probability(1.0), 4), model.limit
        (0.25, 0.5)
    """

    @staticmethod
    def _share(scaled: Array) -> Array:
        return np.arctan(scaled) / math.pi

    @staticmethod
    def _share_slope(scaled: Array) -> Array:
        return 1 / (math.pi * (1 + np.minimum(scaled, 1e150) ** 2))

    @staticmethod
    def _share_inverse(share: Array) -> Array:
        return np.tan(math.pi * share)


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
    sigma, mu = _line(quantiles, logarithms, np.ones_like(quantiles))
    if not sigma > 0:
        raise ObservationError(_undetermined(model_class, measured, "which do not rise with the rate"))
    model = model_class(mu, sigma)
    with np.errstate(all="ignore"):
        residuals = measured - model._probability(rates)
        design = np.stack([np.ones_like(quantiles), quantiles], axis=1)
        mu_error, sigma_error = _errors(design, np.eye(2), logarithms - design @ (mu, sigma))
    return Fit(model, residuals, mu_error, sigma_error)


def _line(x: Array, y: Array, weights: Array) -> tuple[float, float]:
    """Return slope and intercept of weighted linear least squares; NaN where all x are equal."""
    total = weights.sum()
    middle, height = weights @ x / total, weights @ y / total
    away = x - middle
    with np.errstate(all="ignore"):
        slope = (weights * away) @ (y - height) / (weights @ away**2)
    return float(slope), float(height - slope * middle)


def _two_least(squares: Array, axis: int) -> list[tuple[int, int]]:
    """Return the indices of the least value in each half of a table, as there may be a local minimum in each."""
    found = []
    offset = [0, 0]
    for half in np.array_split(squares, 2, axis=axis):
        row, column = np.unravel_index(half.argmin(), half.shape)
        found.append((int(row) + offset[0], int(column) + offset[1]))
        offset[axis] += half.shape[axis]
    return found


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
            f"a fit at the learning rate {_first(given, inside)}, expected rates above 0 and finite; leave it out"
        )
    inside = (measured >= 0) & (measured <= 1)
    if not inside.all():
        raise ObservationError(
            f"a fit of the probability {_first(measured, inside)} at the learning rate {_first(given, inside)}, "
            "expected one within 0..1; leave out the rates at which the network overflows"
        )
    return given, measured


def _undetermined(model_class: type[TransitionModel], measured: Array, what: str) -> str:
    shown = ", ".join(f"{value:.4g}" for value in measured[:8]) + (", ..." if len(measured) > 8 else "")
    return (
        f"a fit of {model_class.__name__} to {len(measured)} probabilities ({shown}), {what}; measure at more rates, "
        "around the one at which half the patterns change, or on more samples"
    )


def _check_parameter(model_class: type[TransitionModel], name: str, value: float, *, positive: bool) -> None:
    if not math.isfinite(value) or (positive and value <= 0):
        raise ObservationError(
            f"{model_class.__name__}: {name} is {value!r}, expected a finite number{' above 0' if positive else ''}"
        )


def _within(value: float, bound: float) -> float:
    return float(min(max(value, -bound), bound))


def _first(values: Array, inside: Any) -> float:
    """Return the first value that is not inside."""
    return float(values[~inside].flat[0])


def _as_given(values: Array) -> Any:
    return values if values.ndim else float(values)
