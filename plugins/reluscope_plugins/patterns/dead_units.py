"""Which units never fire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"})
class dead_units:
    r"""Share of a site's units that are never active on the data.

    $\frac{1}{m} |\{i : \sum_n z_i(x_n) = 0\}|$ for a site of $m$ units, where $z_i(x) \in \{0, 1\}$ says whether unit
    $i$ is active on $x$. A convolution's unit is a channel: it is dead where no position of any sample makes it active.
    Of an activation with three states (ReLU6, hardtanh) only the middle one, which passes the gradient, is active.
    """

    def measure(self, observation: Observation) -> dict[str, Any]:
        """See which units fire.

        Args:
            observation: One batch.

        Returns:
            Site to whether each unit is active at least once, bool `(unit,)`.
        """
        return {site: (observation.pattern[site] == 1).any(0).cpu().numpy() for site in observation.sites}

    def merge(self, first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
        """Join.

        Args:
            first: One state.
            second: Another.

        Returns:
            The state of both: active in one of them.
        """
        both = {site: first[site] | second[site] for site in first if site in second}
        return {**first, **second, **both}

    def finish(self, state: dict[str, Any]) -> dict[str, float]:
        """Count the rest.

        Args:
            state: The state of all data.

        Returns:
            Site to its share of units that never fired.
        """
        return {site: float((~fired).mean()) for site, fired in state.items()}
