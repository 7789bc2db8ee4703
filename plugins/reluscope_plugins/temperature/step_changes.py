"""The states of the metrics of temperature: how many patterns a step changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reluscope.errors import ObservationError
from reluscope_plugins.temperature.distance import changes

if TYPE_CHECKING:
    from reluscope.observation import Observation

State = dict[str, Any]
Array = np.ndarray[Any, Any]


class Distances(NamedTuple):
    """Share of rows whose pattern a step changes.

    Attributes:
        rates: Learning rates `(rate,)`.
        sites: Site to the shares `(rate,)`, NaN where the network leaves the finite numbers.
        rows: Site to the number of rows.
    """

    rates: Array
    sites: dict[str, Array]
    rows: dict[str, int]

    @property
    def mean(self) -> Array:
        """Mean over the sites `(rate,)`."""
        found: Array = np.mean(list(self.sites.values()), axis=0)
        return found


class step_changes:
    """How many rows of each site change their pattern when the optimizer steps at its own rate: exact counts."""

    def measure(self, observation: Observation) -> State:
        """Count one batch.

        Args:
            observation: One batch, with the optimizer's step.

        Returns:
            Rates, whether the network overflowed at them, and for each site the rows that changed and all rows.
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
            site: [first["sites"][site][place] + second["sites"][site][place] for place in (0, 1)]
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
        shares = {site: missing * changed / rows for site, (changed, rows) in state["sites"].items() if rows}
        return Distances(state["rates"], shares, {site: rows for site, (_, rows) in state["sites"].items() if rows})

    def _counted(self, observation: Observation, rates: Array) -> State:
        found, overflows = changes(observation, observation.step, rates.tolist())
        return {"rates": rates, "overflows": overflows, "sites": {site: list(pair) for site, pair in found.items()}}


class rate_changes(step_changes):
    """How many rows of each site change their pattern when the optimizer steps, at many rates.

    Args:
        low: Least learning rate.
        high: Greatest.
        rates: How many, evenly on a logarithmic scale.

    References:
        Hartmann 2025, section 3.2.3: 50 rates from 1e-4 to 1e2.
    """

    def __init__(self, *, low: float = 1e-4, high: float = 1e2, rates: int = 50) -> None:
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
