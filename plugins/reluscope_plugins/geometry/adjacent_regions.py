"""The region beyond the nearest wall: a point in it, and its affine map."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from reluscope.errors import ObservationError
from reluscope.observation import Observation, observe
from reluscope.preserve import preserved
from reluscope_plugins.geometry.nearest_walls import NearestWalls, nearest_walls
from reluscope_plugins.geometry.perturbation import Perturbation, perturbation


@dataclasses.dataclass(frozen=True)
class AdjacentRegions:
    """The regions beyond the nearest wall of each sample.

    Attributes:
        observation: Of a point in each neighbouring region, with the affine map; of the sample itself where there is no
            neighbour.
        found: Whether there is one, bool `(sample,)`.
        walls: The walls that were crossed.
        perturbation: What the affine map changes by; zero where there is no neighbour.
    """

    observation: Observation
    found: Tensor
    walls: NearestWalls
    perturbation: Perturbation


def adjacent_regions(observation: Observation, walls: NearestWalls | None = None) -> AdjacentRegions:
    r"""Step across the nearest wall of each sample, into a region whose pattern differs in that unit alone.

    From the sample x the nearest point p of the nearest wall is left behind by a share $\epsilon$ of the way:
    $x + (1 + \epsilon)(p - x)$, with $\epsilon$ = 0.1, 0.01, ... until the pattern there differs in the wall's unit and
    in no other. There is no neighbour where x has no wall or lies on it, where rounding hides the crossing, and where
    several walls meet at p so that no $\epsilon$ separates them.

    The winner of a max-pool may change on the very wall of a unit, or in two windows at once: behind units that are not
    active its inputs tie at zero. Such changes count as one; where there are any, the step is as short as rounding
    permits, so that no wall of another pool is taken for one.

    Cost: a forward pass for each $\epsilon$ (one or two for most samples, 15 in float64 where pools tie), an
    observation with the affine map, and a `matvec` on either side.

    Args:
        observation: One batch, one tensor as input, with the affine map.
        walls: The nearest walls, where they are known already.

    Returns:
        What lies beyond.

    Raises:
        ObservationError: If the input is not one tensor, or there is no affine map.

    References:
        Johansson 2022, section 2.2.2 (adjacent regions) and eqs. 2.4 to 2.6.
    """
    x = observation.input
    if not isinstance(x, Tensor):
        raise ObservationError(
            f"the network's input is a {type(x).__name__}, expected one tensor to step through; wrap the model so that "
            "it takes one"
        )
    walls = nearest_walls(observation) if walls is None else walls
    with torch.no_grad(), preserved(observation.model):
        flat = x.detach().flatten(1)
        way = (walls.point.to(flat) - flat).nan_to_num()
        way[~walls.distance.isfinite()] = 0.0
        beyond, found = _step_across(observation, walls, flat, way)
        seen = observe(observation.model, beyond.reshape(x.shape), affine=True)
        normal = torch.nn.functional.normalize(way, dim=1, eps=torch.finfo(way.dtype).tiny)
        normal[~found] = 0.0
        change = perturbation(observation.affine(), seen.affine(), normal)
    return AdjacentRegions(seen, found, walls, change)


def _step_across(observation: Observation, walls: NearestWalls, flat: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
    # Points beyond the walls, the samples themselves where there is none, and whether there is one.
    x = observation.input
    assert isinstance(x, Tensor)
    beyond, found = flat.clone(), torch.zeros(len(flat), dtype=torch.bool, device=flat.device)
    rest = (way != 0).any(1).nonzero().squeeze(1)
    share = 0.1
    while len(rest) and share > 10 * torch.finfo(flat.dtype).eps:
        points = flat[rest] + (1 + share) * way[rest]
        seen = observe(observation.model, points.reshape(-1, *x.shape[1:]), patterns_only=True)
        crossed, units, pools = _changes(observation, seen, walls, rest)
        good = crossed & (units <= 1)
        beyond[rest[good]] = points[good]
        found[rest[good]] = True
        rest = rest[~(good & (units + pools == 1))]
        share /= 10
    return beyond, found


def _changes(
    observation: Observation, seen: Observation, walls: NearestWalls, samples: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    # Of each point seen: whether the wall of its sample was crossed, how many units changed, and how many max-pools.
    crossed = torch.zeros(len(samples), dtype=torch.bool, device=samples.device)
    units, pools = torch.zeros_like(samples), torch.zeros_like(samples)
    for site in (*observation.sites, *observation.pools):
        if site not in seen.pattern:
            raise ObservationError(
                f"site {site!r} is not passed beyond the wall, expected the same path through the network; the network "
                "decides by its input which modules it calls, and pieces of different paths have no wall in common"
            )
        before = observation.pattern[site].reshape(observation.samples, -1)[samples]
        changed = before != seen.pattern[site].reshape(len(samples), -1)
        here = torch.tensor([walls.site[sample] == site for sample in samples.tolist()], device=samples.device)
        if site in observation.pools:
            pools += changed.sum(1)
            crossed |= here  # a pool that looks on a unit that switches off has its wall there, and may keep its winner
        else:
            units += changed.sum(1)
            unit = walls.unit.to(samples.device)[samples].clamp(min=0, max=changed.shape[1] - 1)
            crossed |= here & changed.gather(1, unit.unsqueeze(1)).squeeze(1)
    return crossed & (units + pools > 0), units, pools
