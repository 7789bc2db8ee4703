"""How many patterns there are, and how often the most frequent one comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.patterns.counts import Distribution

COUNTS = "reluscope_plugins.patterns.counts:pattern_counts"


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS)
def pattern_false_merge_bound(found: dict[str, Distribution]) -> dict[str, float]:
    r"""Bound on the probability that any two different patterns of a site were counted as one.

    Patterns of up to 64 bits are counted as they are: 0. Longer ones go by a universal 64-bit hash: for $n$ distinct
    patterns $\binom{n}{2} 2^{-64}$, at most 1; and 0 where the count is `exact`.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the bound.
    """
    from reluscope_plugins.patterns.keys import false_merge_bound

    return {
        site: 0.0 if patterns.exact else false_merge_bound(patterns.distinct, patterns.bits)
        for site, patterns in found.items()
    }


@metric(dims=("site",), units="1", minimum=0.0, needs={"patterns"}, of=COUNTS, brings=(pattern_false_merge_bound,))
def pattern_total(found: dict[str, Distribution]) -> xr.DataArray:
    r"""Number of distinct activation patterns of a site on the data.

    $\sum_i \delta_{>0}(c_i)$, where $c_i$ counts how often pattern $i$ occurs. On a grid in a plane this is the number
    of activation cells that the grid hits.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the number; the attribute `false_merge_probability` bounds the probability that in any site two
        different patterns were counted as one.

    References:
        Hartmann 2025, eq. 3.5.
    """
    import xarray as xr

    bounds: dict[str, Any] = pattern_false_merge_bound.implementation()(found)
    return xr.DataArray(
        [float(patterns.distinct) for patterns in found.values()],
        dims="site",
        coords={"site": list(found)},
        attrs={"false_merge_probability": min(1.0, sum(bounds.values()))},
    )


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    brings=(pattern_false_merge_bound,),
)
def most_frequent_pattern(found: dict[str, Distribution]) -> dict[str, float]:
    r"""Share of the most frequent activation pattern.

    $\max_i c_i / \sum_i c_i$, where $c_i$ counts how often pattern $i$ occurs.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the share of samples.

    References:
        Hartmann 2025, eq. 3.8.
    """
    return {site: float(patterns.multiplicities.count[-1]) / patterns.samples for site, patterns in found.items()}
