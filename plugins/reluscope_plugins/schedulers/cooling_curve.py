"""The curve along which activation patterns cool down: how many of them a step is to change, throughout a training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reluscope.errors import RecipeError, nearest
from reluscope_plugins.schedulers.rates import check_total_steps, positive
from reluscope_plugins.temperature.distance import probability

T_START, GAMMA, WARMUP = 1.6, 1.0, 0.2
"""Defaults."""
CURVES = ("temperature", "probability")
"""What falls from its start to zero: the temperature (eq. 3.45), or the probability (A.4, step 5)."""
BELOW_ONE = 0.99
"""The highest probability that a curve of probabilities starts at, for no rate gives 1 (A.4, step 5)."""


@dataclass(frozen=True)
class CoolingCurve:
    r"""What falls as $(1 - t / t_{max})^\gamma$, after it has risen to that in the warm-up.

    Attributes:
        total_steps: Number of optimizer steps of the whole training.
        t_start: Temperature at the start, base 2; for a curve of probabilities it may be infinite.
        gamma: How the curve bends.
        curve: One of `CURVES`.
        warmup: Share of the training in which it rises.

    Raises:
        RecipeError: If one of them is out of its range.

    References:
        Hartmann 2025, eq. 3.45; section A.4, step 5, for probabilities: $0.99 (1 - t / t_{max})$, which is that of an
        infinite temperature at the start, without warm-up.

    Example:
        >>> CoolingCurve(100, 1.0, 1.0, "temperature", 0.0).probability(0)
        0.5
        >>> CoolingCurve(100, math.inf, 1.0, "probability", 0.0).probability(50)
        0.495
    """

    total_steps: int
    t_start: float
    gamma: float
    curve: str
    warmup: float

    def __post_init__(self) -> None:
        name = "actcoolr"
        check_total_steps(name, self.total_steps)
        if self.curve not in CURVES:
            raise RecipeError(f"scheduler {name!r}: curve is {self.curve!r}. {nearest(str(self.curve), CURVES)}")
        if self.t_start == math.inf and self.curve == "temperature":
            raise RecipeError(
                f"scheduler {name!r}: t_start is inf, expected a finite temperature, for the curve falls from it; give "
                "curve 'probability' to start where every pattern changes"
            )
        t_start = math.inf if self.t_start == math.inf else positive(name, "t_start", self.t_start)
        gamma = positive(name, "gamma", self.gamma)
        number = isinstance(self.warmup, int | float) and not isinstance(self.warmup, bool)
        if not number or not 0 <= self.warmup < 1:
            raise RecipeError(
                f"scheduler {name!r}: warmup is {self.warmup!r}, expected a share from 0 to below 1; for none give 0"
            )
        for key, value in (("t_start", t_start), ("gamma", gamma), ("warmup", float(self.warmup))):
            object.__setattr__(self, key, value)

    @property
    def start(self) -> float:
        """Probability that the curve starts at, without warm-up; none is higher."""
        wanted = float(probability(self.t_start))
        return wanted if self.curve == "temperature" else min(wanted, BELOW_ONE)

    def is_warming(self, step: int) -> bool:
        """Say whether a step is one of the warm-up.

        Args:
            step: Number of the optimizer step.

        Returns:
            Whether it is.
        """
        return step < self.warmup * self.total_steps

    def left(self, step: int) -> float:
        """Return how much is left of the time after the warm-up.

        Args:
            step: Number of the optimizer step, after the warm-up.

        Returns:
            A share, which falls from 1 to 0.
        """
        return (self.total_steps - step) / (self.total_steps * (1 - self.warmup))

    def probability(self, step: int) -> float:
        """Return the probability of a change that is aimed at.

        Args:
            step: Number of the optimizer step, from 0 to `total_steps`.

        Returns:
            The probability.
        """
        left = (1 - step / self.total_steps) ** self.gamma
        if step + 1 < self.warmup * self.total_steps:
            left *= (step + 1) / (self.warmup * self.total_steps)
        return float(probability(self.t_start * left)) if self.curve == "temperature" else self.start * left
