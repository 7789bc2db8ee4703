"""A warning before a training diverges: the transition of the patterns widens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.temperature.at_rate import NEEDS
from reluscope_plugins.temperature.sensitivity import RATES

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.temperature.step_changes import Distances


@metric(dims=(), units="1", needs=NEEDS, of=RATES, compared_with="previous")
def divergence_warning(found: Distances, before: Distances) -> xr.DataArray:
    r"""Growth of the width of the transition since the moment before.

    Args:
        found: Shares of the sites now.
        before: The same at the moment measured before.

    Returns:
        $\ln (\sigma / \sigma')$ of the error function that fits the mean over the sites.

    References:
        Hartmann 2025, section 3.2.4, figures 3.19 and 3.21.
    """
    import numpy as np
    import xarray as xr

    from reluscope_plugins.temperature.sensitivity import fit_transition

    now, then = (fit_transition(each.rates, each.mean, "error_function") for each in (found, before))
    return xr.DataArray(np.nan if now is None or then is None else float(np.log(now.model.sigma / then.model.sigma)))
