"""Pattern distance and temperature at the learning rate in force."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import metric

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.temperature.step_changes import Distances

STEP = "reluscope_plugins.temperature.step_changes:step_changes"
NEEDS = {"patterns", "step"}


@metric(dims=("site",), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=STEP)
def pattern_distance(found: Distances) -> xr.DataArray:
    r"""Share of samples whose activation pattern the optimizer's next step changes.

    Args:
        found: Shares of the sites.

    Returns:
        Site to $P(D(\eta))$ at the rate in force; NaN where the step leaves the finite numbers.

    References:
        Hartmann 2025, definition 5, eq. 3.15.
    """
    import numpy as np
    import xarray as xr

    return xr.DataArray(np.array([share[0] for share in found.sites.values()]), {"site": list(found.sites)}, ("site",))


@metric(dims=(), units="1", minimum=0.0, maximum=1.0, needs=NEEDS, of=STEP)
def mean_pattern_distance(found: Distances) -> xr.DataArray:
    """Mean over the sites of the share of samples whose activation pattern the optimizer's next step changes.

    Args:
        found: Shares of the sites.

    Returns:
        The mean; NaN where the step leaves the finite numbers.

    References:
        Hartmann 2025, section 3.2.3.
    """
    import xarray as xr

    return xr.DataArray(found.mean[0])


@metric(dims=("site",), units="1", minimum=0.0, needs=NEEDS, of=STEP)
def pattern_temperature(found: Distances, *, base: float = 2.0) -> xr.DataArray:
    r"""Activation pattern temperature of the optimizer's next step.

    Args:
        found: Shares of the sites.
        base: Base of the logarithm.

    Returns:
        Site to $-\log(1 - P(D(\eta)))$ at the rate in force; NaN where all patterns change, so that it is infinite.

    References:
        Hartmann 2025, definition 6, eq. 3.16.
    """
    distance = pattern_distance.implementation()(found)
    return distance.copy(data=_finite_temperature(distance.values, base))


@metric(dims=(), units="1", minimum=0.0, needs=NEEDS, of=STEP)
def mean_pattern_temperature(found: Distances, *, base: float = 2.0) -> xr.DataArray:
    """Activation pattern temperature of the mean distance over the sites.

    Args:
        found: Shares of the sites.
        base: Base of the logarithm.

    Returns:
        The temperature; NaN where all patterns change, so that it is infinite.

    References:
        Hartmann 2025, section 3.3.2.
    """
    import xarray as xr

    return xr.DataArray(_finite_temperature(found.mean[0], base))


def _finite_temperature(share: Any, base: float) -> Any:
    import numpy as np

    from reluscope_plugins.temperature.distance import temperature

    found = temperature(share, base=base)
    return np.where(np.isinf(found), np.nan, found)
