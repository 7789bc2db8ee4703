"""The transition as a cumulative normal distribution in the logarithm of the rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from reluscope_plugins.temperature.transition_model import (
    LARGEST_LOG,
    Array,
    TransitionModel,
    line,
    two_least,
    within,
)


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
        return cls(coordinates[0], math.exp(within(coordinates[1], LARGEST_LOG)))

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
        slope, intercept = line(logarithms[inner], quantiles, weights)
        lowest, highest = logarithms.min(), logarithms.max()
        width = highest - lowest
        middles = np.linspace(lowest, highest, 13)[:, None, None]
        widths = (width * np.geomspace(0.01, 2.0, 8))[None, :, None]
        squares = ((ndtr((logarithms - middles) / widths) - probabilities) ** 2).sum(axis=2)
        starts = [cls(middles[row, 0, 0], widths[0, column, 0]) for row, column in two_least(squares, axis=1)]
        if slope > 0 and math.isfinite(intercept / slope):
            starts.append(cls(-intercept / slope, 1 / slope))
        return starts
