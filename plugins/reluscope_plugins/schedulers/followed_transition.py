"""The transition of a training network, as far as it is known: fitted once, and corrected by single measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reluscope.context import Diverged
from reluscope.errors import ObservationError
from reluscope_plugins.temperature.transition import SATURATED, ErrorFunction, fit

FLOOR, CEILING = 1e-10, 1e10
"""Least and greatest learning rate; beyond the greatest the training has diverged."""
FIRST_GUESS = (-1.0, 1.0)
"""Mu and sigma before anything was measured."""
LARGE_ERROR, ERRORS = 2.5, 5
"""By how much a single measurement may move mu, and how many times in a row it may be more."""
INFORMATIVE = 10.0
"""Patterns that are expected to change, and not to change, where a measurement of 0 or 1 contradicts the model."""


@dataclass
class FollowedTransition:
    r"""$P(\eta) = \Phi((\ln \eta - \mu) / \sigma)$, the mean over some sites, throughout a training.

    Attributes:
        mu: Natural logarithm of the rate that changes half of the patterns; NaN where there are no sites.
        sigma: Width of the transition, in the same units.
        errors: How many of the last measurements, in a row, moved mu by more than `LARGE_ERROR`.
        measured: Last measured probability at the rate in force; NaN before.
        reach: Rate at which the last measured step would have been as long as the weights are; infinite before.
        peak: Highest rate of the warm-up; 0 before.

    References:
        Hartmann 2025, eq. 3.17, section A.4.
    """

    mu: float = FIRST_GUESS[0]
    sigma: float = FIRST_GUESS[1]
    errors: int = 0
    measured: float = math.nan
    reach: float = math.inf
    peak: float = 0.0

    def model(self) -> ErrorFunction:
        """Return the model.

        Returns:
            The transition as it is thought to be now.
        """
        return ErrorFunction(self.mu, self.sigma)

    def rate(self, wanted: float, step: int, limit: float = math.inf) -> float:
        """Return the learning rate for a probability.

        Args:
            wanted: Probability of a change.
            step: Number of the optimizer step, for the message.
            limit: The rate that it may not exceed.

        Returns:
            The rate, at least `FLOOR` and at most the limit; NaN where there are no sites.

        Raises:
            Diverged: If it is above `CEILING`.
        """
        if math.isnan(self.mu):
            return math.nan
        rate = self.model().rate(wanted) if wanted > 0 else 0.0
        if not min(rate, limit) <= CEILING:
            raise Diverged(
                f"ActCooLR: at step {step} a share {wanted:.3g} of changed patterns would take a learning rate of "
                f"{rate:.3g} (mu {self.mu:.3g}, sigma {self.sigma:.3g}), expected at most {CEILING:g}: the training "
                "diverges; start at a lower t_start"
            )
        return max(FLOOR, float(min(rate, limit)))

    def correct(self, rate: float, share: float, patterns: float) -> tuple[float, bool]:
        """Correct mu by one measurement.

        Args:
            rate: Learning rate at which it was taken.
            share: Share of changed patterns; NaN where there are no sites.
            patterns: Of how many patterns it is.

        Returns:
            By how much mu moved, and whether the model is contradicted and has to be fitted anew.
        """
        self.measured = share
        if math.isnan(share) or math.isnan(self.mu):
            return 0.0, False
        # of fewer than two patterns no share outside a quarter and three quarters can be told
        edge = 0.5 / max(patterns, 2.0)
        mu = float(ErrorFunction.mu_for(rate, float(np.clip(share, edge, 1 - edge)), self.sigma))
        if (share <= SATURATED and mu < self.mu) or (share >= 1 - SATURATED and mu > self.mu):
            return 0.0, False  # that none changed, or all, is no news
        expected = float(self.model().probability(rate))
        contradicted = not usable(share) and min(expected, 1 - expected) * patterns >= INFORMATIVE
        moved = abs(mu - self.mu)
        self.errors = self.errors + 1 if moved > LARGE_ERROR else 0
        self.mu = mu
        return moved, contradicted or self.errors >= ERRORS

    def refit(self, points: list[tuple[float, float]], step: int, *, first: bool) -> None:
        """Fit both parameters.

        Args:
            points: Rates, rising, and the shares measured there.
            step: Number of the optimizer step, for the message.
            first: Whether nothing was fitted before.

        Raises:
            Diverged: If no rate changes some patterns and leaves others.
        """
        self.errors = 0
        inside = [(rate, share) for rate, share in points if usable(share)]
        if inside:
            try:
                model = fit(ErrorFunction, *map(list, zip(*inside, strict=True)), method="probit").model
            except ObservationError:  # one point, or shares that fall as the rate rises
                nearest_half = min(inside, key=lambda point: abs(point[1] - 0.5))
                self.mu = float(ErrorFunction.mu_for(*nearest_half, self.sigma))
            else:
                self.mu, self.sigma = model.mu, model.sigma
            return
        above = [rate for rate, share in points if share > SATURATED]
        below = [rate for rate, share in points if share <= SATURATED and rate < min(above, default=math.inf)]
        if below and not above and not first:
            return  # what there was to learn is learnt: the model stays as it was
        if not below or not above:
            raise Diverged(
                f"ActCooLR: at step {step} a step changes {'no' if below else 'every'} pattern at all learning rates "
                f"from {points[0][0]:.3g} to {points[-1][0]:.3g}, expected some between; "
                + ("its gradients vanish" if below else "the training diverges; start at a lower rate or t_start")
            )
        # nothing between: the transition is a step
        self.mu = (math.log(max(below)) + math.log(min(above))) / 2
        self.sigma = math.log(min(above) / max(below)) / 4


def usable(share: float) -> bool:
    """Say whether a share can take part in a fit.

    Args:
        share: A share of changed patterns.

    Returns:
        Whether some patterns changed and some did not.
    """
    return SATURATED < share < 1 - SATURATED
