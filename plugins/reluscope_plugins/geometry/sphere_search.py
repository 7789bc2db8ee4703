"""An upper bound of the distance to the edge of a region, by sampling points on concentric spheres."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from reluscope.errors import ObservationError
from reluscope.inputs import unwrap
from reluscope.observation import Observation, observe
from reluscope.preserve import preserved


class SphereSearch(NamedTuple):
    """Points found in another region.

    Attributes:
        distance: From each sample to its point, float64 `(sample,)`; infinite where none was found.
        point: `(sample, ...)`, of the inputs' shape; NaN where none was found.
    """

    distance: Tensor
    point: Tensor


@torch.no_grad()
def sphere_search(
    model: nn.Module,
    x: Tensor,
    radii: Sequence[float],
    *,
    directions: int = 500,
    bisections: int = 0,
    seed: int = 0,
    batch_size: int = 4096,
) -> SphereSearch:
    r"""Look for another activation pattern on spheres of growing radius around each sample.

    On each sphere points are drawn uniformly, anew for each sample and radius; the first sphere with a point of
    another pattern ends the search. The distance to that point is an upper bound of the distance to the region's edge,
    never a lower one, however many points are drawn.

    How loose it is: a wall at distance d is seen at radius r by a direction with probability
    $\frac12 P(B > d^2 / r^2)$, where $B \sim \mathrm{Beta}(1/2, (n-1)/2)$ in n dimensions, so by one of m directions
    only once r comes to about $d \sqrt{n / (2 \ln m)}$. In the plane the bound is as good as the radii are dense; for
    images it is several times the distance, and no affordable number of directions mends that.

    Args:
        model: Any network with activation sites, in eval mode; left as found.
        x: `(sample, ...)`.
        radii: Radii of the spheres, ascending, in units of the input.
        directions: Points on each sphere.
        bisections: How often the segment from the sample to the point found is halved, to come nearer to the edge on
            that line; the result stays an upper bound.
        seed: Seed of the directions.
        batch_size: Points of a forward pass, rounded up to whole spheres.

    Returns:
        Distance and point of each sample.

    Raises:
        ObservationError: If a number is out of its range, the input is not one tensor, dropout or batch norm is in
            train mode, or the network takes another path at another point.

    References:
        Johansson 2022, section 2.1.2, footnote 1, and section A.2.3.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 1), nn.ReLU())
        >>> with torch.no_grad():
        ...     _ = model[0].weight.copy_(torch.tensor([[1.0, 0.0]])), model[0].bias.fill_(-1.0)
        >>> sphere_search(model, torch.zeros(1, 2), [0.5, 0.99, 1.2]).distance.round(decimals=4).tolist()
        [1.2]
    """
    _check(radii, directions, bisections, batch_size)
    network = unwrap(model)
    if not isinstance(x, Tensor):
        raise ObservationError(f"x is of class {type(x).__name__}, expected one tensor; wrap the model to take one")
    for name, module in network.named_modules():
        if module.training and isinstance(module, _DropoutNd | _BatchNorm):
            raise ObservationError(
                f"{name!r} ({type(module).__name__}) is in train mode, in which patterns depend on random draws or on "
                "the other samples, expected eval mode; call model.eval()"
            )
    generator = torch.Generator().manual_seed(seed)
    point = torch.full_like(x, torch.nan)
    with preserved(network):
        reference = observe(network, x, patterns_only=True)
        remaining, spheres = torch.arange(len(x)), torch.tensor(radii, dtype=torch.float64)
        while len(remaining) and len(spheres):
            # as many spheres at once as fit
            ahead, spheres = spheres.tensor_split([max(1, batch_size // (directions * len(remaining)))])
            lengths = ahead.repeat_interleave(directions)[None, :, None]
            for some in remaining.split(max(1, batch_size // lengths.numel())):
                drawn = torch.randn(len(some), lengths.numel(), x[0].numel(), generator=generator, dtype=torch.float64)
                steps = lengths * drawn / torch.linalg.vector_norm(drawn, dim=2, keepdim=True)
                points = x[some].unsqueeze(1) + steps.to(x).unflatten(2, x.shape[1:])
                changed = _changed(network, reference, points.flatten(0, 1), some.repeat_interleave(lengths.numel()))
                changed = changed.unflatten(0, (len(some), lengths.numel()))
                hit = changed.any(1)
                point[some[hit]] = points[hit, changed[hit].int().argmax(1)]
            remaining = remaining[point[remaining].flatten(1).isnan().any(1).cpu()]
        found = (~point.flatten(1).isnan().any(1)).nonzero().squeeze(1).cpu()
        _bisect(network, reference, x, point, found, bisections)
    gap = torch.linalg.vector_norm((point.double() - x.double()).flatten(1), dim=1)
    return SphereSearch(gap.nan_to_num(nan=torch.inf), point)


def _bisect(
    network: nn.Module, reference: Observation, x: Tensor, point: Tensor, found: Tensor, bisections: int
) -> None:
    # in place; of the samples that were found
    inside = x[found]
    for _ in range(bisections if len(found) else 0):
        middle = (inside + point[found]) / 2
        changed = _changed(network, reference, middle, found)
        point[found[changed]] = middle[changed]
        inside[~changed] = middle[~changed]


def _changed(network: nn.Module, reference: Observation, points: Tensor, sample: Tensor) -> Tensor:
    # Whether each point has another pattern than its sample of the reference, on the CPU.
    seen = observe(network, points, patterns_only=True)
    if set(seen.packed) != set(reference.packed):
        raise ObservationError(
            f"the network passes other sites at other points ({len(reference.packed)} and then {len(seen.packed)}), "
            "expected the same path; search with samples that take one path"
        )
    changed = torch.zeros(len(points), dtype=torch.bool)
    for site, packed in seen.packed.items():
        before = reference.packed[site].reshape(reference.samples, -1)
        changed |= (packed.reshape(len(points), -1) != before[sample]).any(1).cpu()
    return changed


def _check(radii: Sequence[float], directions: int, bisections: int, batch_size: int) -> None:
    if not len(radii) or radii[0] <= 0 or any(a >= b for a, b in itertools.pairwise(radii)):
        raise ObservationError(f"radii are {list(radii)!r:.80}, expected positive numbers in ascending order")
    counts = (("directions", directions, 1), ("bisections", bisections, 0), ("batch_size", batch_size, 1))
    for name, value, least in counts:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ObservationError(f"{name} is {value!r}, expected an integer of at least {least}")
