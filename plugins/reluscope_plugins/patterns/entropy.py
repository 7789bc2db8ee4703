"""Entropy of a site's patterns, and how far the number can be trusted."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.patterns.total import COUNTS, pattern_false_merge_bound

if TYPE_CHECKING:
    from reluscope_plugins.patterns.counts import Distribution

    Found = dict[str, Distribution]


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS)
def pattern_singleton_share(found: Found) -> dict[str, float]:
    """Share of a site's distinct patterns that were seen once.

    Near 1 the samples are too few to tell the distribution of patterns: most of it was not seen.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the share.
    """
    from reluscope_plugins.patterns.multiplicities import singleton_share

    return {site: singleton_share(patterns.multiplicities) for site, patterns in found.items()}


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs={"patterns"}, of=COUNTS)
def pattern_saturated(found: Found) -> dict[str, float]:
    """Whether nearly every sample has a pattern of its own, so that an entropy measures the sample size.

    1 where at least nine samples in ten have a pattern that no other has: see
    `reluscope_plugins.patterns.multiplicities.saturated`.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to 1 or 0.
    """
    from reluscope_plugins.patterns.multiplicities import saturated

    return {site: float(saturated(patterns.multiplicities)) for site, patterns in found.items()}


@metric(dims=("site",), units="bit", minimum=0.0, needs={"patterns"}, of=COUNTS)
def pattern_entropy_corrected(found: Found) -> dict[str, float]:
    """Activation pattern entropy, corrected for the patterns not seen.

    See `reluscope_plugins.patterns.estimators.corrected_entropy`.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the entropy.

    References:
        Chao, Wang and Jost 2013, eq. 7.
    """
    from reluscope_plugins.patterns.estimators import corrected_entropy

    return {site: corrected_entropy(patterns.multiplicities, limit=patterns.limit) for site, patterns in found.items()}


@metric(dims=("site", "bound"), units="bit", minimum=0.0, needs={"patterns"}, of=COUNTS)
def pattern_entropy_interval(found: Found) -> dict[str, tuple[float, float]]:
    """Confidence interval, at 95 %, of the activation pattern entropy around its corrected value.

    For independent samples; the positions of a convolution are not, so there it is too narrow. See
    `reluscope_plugins.patterns.estimators.interval`.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the lower and the upper end.
    """
    from reluscope_plugins.patterns.estimators import interval

    return {site: interval(patterns.multiplicities, limit=patterns.limit) for site, patterns in found.items()}


@metric(
    dims=("site",),
    units="bit",
    minimum=0.0,
    needs={"patterns"},
    of=COUNTS,
    brings=(
        pattern_entropy_corrected,
        pattern_entropy_interval,
        pattern_singleton_share,
        pattern_saturated,
        pattern_false_merge_bound,
    ),
)
def pattern_entropy(found: Found) -> dict[str, float]:
    r"""Activation pattern entropy: entropy of a site's patterns on the data.

    $-\sum_i \frac{c_i}{N} \log_2 \frac{c_i}{N}$ with the counts $c_i$ and $N = \sum_i c_i$ samples. The source prints
    $N_l = 2^{d_l}$, the number of possible patterns, in place of $N$: then the terms are no distribution; the bound
    $\log_2 N$ that it states itself holds with $N$.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the entropy.

    References:
        Hartmann 2025, eq. 3.9.
    """
    from reluscope_plugins.patterns.estimators import plug_in_entropy

    return {site: plug_in_entropy(patterns.multiplicities) for site, patterns in found.items()}


@metric(dims=("site",), units="1", minimum=0.0, needs={"patterns"}, of=COUNTS)
def relative_pattern_entropy_corrected(found: Found) -> dict[str, float]:
    """Corrected activation pattern entropy, over the greatest that the sample size and the width allow.

    Above 1 where the corrected entropy exceeds what so few samples could show.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the ratio.
    """
    return _relative(found, pattern_entropy_corrected.implementation()(found))


@metric(dims=("site", "bound"), units="1", minimum=0.0, needs={"patterns"}, of=COUNTS)
def relative_pattern_entropy_interval(found: Found) -> dict[str, tuple[float, float]]:
    """Confidence interval, at 95 %, of the activation pattern entropy, over the greatest that can be seen.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the lower and the upper end.
    """
    ends = pattern_entropy_interval.implementation()(found)
    lower, upper = ({site: both[end] for site, both in ends.items()} for end in (0, 1))
    return {
        site: (low, high)
        for (site, low), high in zip(_relative(found, lower).items(), _relative(found, upper).values(), strict=True)
    }


@metric(
    dims=("site",),
    units="1",
    minimum=0.0,
    maximum=1.0,
    needs={"patterns"},
    of=COUNTS,
    brings=(
        relative_pattern_entropy_corrected,
        relative_pattern_entropy_interval,
        pattern_singleton_share,
        pattern_saturated,
        pattern_false_merge_bound,
    ),
)
def relative_pattern_entropy(found: Found) -> dict[str, float]:
    r"""Activation pattern entropy over the greatest that the sample size and the width allow.

    $H / \min(d, \log_2 N)$ for $d$ units of two states and $N$ samples; of three states $d \log_2 3$. 0 for one
    sample, whose entropy can be nothing else.

    Args:
        found: Site to its distribution of patterns.

    Returns:
        Site to the ratio.

    References:
        Hartmann 2025, eq. 3.10.
    """
    return _relative(found, pattern_entropy.implementation()(found))


def _relative(found: Found, entropies: dict[str, float]) -> dict[str, float]:
    greatest = {site: min(patterns.limit, math.log2(patterns.samples)) for site, patterns in found.items()}
    return {site: value / greatest[site] if greatest[site] else 0.0 for site, value in entropies.items()}
