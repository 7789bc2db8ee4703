"""Patterns of the whole network: all sites and positions of a sample together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope_plugins.patterns.counts import Distribution

GLOBAL_COUNTS = "reluscope_plugins.patterns.counts:global_pattern_counts"


@metric(units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=GLOBAL_COUNTS)
def global_pattern_false_merge_bound(found: Distribution) -> float:
    """Bound on the probability that any two different global patterns were counted as one.

    Args:
        found: The distribution of global patterns.

    Returns:
        The number of pairs times 2^-64, at most 1.
    """
    from reluscope_plugins.patterns.keys import false_merge_bound

    return false_merge_bound(found.distinct, found.bits)


@metric(units="1", minimum=0.0, needs={"patterns"}, of=GLOBAL_COUNTS, brings=(global_pattern_false_merge_bound,))
def global_pattern_total(found: Distribution) -> float:
    """Number of distinct global activation patterns on the data: of linear regions that they lie in.

    Args:
        found: The distribution of global patterns.

    Returns:
        The number.

    References:
        Hartmann 2025, definition 3 and eq. 3.5.
    """
    return float(found.distinct)


@metric(units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=GLOBAL_COUNTS)
def global_pattern_singleton_share(found: Distribution) -> float:
    """Share of the distinct global patterns that were seen once.

    Args:
        found: The distribution of global patterns.

    Returns:
        The share.
    """
    from reluscope_plugins.patterns.multiplicities import singleton_share

    return singleton_share(found.multiplicities)


@metric(units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=GLOBAL_COUNTS)
def global_pattern_saturated(found: Distribution) -> float:
    """Whether nearly every sample has a global pattern of its own, so that the entropy measures the sample size.

    Args:
        found: The distribution of global patterns.

    Returns:
        1 or 0.
    """
    from reluscope_plugins.patterns.multiplicities import saturated

    return float(saturated(found.multiplicities))


@metric(units="bit", minimum=0.0, needs={"patterns"}, of=GLOBAL_COUNTS)
def global_pattern_entropy_corrected(found: Distribution) -> float:
    """Entropy of the global patterns, corrected for the patterns not seen.

    Args:
        found: The distribution of global patterns.

    Returns:
        The entropy.

    References:
        Chao, Wang and Jost 2013.
    """
    from reluscope_plugins.patterns.estimators import corrected_entropy

    return corrected_entropy(found.multiplicities, limit=found.limit)


@metric(dims=("bound",), units="bit", minimum=0.0, needs={"patterns"}, of=GLOBAL_COUNTS)
def global_pattern_entropy_interval(found: Distribution) -> tuple[float, float]:
    """Confidence interval, at 95 %, of the entropy of the global patterns around its corrected value.

    Args:
        found: The distribution of global patterns.

    Returns:
        The lower and the upper end.
    """
    from reluscope_plugins.patterns.estimators import interval

    return interval(found.multiplicities, limit=found.limit)


@metric(
    units="bit",
    minimum=0.0,
    needs={"patterns"},
    of=GLOBAL_COUNTS,
    brings=(
        global_pattern_entropy_corrected,
        global_pattern_entropy_interval,
        global_pattern_singleton_share,
        global_pattern_saturated,
        global_pattern_false_merge_bound,
    ),
)
def global_pattern_entropy(found: Distribution) -> float:
    """Entropy of the global activation patterns on the data.

    Args:
        found: The distribution of global patterns.

    Returns:
        The entropy.

    References:
        Hartmann 2025, definition 3 and eq. 3.9.
    """
    from reluscope_plugins.patterns.estimators import plug_in_entropy

    return plug_in_entropy(found.multiplicities)
