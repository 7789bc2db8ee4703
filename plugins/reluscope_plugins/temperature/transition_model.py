"""What the transition models have in common: a probability, its inverses, and what a fit asks of them."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, overload

import numpy as np
import numpy.typing as npt

from reluscope.errors import ObservationError

Array = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating[Any]] | Sequence[float]
ModelT = TypeVar("ModelT", bound="TransitionModel")

LARGEST_LOG = 30.0
"""Greatest magnitude of a coordinate whose exponential is a parameter."""


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
            raise ObservationError(f"{outside(rates, rates >= 0)} is no learning rate, expected a number of at least 0")
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
                f"{self} gives no probability of {outside(probabilities, inside)} at any rate, expected one within "
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
            raise ObservationError(
                f"no mu for the learning rate {outside(rates, inside)}, expected one above 0, finite"
            )
        inside = (probabilities > 0) & (probabilities < 1)
        if not np.all(inside):
            raise ObservationError(
                f"no mu for a probability of {outside(probabilities, inside)}, expected one strictly between 0 and 1; "
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


def _check_parameter(model_class: type[TransitionModel], name: str, value: float, *, positive: bool) -> None:
    if not math.isfinite(value) or (positive and value <= 0):
        raise ObservationError(
            f"{model_class.__name__}: {name} is {value!r}, expected a finite number{' above 0' if positive else ''}"
        )


def within(value: float, bound: float) -> float:
    """Bring a number into an interval around zero.

    Args:
        value: The number.
        bound: Greatest magnitude.

    Returns:
        The nearest number of the interval.
    """
    return float(min(max(value, -bound), bound))


def outside(values: Array, inside: Any) -> float:
    """Return the first value that is out of its range.

    Args:
        values: Numbers of any shape.
        inside: Which of them are in range, of the same shape; not all.

    Returns:
        The first that is not.
    """
    return float(values[~inside].flat[0])


def line(x: Array, y: Array, weights: Array) -> tuple[float, float]:
    """Fit a line by weighted linear least squares.

    Args:
        x: Abscissae `(point,)`.
        y: Ordinates `(point,)`.
        weights: Weights of the squares `(point,)`.

    Returns:
        Slope and intercept; NaN where all abscissae are equal.
    """
    total = weights.sum()
    middle, height = weights @ x / total, weights @ y / total
    away = x - middle
    with np.errstate(all="ignore"):
        slope = (weights * away) @ (y - height) / (weights @ away**2)
    return float(slope), float(height - slope * middle)


def two_least(squares: Array, axis: int) -> list[tuple[int, int]]:
    """Find the least value in each half of a table, as there may be a local minimum in each.

    Args:
        squares: A table.
        axis: 0 or 1: along which it is halved.

    Returns:
        Row and column in the table, of each half.
    """
    found = []
    offset = [0, 0]
    for half in np.array_split(squares, 2, axis=axis):
        row, column = np.unravel_index(half.argmin(), half.shape)
        found.append((int(row) + offset[0], int(column) + offset[1]))
        offset[axis] += half.shape[axis]
    return found


def _as_given(values: Array) -> Any:
    return values if values.ndim else float(values)
