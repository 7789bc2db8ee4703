"""Distance from an input to the edge of the region that holds it, with the wall it meets there."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import scipy.stats
import torch

from reluscope.errors import ObservationError
from reluscope_plugins.geometry.dense_walls import DenseWalls

if TYPE_CHECKING:
    from reluscope.observation import Observation
    from reluscope.walls import Walls

ERROR = 1e-12
"""Probability of a wrong result for a batch, where gradients are bounded by random directions."""
DIRECTIONS = 64
"""Random directions that bound gradients: then a bound is about three times what it bounds."""
SEED = 0xED6E
"""Of the random directions."""
_AT_ONCE = 4
_NUMBERS = 2**24


@dataclasses.dataclass(frozen=True)
class NearestWalls:
    """The wall of its region that each sample is nearest to.

    Attributes:
        distance: Euclidean distance to the region's edge, `(sample,)`; infinite where it has none.
        site: Name of the site whose pattern changes there, one a sample; empty where there is none.
        unit: Which unit changes, int64 `(sample,)`, as `reluscope.walls.Walls.unit` counts them; -1 where there is
            none.
        beyond: What lies beyond, int64 `(sample,)`, as `reluscope.walls.Walls.beyond` says it; -1 where there is none.
        gradients: How many gradients of walls were taken, of all samples together.
        directions: Along how many directions all walls were differentiated at once, for each sample.
        walls: Number of walls of each sample.
    """

    distance: torch.Tensor
    site: list[str]
    unit: torch.Tensor
    beyond: torch.Tensor
    gradients: int
    directions: int
    walls: int
    _find: Callable[[], torch.Tensor] = dataclasses.field(repr=False)

    @cached_property
    def point(self) -> torch.Tensor:
        """Nearest point of the edge, `(sample, in)`; NaN where there is none."""
        return self._find()


def nearest_walls(observation: Observation, *, error: float = ERROR, seed: int = SEED) -> NearestWalls:
    r"""Find the nearest point of the edge of the region that holds each sample.

    The region is where all sites keep their patterns, so that the network is one affine map: it is bounded by the zeros
    of affine functions $z_i$, one for each unit (two for one of three states, and for each max-pool the winner's lead
    over each other place), so that the distance to its edge is $\min_i |z_i(x)| / \|\nabla z_i(x)\|_2$: the nearest of
    all these hyperplanes is met before any other. A unit whose gradient vanishes has no wall. A network that bends
    where no site is (`torch.abs`, `torch.maximum`, a comparison) is refused.

    Few gradients are taken. In a chain of dense layers each is bounded by the norms of the layers, the bound is
    sharpened as it is pulled back layer by layer, and dropped as soon as it cannot be the nearest; first-layer walls
    are exact at once. In other networks all walls are differentiated along random directions $v_k$ at once: for a
    normal $v$, $\sum_k (\nabla z_i \cdot v_k)^2 / \|\nabla z_i\|^2$ is $\chi^2$ distributed, and its quantile bounds
    the norm but for a probability of `error` for the whole batch; walls that could be nearer than the nearest known
    one are then looked at one after the other. With `error=0`, or where there are fewer inputs (or walls) than
    directions, the norms are exact, at the cost of as many passes as the input has values.

    Args:
        observation: One batch, observed with `affine=True`.
        error: Probability that random directions miss the nearest wall of any sample of the batch; 0 for certainty.
        seed: Seed of the random directions; not one that the weights were drawn with, on which the probability rests.

    Returns:
        The nearest wall of each sample.

    Raises:
        ObservationError: If the network is not piecewise linear, bends where no site is, or has gradients that
            overflow, or `error` is no probability.

    References:
        Johansson 2022, eq. 2.1.

    Example:
        >>> import reluscope
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.eye(2)), model[0].bias.zero_()
        >>> found = nearest_walls(reluscope.observe(model, torch.tensor([[3.0, -1.0]]), affine=True))
        >>> found.distance.tolist(), found.point.tolist(), found.unit.tolist()
        ([1.0], [[3.0, 0.0]], [1])
    """
    if isinstance(error, bool) or not isinstance(error, int | float) or not 0 <= error < 1:
        raise ObservationError(f"error is {error!r}, expected a probability: 0 for certainty, or such as 1e-12")
    weights = observation.dense_weights()
    if weights is not None:
        return _in_chain(observation, weights)
    walls = observation.walls()
    bounds, directions, exact = _gradient_bounds(walls, error, seed)
    return _search(walls, bounds, directions, exact=exact)


def _in_chain(observation: Observation, weights: list[torch.Tensor]) -> NearestWalls:
    chain = DenseWalls(weights, [observation.preactivation[site] for site in observation.sites])
    chain.search()
    affine = observation.affine()

    def find() -> torch.Tensor:
        heights = chain.distance.new_zeros(len(layers))
        for number, site in enumerate(observation.sites):
            here = (chain.layer == number).nonzero().squeeze(1)
            heights[here] = observation.preactivation[site][here, chain.unit[here]].double()
        return _foot(affine.input, chain.distance, chain.gradient(), heights)

    layers = chain.layer.tolist()
    return NearestWalls(
        distance=chain.distance.to(affine.dtype),
        site=["" if layer < 0 else observation.sites[layer] for layer in layers],
        unit=chain.unit,
        beyond=torch.where(chain.unit < 0, -1, 0),
        gradients=chain.gradients,
        directions=0,
        walls=sum(map(len, weights)),
        _find=find,
    )


def _gradient_bounds(walls: Walls, error: float, seed: int) -> tuple[torch.Tensor, int, bool]:
    # Upper bounds of the norms of all gradients, (sample, wall); along how many directions; whether they are exact.
    samples, count, inputs = walls.map.shape
    few = min(count, inputs)
    if error == 0 or few <= DIRECTIONS:
        if count <= inputs:
            return torch.linalg.vector_norm(walls.map.weight, dim=2, dtype=torch.float64), count, True
        return _summed(walls, torch.eye(inputs, dtype=walls.value.dtype), fixed=True).sqrt(), inputs, True
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(DIRECTIONS, samples, inputs, generator=generator, dtype=torch.float64)
    least = float(scipy.stats.chi2.ppf(error / (samples * count), DIRECTIONS))
    return (_summed(walls, drawn.to(walls.value.dtype)) / least).sqrt(), DIRECTIONS, False


def _summed(walls: Walls, directions: torch.Tensor, *, fixed: bool = False) -> torch.Tensor:
    # Sum of the squares of the derivatives of all walls along directions (direction, sample, in), or (direction, in).
    samples, count, _ = walls.map.shape
    total = torch.zeros_like(walls.value, dtype=torch.float64)
    for some in torch.split(directions, max(1, _NUMBERS // (samples * count))):
        vectors = some.unsqueeze(1).expand(-1, samples, -1) if fixed else some
        total += walls.map.matvec(vectors.to(total.device)).double().square_().sum(0)
    return total


def _search(walls: Walls, bounds: torch.Tensor, directions: int, *, exact: bool) -> NearestWalls:
    samples, count, inputs = walls.map.shape
    if not bool(bounds.isfinite().all()):
        raise ObservationError(
            f"gradients of walls overflow {walls.value.dtype}, expected finite ones; run the model in float64"
        )
    slack = 1 + math.sqrt(torch.finfo(walls.value.dtype).eps)
    # where a gradient vanishes there is no wall
    least = torch.where(bounds > 0, walls.value / (bounds * slack), math.inf)
    distance = torch.full_like(walls.value[:, 0], math.inf, dtype=torch.float64)
    nearest = torch.full((samples,), -1, device=distance.device)
    gradient = walls.value.new_zeros(samples, inputs)
    everyone = torch.arange(samples, device=distance.device)
    taken = 0
    while True:
        bound, candidate = least.topk(min(_AT_ONCE, count), dim=1, largest=False)  # (sample, rank)
        wanted = bound < distance.unsqueeze(1)
        if not wanted.any():
            break
        taken += int(wanted.sum())
        covectors = walls.value.new_zeros(candidate.shape[1], samples, count)
        covectors.scatter_(2, candidate.t().unsqueeze(2), 1)
        for found, wall in zip(walls.map.rmatvec(covectors), candidate.t(), strict=True):
            length = torch.linalg.vector_norm(found, dim=1, dtype=torch.float64)
            away = torch.where(length > 0, walls.value[everyone, wall] / length, math.inf)
            # of two that are as near (a unit, and the max-pool that it then loses) the earlier one
            nearer = (away < distance) | ((away == distance) & away.isfinite() & (wall < nearest))
            distance = torch.where(nearer, away, distance)
            nearest = torch.where(nearer, wall, nearest)
            gradient[nearer] = found[nearer]
        least.scatter_(1, candidate, math.inf)
    numbers = nearest.cpu().numpy()
    none = nearest < 0
    return NearestWalls(
        distance=distance.to(walls.value),
        site=["" if number < 0 else walls.sites[walls.site[number]] for number in numbers],
        unit=torch.from_numpy(walls.unit[numbers]).to(nearest).masked_fill(none, -1),
        beyond=torch.from_numpy(walls.beyond[numbers]).to(nearest).masked_fill(none, -1),
        gradients=taken,
        directions=directions,
        walls=count,
        _find=lambda: _foot(walls.map.input, distance, gradient, walls.value[everyone, nearest.clamp(min=0)]),
    )


def _foot(inputs: torch.Tensor, distance: torch.Tensor, gradient: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
    # Where the perpendicular from the input meets the wall whose function has this height and gradient there.
    gradient = gradient.double()
    foot = (inputs.double() - (height / gradient.square().sum(1)).unsqueeze(1) * gradient).to(inputs)
    return torch.where(distance.isfinite().unsqueeze(1), foot, math.nan)
