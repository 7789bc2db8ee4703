"""Share of inputs whose region is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import Count, metric

if TYPE_CHECKING:
    from reluscope.observation import Observation


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs={"affine"})
def bounded_region_share(observation: Observation, *, limit: int | None = None) -> Count:
    """Share of samples whose region is bounded.

    Its complement is the share whose region has an infinite volume. See
    `reluscope_plugins.geometry.bounded_regions.region_boundedness` for how it is told, what it costs and how exact it
    is, and `never_bounded` for networks where it is 0 whatever the weights.

    Args:
        observation: One batch, with the affine map.
        limit: Numbers that a sample's walls may hold, walls times inputs; None takes 2097152. More is refused.

    Returns:
        The number of samples whose region is bounded.

    References:
        Johansson 2022, section 2.1.1.
    """
    from reluscope_plugins.geometry.bounded_regions import LIMIT, region_boundedness

    found = region_boundedness(observation, limit=LIMIT if limit is None else limit)
    return Count(int(found.bounded.sum()), of=len(found.bounded))
