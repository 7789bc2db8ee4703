"""How often each unit is active."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=("unit",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"})
def firing_rate(observation: Observation) -> dict[str, Count]:
    r"""Share of samples on which each unit is active.

    $\frac{1}{N} \sum_{n=1}^{N} z_i(x_n)$, where $z_i(x) \in \{0, 1\}$ says whether unit $i$ is active on $x$. A
    convolution's positions count as samples. What is kept are counts, so the result does not depend on how the data
    were split, not even by rounding.

    Args:
        observation: One batch.

    Returns:
        Site to the number of rows on which each unit is active, `(unit,)`, of all rows.
    """
    active = {site: observation.pattern[site] == 1 for site in observation.sites}
    return {site: Count(rows.sum(0), of=len(rows)) for site, rows in active.items()}
