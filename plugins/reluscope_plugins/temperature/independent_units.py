"""The transition of a layer of independent units, of which one at least changes its sign."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erf, erfinv

from reluscope_plugins.temperature.transition_model import (
    LARGEST_LOG,
    Array,
    ModelT,
    TransitionModel,
    two_least,
    within,
)


class IndependentUnits(TransitionModel):
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
        number = within(coordinates[1], LARGEST_LOG)
        return cls(math.exp(number), math.exp(within(coordinates[0] - number, 300.0)))

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
        assert issubclass(cls, IndependentUnits)
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
        return [cls(candidates[row, column], sigmas[row]) for row, column in two_least(squares, axis=0)]


@dataclass(frozen=True)
class HalfErrorFunction(IndependentUnits):
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
class Arctangent(IndependentUnits):
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
