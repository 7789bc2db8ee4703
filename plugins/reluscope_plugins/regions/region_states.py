"""The states of all units on the regions of a plane, out of their packed patterns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr

from reluscope.errors import ObservationError
from reluscope.packing import row_bytes, unpack
from reluscope.sites import Site
from reluscope_plugins.regions.labels import labelled


def region_states(regions: xr.Dataset) -> xr.Dataset:
    """Decode the patterns of regions.

    Args:
        regions: What `plane_regions` found.

    Returns:
        `region_state(region, unit)`, int64, as `Observation.pattern` has it: of units of two states 1 where they are
        active, of three 0, 1 or 2, of a max-pool's windows the place that wins. Site after site in the order of the
        calls, with `unit_site(unit)`, the number of the unit's site, and `site_unit(unit)`, its number there, over all
        positions, as `edge_unit` counts.

    Raises:
        ObservationError: If regions is no such data set.

    Example:
        >>> from torch import nn
        >>> from reluscope_plugins.regions.plane_regions import plane_regions
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.eye(2)), model[0].bias.zero_()
        >>> sorted(region_states(plane_regions(model)).region_state.values.tolist())
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    if not isinstance(regions, xr.Dataset) or "pattern_byte" not in regions:
        raise ObservationError(
            f"regions is {type(regions).__name__}, expected the data set that plane_regions returns; give "
            "region_states(plane_regions(model))"
        )
    packed = regions["region_pattern"].values
    layout = [regions[f"pattern_{name}"].values.tolist() for name in ("byte", "rows", "units", "bits")]
    parts = []
    for begin, rows, units, bits in zip(*layout, strict=True):
        end = begin + rows * row_bytes(units * bits)
        of_site = torch.from_numpy(packed[:, begin:end].reshape(len(packed) * rows, -1).copy())
        parts.append(unpack(of_site, units, bits=bits).reshape(len(packed), -1).numpy().astype(np.int64))
    counts = [part.shape[1] for part in parts]
    variables = {
        "region_state": (("region", "unit"), np.concatenate(parts, axis=1), "State of each unit, site after site"),
        "unit_site": ("unit", np.repeat(np.arange(len(parts)), counts), "Number of the site of a unit"),
        "site_unit": ("unit", np.concatenate([np.arange(count) for count in counts]), "Number of a unit in its site"),
    }
    return xr.Dataset(labelled(variables), coords={"site": regions["site"]})


def pattern_layout(sites: Sequence[Site]) -> dict[str, tuple[tuple[str, ...], list[int], str]]:
    """Say where packed patterns hold each site: activations in their order, then max-pools.

    Args:
        sites: In the order of the calls.

    Returns:
        Name of a variable to dims, values and what it is.
    """
    sizes = [site.positions * row_bytes(site.units * site.bits) for site in sites]
    order = sorted(range(len(sites)), key=lambda number: sites[number].states == 0)
    first = [0] * len(sites)
    for before, number in itertools.pairwise(order):
        first[number] = first[before] + sizes[before]
    of_sites = {
        "pattern_byte": (first, "first byte of a site in a pattern"),
        "pattern_rows": ([site.positions for site in sites], "rows of a site in a pattern, one for each position"),
        "pattern_units": ([site.units for site in sites], "units of a row; windows of a max-pool"),
        "pattern_bits": ([site.bits for site in sites], "bits of a unit"),
    }
    return {name: (("site",), values, text) for name, (values, text) in of_sites.items()}
