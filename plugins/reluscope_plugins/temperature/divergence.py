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

    Above `WARNING` = 0.5 the training is about to diverge, or has come apart. The lead is a few optimizer steps, so it
    is to be measured at every step; the moment after, the value is small again.

    Measured at every step, at 25 rates, on 39 trainings of a dense network of four hidden layers of 64 units without
    normalisation on handwritten digits (SGD, batches of 64, constant and rising rates, some with momentum, five seeds):
    of 10 trainings that left the finite numbers 8 were warned of, 2 to 8 steps before the loss was not finite, the
    median of the 8 is 4. Of 20 trainings at constant rates up to 1, for 120 steps, none was; of 9 that stayed finite
    although their rate was too high to learn, all were. That the loss is twice that of the first batch tells as much:
    it came before all 10, 3 to 13 steps ahead (median 6), and in 2 of the 20. With other seeds and 13 rates, 14 of 18
    trainings that diverged at a rate of 5 were warned of, and none of 20 at 0.2.

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
