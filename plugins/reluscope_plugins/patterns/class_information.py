"""What a site's patterns say about the class of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    from reluscope_plugins.patterns.counts import Distribution
    from reluscope_plugins.patterns.label_information import LabelInformation
    from reluscope_plugins.patterns.multiplicities import Multiplicities

    Found = dict[str, dict[str, Distribution]]

CLASS_COUNTS = "reluscope_plugins.patterns.counts:class_pattern_counts"
_NEEDS = frozenset({"patterns", "targets"})


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs=_NEEDS, of=CLASS_COUNTS)
def class_pattern_saturated(found: Found) -> dict[str, float]:
    """Whether nearly every sample has a pattern that its class shows once.

    Then the entropy given the class, and with it the mutual information, measure the sample size: see
    `reluscope_plugins.patterns.label_information.saturated_given_label`.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to 1 or 0.
    """
    from reluscope_plugins.patterns.label_information import saturated_given_label

    return {site: float(saturated_given_label(_parts(classes))) for site, classes in found.items()}


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs=_NEEDS, of=CLASS_COUNTS)
def class_pattern_singleton_share(found: Found) -> dict[str, float]:
    """Share of distinct pairs of pattern and class that were seen once.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the share.
    """
    shares = {}
    for site, classes in found.items():
        parts = _parts(classes)
        shares[site] = sum(part.seen(1) for part in parts) / sum(part.distinct for part in parts)
    return shares


@metric(dims=("site",), units="bit", minimum=0.0, needs=_NEEDS, of=CLASS_COUNTS)
def pattern_entropy_given_class_corrected(found: Found) -> dict[str, float]:
    """Entropy of the patterns given the class, corrected for the patterns not seen.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the entropy.
    """
    from reluscope_plugins.patterns.label_information import entropy_given_label

    return {
        site: entropy_given_label(_parts(classes), corrected=True, limit=classes[""].limit)
        for site, classes in found.items()
    }


@metric(dims=("site", "bound"), units="bit", minimum=0.0, needs=_NEEDS, of=CLASS_COUNTS)
def pattern_entropy_given_class_interval(found: Found) -> dict[str, tuple[float, float]]:
    """Interval of the entropy of the patterns given the class: the weighted sum of the 95 % intervals of the classes.

    It is wider than an interval of the sum needs to be, as the classes do not err in the same direction.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the lower and the upper end.
    """
    from reluscope_plugins.patterns.estimators import interval

    ends = {}
    for site, classes in found.items():
        total = classes[""].samples
        parts = [(part.samples / total, interval(part, limit=classes[""].limit)) for part in _parts(classes)]
        ends[site] = (sum(share * low for share, (low, _) in parts), sum(share * high for share, (_, high) in parts))
    return ends


@metric(
    dims=("site",),
    units="bit",
    minimum=0.0,
    needs=_NEEDS,
    of=CLASS_COUNTS,
    brings=(
        pattern_entropy_given_class_corrected,
        pattern_entropy_given_class_interval,
        class_pattern_singleton_share,
        class_pattern_saturated,
    ),
)
def pattern_entropy_given_class(found: Found) -> dict[str, float]:
    r"""Entropy of a site's patterns given the class of the sample.

    $\sum_y p(y) H(A \mid y)$ with the share $p(y)$ of class $y$ and the activation pattern entropy among its samples.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the entropy.

    References:
        Cover and Thomas 2006, eq. 2.10.
    """
    from reluscope_plugins.patterns.label_information import entropy_given_label

    return {site: entropy_given_label(_parts(classes)) for site, classes in found.items()}


@metric(dims=("site",), units="bit", minimum=0.0, needs=_NEEDS, of=CLASS_COUNTS)
def pattern_class_information_corrected(found: Found) -> dict[str, float]:
    """Mutual information of pattern and class, each entropy corrected for the patterns not seen.

    What is left of its bias is upwards: a value above 0 alone shows no dependence.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the information.
    """
    return {site: _information(classes).corrected for site, classes in found.items()}


@metric(
    dims=("site",),
    units="bit",
    minimum=0.0,
    needs=_NEEDS,
    of=CLASS_COUNTS,
    brings=(pattern_class_information_corrected, class_pattern_singleton_share, class_pattern_saturated),
)
def pattern_class_information(found: Found) -> dict[str, float]:
    r"""Mutual information of a site's pattern with the class of the sample.

    $H(A) - H(A \mid Y)$, of the samples at hand. With few samples for each class it is far too high: see
    `class_pattern_saturated` and the corrected value.

    Args:
        found: Site to class to its distribution of patterns.

    Returns:
        Site to the information.

    References:
        Cover and Thomas 2006, eq. 2.43.
    """
    return {site: _information(classes).plug_in for site, classes in found.items()}


def _parts(classes: dict[str, Distribution]) -> list[Multiplicities]:
    return [patterns.multiplicities for label, patterns in classes.items() if label]


def _information(classes: dict[str, Distribution]) -> LabelInformation:
    from reluscope_plugins.patterns.label_information import label_information

    return label_information(classes[""].multiplicities, _parts(classes), limit=classes[""].limit)
