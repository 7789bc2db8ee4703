"""Activation patterns: which units are active on which samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.hookspecs import hookimpl
from reluscope_plugins.patterns import class_information, entropy, global_patterns, similarity, total
from reluscope_plugins.patterns.dead_units import dead_units
from reluscope_plugins.patterns.firing_rate import firing_rate

if TYPE_CHECKING:
    from reluscope.entries import Metric


@hookimpl
def reluscope_metrics() -> list[Metric]:
    """Offer the metrics of activation patterns.

    Returns:
        The entries.
    """
    return [
        dead_units,
        firing_rate,
        total.pattern_total,
        total.pattern_false_merge_bound,
        total.most_frequent_pattern,
        similarity.pattern_changes,
        similarity.pattern_turnover,
        similarity.pattern_jaccard_first,
        similarity.pattern_jaccard_previous,
        similarity.pattern_jaccard_last,
        entropy.pattern_entropy,
        entropy.pattern_entropy_corrected,
        entropy.pattern_entropy_interval,
        entropy.pattern_singleton_share,
        entropy.pattern_saturated,
        entropy.relative_pattern_entropy,
        entropy.relative_pattern_entropy_corrected,
        entropy.relative_pattern_entropy_interval,
        class_information.pattern_entropy_given_class,
        class_information.pattern_entropy_given_class_corrected,
        class_information.pattern_entropy_given_class_interval,
        class_information.pattern_class_information,
        class_information.pattern_class_information_corrected,
        class_information.class_pattern_singleton_share,
        class_information.class_pattern_saturated,
        global_patterns.global_pattern_total,
        global_patterns.global_pattern_false_merge_bound,
        global_patterns.global_pattern_entropy,
        global_patterns.global_pattern_entropy_corrected,
        global_patterns.global_pattern_entropy_interval,
        global_patterns.global_pattern_singleton_share,
        global_patterns.global_pattern_saturated,
    ]
