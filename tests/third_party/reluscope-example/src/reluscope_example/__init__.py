"""A reluscope plugin with one metric and one claim."""

import reluscope as rs
from reluscope.entries import Claim
from reluscope_example.kink_distance import kink_distance


@rs.hookimpl
def reluscope_metrics():
    """Offer the metric."""
    return [kink_distance]


@rs.hookimpl
def reluscope_claims():
    """Offer the claim."""
    return [
        Claim(
            name="kink_reach",
            summary="The ReLU is linear as far as its kink",
            statement="relu(z + d) = relu(z) + [z > 0] d",
            source="the tutorial of reluscope",
            assumption="|d| <= |z|",
            strategy="reluscope_example.kink_reach:changes",
            predicate="reluscope_example.kink_reach:kink_reach",
        )
    ]
