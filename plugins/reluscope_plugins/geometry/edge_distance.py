"""Distance from an input to the edge of the region that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reluscope.entries import metric

if TYPE_CHECKING:
    import xarray as xr

    from reluscope_plugins.geometry.edge_distances import Distances

_DISTANCES = "reluscope_plugins.geometry.edge_distances:edge_distances"


@metric(dims=(), units="1", minimum=0.0, needs={"affine"}, of=_DISTANCES)
def edge_distance(distances: Distances) -> xr.DataArray:
    r"""Distance to the edge of the region that holds a sample, mean over samples.

    The mean over $n$ of $\min_i |z_i(x_n)| / \|\nabla z_i(x_n)\|_2$ over all walls $i$: units of all sites, both
    thresholds of those that have two, and the places of max-pools. Samples whose region has no edge are left out; NaN
    where none has one. In units of the input.

    Cost: in a chain of dense layers little beside the forward pass; in other networks about 200 forward passes, and a
    few gradients.

    Args:
        distances: What `edge_distances` finishes; its `error` is the probability that the nearest wall of any sample of
            a batch is missed, in networks that are no chain of dense layers (1e-12; 0 for certainty, at the cost of two
            forward passes for each value of the input), its `seed` that of the random directions used for it.

    Returns:
        The mean.

    References:
        Johansson 2022, eq. 2.1.
    """
    import xarray as xr

    return xr.DataArray(distances.mean)


@metric(dims=(), units="1", minimum=0.0, needs={"affine"}, of=_DISTANCES)
def least_edge_distance(distances: Distances) -> xr.DataArray:
    r"""Distance to the edge of the region that holds a sample, least over samples.

    As `edge_distance`, and found with it.

    Args:
        distances: What `edge_distances` finishes.

    Returns:
        The least; NaN where no region has an edge.

    References:
        Johansson 2022, eq. 2.1.
    """
    import xarray as xr

    return xr.DataArray(distances.least)
