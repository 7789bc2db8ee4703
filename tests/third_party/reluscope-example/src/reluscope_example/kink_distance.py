"""How far pre-activations lie from the kink."""

import reluscope as rs


@rs.metric(dims=("site",), units="1", minimum=0.0)
def kink_distance(observation):
    """Mean distance of a site's pre-activations from the kink at zero."""
    return {site: observation.preactivation[site].abs().double().mean() for site in observation.sites}
