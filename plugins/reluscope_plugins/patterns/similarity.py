"""How the patterns of two moments differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.patterns.total import COUNTS

if TYPE_CHECKING:
    from reluscope_plugins.patterns.counts import Distribution

    Found = dict[str, Distribution]


@metric(dims=("site",), units="1", minimum=-1.0, needs={"patterns"}, of=COUNTS, compared_with="previous")
def pattern_changes(found: Found, before: Found) -> dict[str, float]:
    r"""Relative growth of the number of distinct patterns since the moment before.

    $(\sum_i \delta_{>0}(c'_i) - \sum_i \delta_{>0}(c_i)) / \sum_i \delta_{>0}(c_i)$ with the counts $c$ before and $c'$
    now: positive where new patterns outnumber those that are gone. The source prints the numerator with the opposite
    sign and leaves open which of the two counts divides; it calls this the symmetric difference, of which it is only
    the balance: see `pattern_turnover`.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the relative growth.

    References:
        Hartmann 2025, eq. 3.6.
    """
    return {site: patterns.distinct / before[site].distinct - 1.0 for site, patterns in found.items() if site in before}


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS, compared_with="previous")
def pattern_turnover(found: Found, before: Found) -> dict[str, float]:
    r"""Share of patterns that came or went since the moment before.

    $|P \triangle P'| / |P \cup P'|$ for the sets of patterns $P$ before and $P'$ now: what the source describes in
    words beside its eq. 3.6.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the share.

    References:
        Hartmann 2025, section 3.1.2, Activation Pattern Changes.
    """
    from reluscope_plugins.patterns.table import shared

    shares = {}
    for site, patterns in found.items():
        if site in before:
            common = len(shared(patterns.table, before[site].table)[0])
            union = patterns.distinct + before[site].distinct - common
            shares[site] = 1.0 - common / union
    return shares


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS, compared_with="first")
def pattern_jaccard_first(found: Found, first: Found) -> dict[str, float]:
    r"""Weighted Jaccard similarity of a site's patterns to those of the first moment.

    $\sum_i \min(c_i, c'_i) / \sum_i \max(c_i, c'_i)$ with the counts $c$ then and $c'$ now: 1 where all patterns occur
    equally often, 0 where none is common. Both moments should be measured on the same samples.

    Args:
        found: Site to its distribution of patterns now.
        first: The same at the first moment.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, first)


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS, compared_with="previous")
def pattern_jaccard_previous(found: Found, before: Found) -> dict[str, float]:
    """Weighted Jaccard similarity of a site's patterns to those of the moment before.

    As `pattern_jaccard_first`, with the moment measured before.

    Args:
        found: Site to its distribution of patterns now.
        before: The same at the moment measured before.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, before)


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS, compared_with="last")
def pattern_jaccard_last(found: Found, last: Found) -> dict[str, float]:
    """Weighted Jaccard similarity of a site's patterns to those of the last moment.

    As `pattern_jaccard_first`, with the last moment: how far the patterns have converged. Each moment's counts are kept
    until the run ends, so one run suffices.

    Args:
        found: Site to its distribution of patterns.
        last: The same at the last moment.

    Returns:
        Site to the similarity.

    References:
        Hartmann 2025, eq. 3.7.
    """
    return jaccard(found, last)


def jaccard(found: Found, other: Found) -> dict[str, float]:
    """Compare two moments by the weighted Jaccard similarity.

    Args:
        found: Site to its distribution of patterns.
        other: The same at another moment.

    Returns:
        Site to the similarity, for the sites of both.

    References:
        Hartmann 2025, eq. 3.7.
    """
    import numpy as np

    from reluscope_plugins.patterns.table import shared

    similarities = {}
    for site, patterns in found.items():
        if site in other:
            least = int(np.minimum(*shared(patterns.table, other[site].table)).sum())
            similarities[site] = least / (patterns.samples + other[site].samples - least)
    return similarities
