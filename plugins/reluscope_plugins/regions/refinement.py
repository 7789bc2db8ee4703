"""The partition of a box into linear regions, refined site by site and wall by wall."""

from __future__ import annotations

import copy
import math

import numpy as np

from reluscope.errors import ObservationError
from reluscope.walls import Walls
from reluscope_plugins.regions.input_box import Box, Floats, Integers
from reluscope_plugins.regions.inscribed_balls import inscribed_balls

TOLERANCE = 1e-7
"""Radius of a ball in half sides of a box: regions into which none fits are not counted."""

NOISE = 2.0**10 * float(np.finfo(np.float64).eps)
"""Rounding of a site's functions, relative to the greatest gradient of this site and the one before."""

_MISSED = 1e-9
"""What is no greater counts as zero where a wall and a cell are held against each other."""

_NUMBERS = 2**23
"""Numbers of gradients that are held at a time."""


class Refinement:
    r"""Cells of a box, cut along the walls of one site after the other.

    On a cell of all sites before it, a site's functions are affine: they are known from one point inside. A cell is cut
    by a wall if on either side a ball of more than the tolerance fits in, which a linear programme tells wherever the
    ball around its point does not.

    Args:
        box: Where.
        tolerance: Least radius of a ball in a cell, in half sides of the box.

    Attributes:
        sites: Names of the sites, max-pools included.
        noise: Of each wall, of all sites, the rounding of its gradient and offset as far as known, `(wall,)`.
        systems: Half-spaces of each cell, `(half-space, in + 1)`.
        centre: A point of each cell, in the cube, `(cell, in)`.
        radius: Radius of a ball around it within the cell, `(cell,)`.
        weight: How many cells each stands for.
        programmes: How many linear programmes were solved, each counted `weight` times.
    """

    def __init__(self, box: Box, tolerance: float) -> None:
        if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 1e-9 <= tolerance < 1:
            raise ObservationError(
                f"tolerance is {tolerance!r}, expected a radius in half sides of the box, at least 1e-9, which is what "
                "linear programming can tell, and below 1"
            )
        self.box, self._tolerance = box, float(tolerance)
        self.systems = [box.faces()]
        self.centre, self.radius = np.zeros((1, box.inputs)), np.ones(1)
        self._least, self._most = -np.ones((1, box.inputs)), np.ones((1, box.inputs))  # a box around each cell
        self.weight, self.programmes = 1.0, 0.0
        observation = box.observed(self.centre)
        walls = observation.walls()
        walls.map.check()
        self.sites = walls.sites
        self._site_of = walls.site
        self.noise = np.zeros(len(walls.site))
        self._pools = [name in observation.pools for name in walls.sites]
        self._units = _units(walls)
        self._done = 0
        weights = observation.dense_weights()
        self._weights = None if weights is None else [weight.cpu().double().numpy() for weight in weights]
        self._greatest: Floats = np.abs(box.half_sides)  # of each unit of the site before, its steepest gradient
        self._functions = np.empty((0, 0, 0))
        self._parent = np.zeros(1, dtype=np.int64)

    def fork(self) -> Refinement:
        """Return a copy that goes its own way.

        Returns:
            The copy.
        """
        other = copy.copy(self)
        other.systems, other.noise = list(self.systems), self.noise.copy()
        other._least, other._most = self._least.copy(), self._most.copy()
        return other

    @property
    def hyperplanes(self) -> list[int]:
        """Number of hyperplanes by which each site cuts a cell; of a max-pool's window one for each pair of places."""
        counts = [0] * len(self.sites)
        for site, columns in self._units:
            counts[site] += math.comb(len(columns), 2) if self._pools[site] else len(columns)
        return counts

    @property
    def left(self) -> int:
        """How many units are yet to be looked at, windows of max-pools included."""
        return len(self._units) - self._done

    @property
    def site(self) -> int:
        """Number of the site that comes next; the number of sites when none is left."""
        return self._units[self._done][0] if self.left else len(self.sites)

    def step(self) -> None:
        """Cut all cells along the walls of the next unit.

        Raises:
            ObservationError: If the network has other walls at another point.
        """
        site, columns = self._units[self._done]
        if not self._done or self._units[self._done - 1][0] != site:
            self._open(site)
        noises = self.noise[self._site_of == site]
        if self._pools[site]:
            noise = float(noises[columns].max())
            self._parent = self._parent[self._choose(self._functions[self._parent][:, columns], noise)]
        else:
            for column in columns:
                walls, noise = self._functions[self._parent, column], float(noises[column])
                length = np.linalg.norm(walls[:, :-1], axis=1, keepdims=True)
                self._parent = self._parent[self._cut(np.where(length > noise, walls / np.maximum(length, noise), 0.0))]
        self._done += 1

    def followed(self, cells: int, generator: np.random.Generator) -> Refinement:
        """Go to the end with some of the cells, in the name of all.

        Args:
            cells: How many to follow at most.
            generator: Draws them.

        Returns:
            A fork, at the end.
        """
        some = self.fork()
        some.thin(cells, generator)
        while some.left:
            some.step()
            some.thin(cells, generator)
        return some

    def functions(self, points: Floats) -> Floats:
        """Find the functions whose zeros are the walls around points.

        Args:
            points: In the cube, `(point, in)`.

        Returns:
            Gradients and then offsets, in the cube, at least zero at the points: `(point, wall, in + 1)`.

        Raises:
            ObservationError: If the network has other walls at another point.
        """
        walls = self.box.observed(points).walls()
        if walls.sites != self.sites or not np.array_equal(walls.site, self._site_of):
            raise ObservationError(
                f"the network has {len(walls.site)} walls of the sites {list(walls.sites)} at one point of the box and "
                f"{len(self._site_of)} of {list(self.sites)} at another, expected the same calls for every input"
            )
        gradient = walls.map.weight.cpu().numpy() * self.box.half_sides
        offset = walls.value.cpu().numpy() - np.einsum("pwi,pi->pw", gradient, points)
        return np.concatenate([gradient, offset[..., None]], axis=2)

    def thin(self, most: int, generator: np.random.Generator) -> None:
        """Keep some of the cells, drawn at random, each in the name of others.

        Args:
            most: How many to keep at most.
            generator: Draws them.
        """
        count = len(self.systems)
        if count > most:
            kept = np.sort(generator.choice(count, most, replace=False))
            self.systems = [self.systems[cell] for cell in kept]
            self.centre, self.radius, self._parent = self.centre[kept], self.radius[kept], self._parent[kept]
            self._least, self._most = self._least[kept], self._most[kept]
            self.weight *= count / most

    def centred(self) -> tuple[Floats, Floats]:
        """Find the greatest ball in each cell.

        Returns:
            Centres in the cube `(cell, in)`, and radii `(cell,)`.
        """
        return self._balls(self.systems)

    def _open(self, site: int) -> None:
        here = self._site_of == site
        parts = np.array_split(self.centre, math.ceil(self.centre.size * len(here) / _NUMBERS))
        self._functions = np.concatenate([self.functions(some)[:, here] for some in parts])
        self._parent = np.arange(len(self.systems))
        before, self._greatest = self._greatest, np.abs(self._functions[..., :-1]).max((0, 2), initial=0.0)
        if self._weights is None:
            terms = np.full(here.sum(), max(before.max(initial=0.0), self._greatest.max(initial=0.0)))
        else:
            terms = np.abs(self._weights[site]) @ before  # what is summed up
        self.noise[here] = np.maximum(NOISE * terms, float(np.finfo(np.float64).tiny))

    def _balls(self, systems: list[Floats]) -> tuple[Floats, Floats]:
        self.programmes += self.weight * len(systems)
        return inscribed_balls(systems)

    def _cut(self, walls: Floats) -> Integers:
        # One wall for each cell, zero where it has none; returns from which cell each new one is.
        tolerance, radius = self._tolerance, self.radius
        height = np.einsum("ci,ci->c", walls[:, :-1], self.centre) + walls[:, -1]
        walls = np.where(height[:, None] < 0, -walls, walls)  # the centre is on the near side
        height = np.abs(height)
        # a wall that misses the box around a cell misses the cell
        lowest = np.minimum(walls[:, :-1] * self._least, walls[:, :-1] * self._most).sum(1) + walls[:, -1]
        live = walls[:, :-1].any(axis=1) & (lowest < _MISSED)
        through = live & (height < radius - 2 * tolerance)
        # the greatest balls within the parts of the ball that the wall cuts; elsewhere its own, as far as the wall
        near_centre = np.where(through[:, None], self._moved(walls, (radius - height) / 2), self.centre)
        near_radius = np.where(through, (radius + height) / 2, np.where(live, np.minimum(radius, height), radius))
        far_centre = self._moved(walls, -(radius + height) / 2)
        far_radius = np.where(through, (radius - height) / 2, -1.0)
        unsure = np.flatnonzero(live & ~through)
        if len(unsure):
            systems = [np.vstack([self.systems[cell], -walls[cell]]) for cell in unsure]
            far_centre[unsure], far_radius[unsure] = self._balls(systems)
        thin = np.flatnonzero((far_radius > tolerance) & (near_radius <= tolerance))
        if len(thin):
            near_centre[thin], near_radius[thin] = self._balls(
                [np.vstack([self.systems[cell], walls[cell]]) for cell in thin]
            )
        near, far = near_radius > tolerance, far_radius > tolerance
        bounded = near & (far_radius > _MISSED)
        moved = np.flatnonzero(far & near)
        swapped = np.flatnonzero(far & ~near)
        added = [np.vstack([self.systems[cell], -walls[cell]]) for cell in moved]
        for cell in np.flatnonzero(bounded):
            self.systems[cell] = np.vstack([self.systems[cell], walls[cell]])
        for cell in swapped:
            self.systems[cell] = np.vstack([self.systems[cell], -walls[cell]])
        near_centre[swapped], near_radius[swapped] = far_centre[swapped], far_radius[swapped]
        kept = ~near & ~far  # thinner than the tolerance on both sides
        near_centre[kept], near_radius[kept] = self.centre[kept], radius[kept]
        beyond = _tightened(self._least[moved], self._most[moved], -walls[moved])
        for cells, side in ((bounded, walls), (swapped, -walls)):
            self._least[cells], self._most[cells] = _tightened(self._least[cells], self._most[cells], side[cells])
        self._least, self._most = np.concatenate([self._least, beyond[0]]), np.concatenate([self._most, beyond[1]])
        self.systems += added
        self.centre = np.concatenate([near_centre, far_centre[moved]])
        self.radius = np.concatenate([near_radius, far_radius[moved]])
        return np.concatenate([np.arange(len(radius)), moved])

    def _moved(self, walls: Floats, distance: Floats) -> Floats:
        moved: Floats = self.centre + walls[:, :-1] * distance[:, None]
        return moved

    def _choose(self, leads: Floats, noise: float) -> Integers:
        # By what the winner leads over each place, (cell, place, in + 1): the part of each cell where a place wins.
        cells, systems = [], []
        for cell, lead in enumerate(leads):
            for place in range(len(lead)):
                half_spaces = _wins(lead, place, noise)
                if half_spaces is not None:
                    cells.append(cell)
                    systems.append(np.vstack([self.systems[cell], half_spaces]))
        parent = np.array(cells)
        centre, radius = self._balls(systems)
        wide = radius > self._tolerance
        # a cell of which no place has a part wide enough stays as it is
        left = np.setdiff1d(np.arange(len(leads)), parent[wide])
        origin = np.concatenate([left, parent[wide]])
        self.systems = [self.systems[cell] for cell in left] + [systems[part] for part in np.flatnonzero(wide)]
        self.centre = np.concatenate([self.centre[left], centre[wide]])
        self.radius = np.concatenate([self.radius[left], radius[wide]])
        self._least, self._most = self._least[origin], self._most[origin]
        return origin


def _units(walls: Walls) -> list[tuple[int, Integers]]:
    # Of each unit, its site and which of the site's walls are its own, places of a max-pool in their order.
    found = []
    for site in range(len(walls.sites)):
        columns = np.flatnonzero(walls.site == site)
        order = np.lexsort((walls.beyond[columns], walls.unit[columns]))
        starts = np.flatnonzero(np.diff(walls.unit[columns][order])) + 1
        found += [(site, own) for own in np.split(order, starts) if len(own)]
    return found


def _tightened(least: Floats, most: Floats, walls: Floats) -> tuple[Floats, Floats]:
    # The boxes around cells, each smaller by what a wall cuts off.
    normal = walls[:, :-1]
    greatest = np.maximum(normal * least, normal * most)
    rest = greatest.sum(1, keepdims=True) + walls[:, -1:] - greatest  # of all other coordinates
    safe = np.where(np.abs(normal) > _MISSED, normal, 1.0)
    bound = -rest / safe
    return (
        np.where(normal > _MISSED, np.maximum(least, bound), least),
        np.where(normal < -_MISSED, np.minimum(most, bound), most),
    )


def _wins(lead: Floats, place: int, noise: float) -> Floats | None:
    # Half-spaces within which a place is ahead of all others, of equal ones the first; None where it never is.
    ahead = lead - lead[place]
    length = np.linalg.norm(ahead[:, :-1], axis=1)
    constant = length <= noise
    other = np.arange(len(lead))
    behind = constant & ((ahead[:, -1] < -noise) | ((np.abs(ahead[:, -1]) <= noise) & (other < place)))
    if behind.any():
        return None
    half_spaces: Floats = ahead[~constant] / length[~constant, None]
    return half_spaces
