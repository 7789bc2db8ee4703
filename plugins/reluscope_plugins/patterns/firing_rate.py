"""How often each unit is active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=("unit",), units="1", minimum=0.0, maximum=1.0)
class firing_rate:
    r"""Share of samples on which each unit is active.

    $\frac{1}{N} \sum_{n=1}^{N} z_i(x_n)$, where $z_i(x) \in \{0, 1\}$ says whether unit $i$ is active on $x$. A
    convolution's positions count as samples. What is kept are counts, so the result does not depend on how the data
    were split, not even by rounding.
    """

    def measure(self, observation: Observation) -> dict[str, Any]:
        """Count.

        Args:
            observation: One batch.

        Returns:
            Site to the number of rows on which each unit is active, `(unit,)`, and the number of rows.
        """
        patterns = {site: observation.pattern[site] == 1 for site in observation.sites}
        return {site: [active.sum(0).cpu().numpy(), active.shape[0]] for site, active in patterns.items()}

    def merge(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        """Add counts.

        Args:
            first: One state.
            second: Another.

        Returns:
            The state of both.
        """
        return {
            site: [
                sum(state[site][0] for state in (first, second) if site in state),
                sum(state[site][1] for state in (first, second) if site in state),
            ]
            for site in {**first, **second}
        }

    def finish(self, state: dict[str, Any]) -> dict[str, Any]:
        """Divide.

        Args:
            state: The state of all data.

        Returns:
            Site to the share of each unit, `(unit,)`.
        """
        return {site: active / rows for site, (active, rows) in state.items()}
