"""The walls of the pieces that hold a batch: the affine functions whose zeros bound them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch

from reluscope.affine_map import AffineMap
from reluscope.recorder import Capture
from reluscope.site_tensors import sample_rows
from reluscope.windows import OUTSIDE, windows


@dataclasses.dataclass(frozen=True)
class Walls:
    """Affine functions that are at least zero on the piece that holds a sample, and of which one is zero at its edge.

    A unit of two states has one, how far it is from its threshold; one of three states has one for each threshold; a
    max-pool has for each place of each window what the winner is ahead of it by, which is zero for the winner itself:
    no wall.

    Attributes:
        map: From the input to the values, for each sample: `(sample, wall, in)`. Its rows point into the piece.
        value: The values at the samples, `(sample, wall)`, detached.
        sites: Names of the sites that have walls.
        site: Number in `sites` of each wall, `(wall,)`.
        unit: Of each wall, `(wall,)`: the unit, counted over all positions of the sample (position times units plus
            unit) as a sample's rows of `Observation.preactivation` are; of a max-pool the window, counted likewise.
        beyond: Of each wall, `(wall,)`: which threshold it is, 0 the lower, 1 the upper; of a max-pool the place in
            the flattened plane that would win.
    """

    map: AffineMap
    value: torch.Tensor
    sites: tuple[str, ...]
    site: npt.NDArray[np.int32]
    unit: npt.NDArray[np.int64]
    beyond: npt.NDArray[np.int64]


def make_walls(
    captures: Sequence[Capture], samples: int, mapped: Callable[[Sequence[torch.Tensor], Sequence[Capture]], AffineMap]
) -> Walls:
    """Build the walls in the graph of a pass.

    Args:
        captures: What was seen at the sites, within the graph.
        samples: Number of samples.
        mapped: Makes the map from the input to values in the graph, which hang on these captures.

    Returns:
        The walls of all sites.
    """
    found = [(_of_activation if capture.pool is None else _of_pool)(capture, samples) for capture in captures]
    values = [values for values, _, _ in found]
    return Walls(
        map=mapped(values, captures),
        value=torch.cat([one.detach() for one in values], 1),
        sites=tuple(capture.name for capture in captures),
        site=np.repeat(np.arange(len(found), dtype=np.int32), [len(unit) for _, unit, _ in found]),
        unit=np.concatenate([unit for _, unit, _ in found]),
        beyond=np.concatenate([beyond for _, _, beyond in found]),
    )


def _of_activation(capture: Capture, samples: int) -> tuple[torch.Tensor, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    found = []
    for side, bound in enumerate((capture.lower, capture.upper)):
        if bound is not None:
            values = capture.values - bound
            ahead = values * torch.where(values.detach() < 0, -1, 1).to(values)
            found.append((side, sample_rows(ahead, capture, samples).reshape(samples, -1)))
    count = found[0][1].shape[1]
    return (
        torch.cat([values for _, values in found], 1),
        np.tile(np.arange(count), len(found)),
        np.repeat([side for side, _ in found], count),
    )


def _of_pool(capture: Capture, samples: int) -> tuple[torch.Tensor, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    assert capture.pool is not None
    assert capture.taken is not None
    spatial, winners = capture.pool.spatial, capture.values
    args, kwargs = capture.call
    taken = capture.taken
    places = windows(capture.pool, args, kwargs, taken.shape[-spatial:], winners.shape[-spatial:]).to(winners.device)
    plane, won = taken.flatten(-spatial), winners.flatten(-spatial)
    inside = places != OUTSIDE
    others = plane[..., places.clamp(min=0)]  # (..., window, place)
    ahead = (plane.gather(-1, won).unsqueeze(-1) - others)[..., inside]  # (..., wall of a plane)
    values = ahead.reshape(samples, -1)
    window, beyond = inside.nonzero()[:, 0].cpu().numpy(), places[inside].cpu().numpy()
    channels = values.shape[1] // len(window)
    # positions first, as the rows of a site are laid out
    unit = window[None, :] * channels + np.arange(channels)[:, None]
    return values, unit.ravel(), np.tile(beyond, channels)
