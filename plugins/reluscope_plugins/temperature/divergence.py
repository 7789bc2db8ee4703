"""A warning before a training diverges: the transition of the patterns widens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.temperature.at_rate import NEEDS
from reluscope_plugins.temperature.sensitivity import RATES

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.temperature.step_changes import Distances

WARNING = 0.5
"""From here on `divergence_warning` warns: the width has grown by a factor of 1.65 from one moment to the next."""


@metric(dims=(), units="1", needs=NEEDS, of=RATES, compared_with="previous")
def divergence_warning(found: Distances, before: Distances) -> xr.DataArray:
    r"""Growth of the width of the transition since the moment before, as a logarithm.

    Above `WARNING` = 0.5 the training is about to diverge, or its rate is too high to learn. The lead is a few
    optimizer steps, so it is to be measured at every step; the moment after, the value is small again. Of 18
    trainings that diverged 16 were warned of, 3 to 12 steps before, with a median of 4.5; of 22 at the same rates that
    did not, 16 were, and of 30 at rates that learn, one. That the loss has doubled tells all 18, as early.

    Args:
        found: Shares of the sites now.
        before: The same at the moment measured before.

    Returns:
        $\ln (\sigma / \sigma')$ of the error functions that fit the means over the sites now and before; 0 at the first
        moment; NaN where one cannot be fitted, as when all patterns change at every rate.

    References:
        Hartmann 2025, section 3.2.4, figures 3.19 and 3.21: a rapid rise of sigma foreshadows divergence.
    """
    import xarray as xr

    from reluscope_plugins.temperature.sensitivity import fit_transition

    now, then = (fit_transition(each.rates, each.mean, "error_function") for each in (found, before))
    grown = math.nan if now is None or then is None else math.log(now.model.sigma / then.model.sigma)
    return xr.DataArray(grown)
