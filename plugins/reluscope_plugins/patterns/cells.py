"""Activation cells in a plane through the input space, on a grid: labels, number and colours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import xarray as xr
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from reluscope.errors import ObservationError, UnknownNameError, nearest
from reluscope.inputs import unwrap
from reluscope.observation import Observation, observe
from reluscope.preserve import preserved
from reluscope_plugins.patterns.batch_statistics import batch_statistics
from reluscope_plugins.patterns.colours import bordered, colours, rgb
from reluscope_plugins.patterns.keys import global_keys, sample_keys
from reluscope_plugins.patterns.plane import Plane, ticks

Array = np.ndarray[Any, Any]

GLOBAL = "global"
"""In the place of a site: the pattern of all sites together. No site is called so: their names have a #."""


def cells(
    model: nn.Module,
    plane: Plane,
    site: str | Sequence[str] | None = None,
    *,
    resolution: int = 500,
    extent: float = 5.0,
    batch_size: int = 1000,
    statistics: torch.Tensor | Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> xr.Dataset:
    r"""Find the activation cells that a network's sites cut a plane of its input space into, as far as a grid shows.

    The cell of a site that holds x is $\{y : A(y) = A(x)\}$, where $A$ is the site's activation pattern: all units, and
    of a convolution all positions, so that a cell belongs to the whole picture and not to one of its patches. A cell
    need not be convex, nor in one piece, beyond the first layer. Cells that fall between the points of the grid, or lie
    outside it, are not seen; where their number comes near that of the points, it measures the grid.

    The network runs in eval mode, and is left exactly as found. Batch norm takes its running statistics or those of the
    data given, never those of the grid: the cell of a point does not depend on which other points are looked at.

    Cost: one forward pass over `resolution` squared inputs, and 16 bytes for each of them and each site beside one
    batch; no pattern is kept.

    Args:
        model: The network; it takes a batch of inputs of the plane's shape.
        plane: Where to look.
        site: Name of a site, several of them, or `"global"` for the pattern of all sites together; None for each site
            and `"global"`.
        resolution: Number of points along x, and along y.
        extent: The grid covers -extent to extent along both, in units of the plane's directions.
        batch_size: Inputs of a forward pass.
        statistics: Data whose mean and variance every batch norm takes, as `batch_statistics` has it; None leaves it
            those that it has.
        progress: Called after each batch with the number of inputs done and of all.

    Returns:
        `cell(site, y, x)`, labels from 0 on in the order in which the cells appear, row by row; `cell_count(site)`;
        `cell_colour(site, y, x)`, `0xRRGGBB`, the same for the same pattern in every picture, and black or white on
        the line between two neighbours that happen to share one; `pattern_bits(site)`, of a pattern. Attribute
        `false_merge_bound` of labels and number: the greatest probability that two different patterns share a label
        anywhere; 0 where patterns have up to 64 bits. Attribute `grid_points` of the number.

    Raises:
        ObservationError: If the network cannot be observed on such inputs, or a batch norm has statistics of the batch
            only.
        UnknownNameError: If there is no such site.

    References:
        Hartmann 2025, definitions 2 and 3, figure 2.3.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> with torch.no_grad():
        ...     model[0].weight.copy_(torch.eye(2)), model[0].bias.zero_()
        (...)
        >>> found = cells(model, Plane.axes(), "1#0", resolution=4, extent=1.0)
        >>> found.cell.sel(site="1#0").values.tolist(), found.cell_count.item()
        ([[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]], 4)
    """
    network = unwrap(model)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ObservationError(f"batch_size: got {batch_size!r}, expected a whole number of at least 1")
    along = ticks(resolution, extent)
    seen: _Patterns | None = None
    total = resolution**2
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.zeros(()))
    with _seen_with(network, statistics):
        for start in range(0, total, batch_size):
            index = torch.arange(start, min(start + batch_size, total))
            inputs = plane.at(along[index % resolution], along[index // resolution])
            observation = _observed(network, inputs.to(like), plane)
            if seen is None:
                seen = _Patterns(_chosen(site, observation.sites), total)
            seen.add(start, observation)
            if progress is not None:
                progress(min(start + batch_size, total), total)
    assert seen is not None
    return _labelled(seen, along.numpy())


def picture(found: xr.Dataset, site: str) -> Image.Image:
    """Draw the cells of one site.

    Args:
        found: What `cells` found.
        site: One of its sites.

    Returns:
        The picture, y upwards, one pixel for each point of the grid; its `save` writes it to a file.

    Raises:
        UnknownNameError: If there is no such site.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> picture(cells(model, Plane.axes(), resolution=20), "global").size
        (20, 20)
    """
    sites = [str(name) for name in found["site"].values]
    if site not in sites:
        raise UnknownNameError(f"unknown site {site!r}. {nearest(site, sites)}")
    return Image.fromarray(rgb(found["cell_colour"].sel(site=site).transpose("y", "x").values)[::-1])


class _Patterns:
    """Keys of the patterns at all points of a grid, two of each site: both collide with probability 2^-128 at most."""

    def __init__(self, wanted: Sequence[str], total: int) -> None:
        self.wanted = wanted
        self.total = total
        self.keys: dict[str, Array] = {}
        self.hashed: dict[str, bool] = {}
        self.bits: dict[str, int] = {}

    def add(self, start: int, observation: Observation) -> None:
        """Take the keys of one batch.

        Args:
            start: Index of its first point.
            observation: The network on it.
        """
        whole = slice(start, start + observation.samples)
        for site in observation.sites if GLOBAL in self.wanted else self.wanted:
            about = observation.site[site]
            self.bits[site] = about.units * about.positions * (about.states - 1)
            self.hashed[site] = about.positions != 1 or self.bits[site] > 64
            self._keys(site)[0, whole] = sample_keys(observation, site)
            if self.hashed[site]:
                self._keys(site)[1, whole] = sample_keys(observation, site, seed=1)
        if GLOBAL in self.wanted:
            self.bits[GLOBAL] = sum(self.bits[site] for site in self.hashed)
            self._keys(GLOBAL)[0, whole] = global_keys(observation)

    def labels(self, site: str) -> Array:
        """Number the cells in the order in which they appear.

        Args:
            site: A site, or all.

        Returns:
            `(point,)`, int32.
        """
        if site == GLOBAL:
            # two points are in one cell of all if they are in one cell of each: no hash, beyond that of the sites
            found = np.zeros(self.total, np.int64)
            for other in self.hashed:
                found = _paired(found, self.labels(other))
            return _first_seen(found)
        first, second = self.keys[site]
        return _first_seen(_paired(_first_seen(first), _first_seen(second)) if self.hashed[site] else first)

    def bound(self, counts: Sequence[int]) -> float:
        """Bound the probability that anywhere two patterns share a label.

        Args:
            counts: Number of cells of each site.

        Returns:
            The number of pairs times 2^-128, summed over the sites whose keys are hashes.
        """
        pairs = max(counts) * (max(counts) - 1) / 2
        return float(sum(self.hashed.values()) * pairs * 2.0**-128)

    def _keys(self, site: str) -> Array:
        return self.keys.setdefault(site, np.zeros((2, self.total), np.uint64))


def _observed(network: nn.Module, inputs: torch.Tensor, plane: Plane) -> Observation:
    try:
        return observe(network, inputs, patterns_only=True)
    except (RuntimeError, IndexError, TypeError) as error:  # what torch raises on shapes and dtypes that do not fit
        reason = " ".join([*str(error).split(), *(f"({note})" for note in getattr(error, "__notes__", ()))])
        raise ObservationError(
            f"the model raised {type(error).__name__} on inputs of the plane's shape {tuple(plane.origin.shape)}: "
            f"{reason}; expected a plane through inputs that it takes"
        ) from error


def _seen_with(network: nn.Module, statistics: Any) -> AbstractContextManager[None]:
    if statistics is not None:
        return batch_statistics(network, statistics)
    for path, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise ObservationError(
                f"batch norm {path!r} keeps no running statistics, so it would take those of the grid; pass data whose "
                "statistics it shall have as statistics="
            )
    return preserved(network, training=False)


def _chosen(site: str | Sequence[str] | None, sites: Sequence[str]) -> list[str]:
    wanted = [*sites, GLOBAL] if site is None else [site] if isinstance(site, str) else list(site)
    if not wanted:
        raise ObservationError("site: got an empty list, expected at least one name; None takes all")
    for name in wanted:
        if name not in (*sites, GLOBAL):
            raise UnknownNameError(f"unknown site {name!r}. {nearest(str(name), [*sites, GLOBAL])}")
    return list(dict.fromkeys(wanted))


def _labelled(seen: _Patterns, along: Array) -> xr.Dataset:
    shape = (len(along), len(along))
    labels = {site: seen.labels(site).reshape(shape) for site in seen.wanted}
    counts = [int(found.max()) + 1 for found in labels.values()]
    shades = [bordered(colours(seen.keys[site][0]).reshape(shape), found) for site, found in labels.items()]
    bound = seen.bound(counts)
    axis = {"long_name": "Coordinate in the plane", "units": "1"}
    return xr.Dataset(
        {
            "cell": (
                ("site", "y", "x"),
                np.stack(list(labels.values())),
                {"long_name": "Activation cell", "units": "1", "false_merge_bound": bound},
            ),
            "cell_count": (
                "site",
                np.array(counts, np.int32),
                {
                    "long_name": "Number of activation cells on the grid",
                    "units": "1",
                    "grid_points": len(along) ** 2,
                    "false_merge_bound": bound,
                },
            ),
            "pattern_bits": (
                "site",
                np.array([seen.bits[site] for site in labels]),
                {"long_name": "Bits of an activation pattern", "units": "1"},
            ),
            "cell_colour": (
                ("site", "y", "x"),
                np.stack(shades),
                {"long_name": "Colour of the activation cell, 0xRRGGBB", "units": "1"},
            ),
        },
        coords={
            "site": ("site", list(labels), {"long_name": "Activation site", "units": "1"}),
            "y": ("y", along, {**axis, "long_name": "Coordinate along the plane's second direction"}),
            "x": ("x", along, {**axis, "long_name": "Coordinate along the plane's first direction"}),
        },
    )


def _paired(one: Array, other: Array) -> Array:
    # labels stay below the number of points, so that two fit into one integer
    found: Array = np.unique(one.astype(np.int64) << 32 | other.astype(np.int64), return_inverse=True)[1]
    return found


def _first_seen(keys: Array) -> Array:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return np.asarray(rank[inverse])
