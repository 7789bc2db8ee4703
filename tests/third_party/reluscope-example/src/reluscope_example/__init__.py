"""A reluscope plugin with one metric."""

import reluscope as rs
from reluscope_example.kink_distance import kink_distance


@rs.hookimpl
def reluscope_metrics():
    """Offer the metric."""
    return [kink_distance]
