"""The states of the metrics of temperature: how many patterns a step changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reluscope.errors import ObservationError
from reluscope_plugins.temperature.distance import changes, share_of_width

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, Any]
Array = np.ndarray[Any, Any]


class Distances(NamedTuple):
    """Share of rows whose pattern a step changes.

    Attributes:
        rates: Learning rates `(rate,)`.
        sites: Site to the shares `(rate,)`, NaN where the network leaves the finite numbers.
    """

    rates: Array
    sites: dict[str, Array]

    @property
    def mean(self) -> Array:
        """Mean over the sites `(rate,)`."""
        found: Array = np.mean(list(self.sites.values()), axis=0)
        return found


class step_changes:
    r"""How many rows of each site change their pattern when the optimizer steps at its own rate: exact counts.

    Args:
        width: Units of the patterns that are asked for: at the first site of so many independent units of which the
            same share changes, at the l-th of $\sqrt{l}$ times fewer, as `ActCooLR` has them by default. 0 takes the
            sites' own patterns.

    Raises:
        ObservationError: If the width is no integer of at least 0.
    """

    def __init__(self, *, width: int = 0) -> None:
        if not isinstance(width, int) or isinstance(width, bool) or width < 0:
            raise ObservationError(
                f"width is {width!r}, expected an integer of at least 0; 0 takes the patterns of the network's own "
                "sites, 64 those that ActCooLR prescribes the temperature of"
            )
        self.width = width

    def measure(self, observation: Observation) -> State:
        """Count one batch.

        Args:
            observation: One batch, with the optimizer's step.

        Returns:
            Rates, whether the network overflowed at them, and for each site the rows that changed and all rows; with a
            width the units of all rows in place of the rows; and which site it is.
        """
        return self._counted(observation, np.array([observation.step.rate]))

    def merge(self, first: State, second: State) -> State:
        """Add two counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The counts of both.

        Raises:
            ObservationError: If they are of different rates.
        """
        if not np.array_equal(first["rates"], second["rates"]):
            raise ObservationError(
                f"counts at learning rates {first['rates']} and {second['rates']}, expected the same; measure all "
                "batches with one step"
            )
        sites = {
            site: [
                *(first["sites"][site][place] + second["sites"][site][place] for place in (0, 1)),
                min(first["sites"][site][2], second["sites"][site][2]),
            ]
            if site in first["sites"] and site in second["sites"]
            else list(first["sites"].get(site) or second["sites"][site])
            for site in dict.fromkeys([*first["sites"], *second["sites"]])
        }
        overflows = first["overflows"] + second["overflows"]
        return {"rates": first["rates"], "overflows": overflows, "sites": sites}

    def finish(self, state: State) -> Distances:
        """Divide.

        Args:
            state: A count.

        Returns:
            The shares.
        """
        missing = np.where(state["overflows"] > 0, np.nan, 1.0)
        shares = {site: missing * changed / size for site, (changed, size, _) in state["sites"].items() if size}
        if self.width:
            depths = {site: depth for site, (_, _, depth) in state["sites"].items()}
            shares = {site: share_of_width(share, self.width, depths[site]) for site, share in shares.items()}
        return Distances(state["rates"], shares)

    def _counted(self, observation: Observation, rates: Array) -> State:
        found, overflows = changes(observation, observation.step, rates.tolist(), units=self.width > 0)
        sites = {site: [*pair, depth] for depth, (site, pair) in enumerate(found.items(), start=1)}
        return {"rates": rates, "overflows": overflows, "sites": sites}


class rate_changes(step_changes):
    """How many rows of each site change their pattern when the optimizer steps, at many rates.

    Args:
        low: Least learning rate.
        high: Greatest.
        rates: How many, evenly on a logarithmic scale.
        width: As `step_changes` has it.

    Raises:
        ObservationError: If the rates do not rise, or are fewer than two, or the width is no integer of at least 0.

    References:
        Hartmann 2025, section 3.2.3: 50 rates from 1e-4 to 1e2.
    """

    def __init__(self, *, low: float = 1e-4, high: float = 1e2, rates: int = 50, width: int = 0) -> None:
        super().__init__(width=width)
        if not 0 < low < high or rates < 2:
            raise ObservationError(
                f"low is {low!r}, high {high!r} and rates {rates!r}, expected 0 < low < high and at least 2 rates"
            )
        self.rates = np.geomspace(low, high, rates)

    def measure(self, observation: Observation) -> State:
        """Count one batch.

        Args:
            observation: One batch, with the optimizer's step.

        Returns:
            As `step_changes` has it.
        """
        return self._counted(observation, self.rates)
