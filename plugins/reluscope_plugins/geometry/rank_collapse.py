"""A warning from the rank: where it falls from the start, the learning rate is too high."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reluscope.entries import metric
from reluscope_plugins.geometry.affine_rank import RANKS

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.geometry.affine_ranks import Ranks

WARNING = 0.1
"""From here on `rank_collapse` warns: a tenth of the rank at the first moment is lost."""


@metric(dims=(), units="1", maximum=1.0, needs={"affine"}, of=RANKS, compared_with="first")
def rank_collapse(found: Ranks, first: Ranks) -> xr.DataArray:
    r"""Share of the rank of the local affine map that is lost since the first moment.

    $1 - \bar r(t) / \bar r(0)$ with the rank $\bar r$, mean over samples: 1 where every sample is mapped by a constant,
    negative where the rank has grown. Above `WARNING` = 0.1 the rate is too high; `collapse_warning` gives the first
    such epoch.

    Args:
        found: Means over samples now.
        first: The same at the first moment.

    Returns:
        The share; NaN where the rank was zero from the start.

    References:
        Johansson 2022, section 2.2.1 and figure 2.2.
    """
    import xarray as xr

    return xr.DataArray(1.0 - found.rank / first.rank if first.rank else math.nan)


def collapse_warning(collapse: xr.DataArray, *, dim: str = "epoch", threshold: float = WARNING) -> xr.DataArray:
    """Find the moment at which a run would have been warned of.

    Args:
        collapse: `rank_collapse` of a recorded run, with the dims of a sweep, or without.
        dim: The dim of the moments, `"epoch"` or `"step"`.
        threshold: Share of the rank that must be lost.

    Returns:
        Label of the first moment with a share above the threshold, without `dim`; NaN where there is none.

    Raises:
        ObservationError: If there is no such dim, or it has no labels.

    References:
        Johansson 2022, figure 2.2.

    Example:
        >>> import xarray as xr
        >>> lost = xr.DataArray([0.0, 0.05, 0.3, 0.08, 0.9], dims="epoch", coords={"epoch": [0, 1, 2, 3, 4]})
        >>> collapse_warning(lost).item()
        2.0
    """
    from reluscope.errors import ObservationError

    if dim not in collapse.dims or dim not in collapse.coords:
        raise ObservationError(
            f"collapse_warning: got dims {tuple(collapse.dims)} with labels along {sorted(map(str, collapse.coords))}, "
            f"expected {dim!r} with its labels; pass rank_collapse of a run's archive, and dim='step' where it was "
            "measured by steps"
        )
    above = collapse > threshold
    # the labels need not be in order
    first = collapse[dim].where(above).min(dim).astype(float)
    first.attrs = {"long_name": f"first {dim} with a loss of rank above {threshold:g}", "units": "1"}
    return first.rename("collapse_warning")
