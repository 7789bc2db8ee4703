"""The greatest ball in each of many polytopes, by linear programming."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from reluscope.errors import ObservationError

Floats = npt.NDArray[np.float64]

FEASIBILITY = 1e-10
"""HiGHS's tolerance for what is feasible, the least that it takes."""

_NUMBERS = 2**14
"""Numbers of the constraints of one linear programme: more make it slower for each polytope, fewer cost overhead."""


def inscribed_balls(systems: Sequence[Floats]) -> tuple[Floats, Floats]:
    r"""Find a greatest ball in each polytope: its Chebyshev centre and radius.

    Of half-spaces $n_i \cdot x + o_i \ge 0$ with unit normals, the linear programme $\max r$ over $n_i \cdot x + o_i
    \ge r$. Many are solved as one with a block for each, by HiGHS's dual simplex.

    Args:
        systems: The half-spaces of each polytope, `(half-space, in + 1)`, a normal and then its offset in each row;
            each polytope bounded.

    Returns:
        Centres `(polytope, in)` and radii `(polytope,)`. A negative radius says that there is no point in the polytope,
        and how far the half-spaces would have to be moved outwards for one.

    Raises:
        ObservationError: If HiGHS gives up.

    References:
        Boyd & Vandenberghe 2004, section 8.5.1.

    Example:
        >>> square = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
        >>> inscribed_balls([square, np.vstack([square, [1.0, 0.0, -3.0]])])[1].tolist()
        [1.0, -1.0]
    """
    if not systems:
        return np.empty((0, 0)), np.empty(0)
    found = np.concatenate([_solved(some) for some in _batches(systems)])
    return found[:, :-1], found[:, -1]


def _batches(systems: Sequence[Floats]) -> Iterator[Sequence[Floats]]:
    ends = np.cumsum([system.size for system in systems]) // _NUMBERS
    for some in np.split(np.arange(len(systems)), np.flatnonzero(np.diff(ends)) + 1):
        yield systems[some[0] : some[-1] + 1]


def _solved(systems: Sequence[Floats]) -> Floats:
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    width = systems[0].shape[1]
    block = np.repeat(np.arange(len(systems)), [len(system) for system in systems])
    rows = np.concatenate(systems)
    offsets = rows[:, -1].copy()
    rows = -rows
    rows[:, -1] = 1.0
    columns = block[:, None] * width + np.arange(width)
    starts = np.arange(len(rows) + 1) * width
    matrix = csr_array((rows.ravel(), columns.ravel(), starts), shape=(len(rows), len(systems) * width))
    objective = np.zeros((len(systems), width))
    objective[:, -1] = -1.0
    tolerances = {"primal_feasibility_tolerance": FEASIBILITY, "dual_feasibility_tolerance": FEASIBILITY}
    solved = linprog(
        objective.ravel(),
        A_ub=matrix,
        b_ub=offsets,
        bounds=(None, None),
        method="highs-ds",
        options={"presolve": False, **tolerances},
    )
    if not solved.success:
        if len(systems) > 1:  # one that is badly scaled must not stop the others
            return np.concatenate([_solved([system]) for system in systems])
        raise ObservationError(
            f"HiGHS gave up on a linear programme of {len(rows)} half-spaces in {width - 1} inputs ({solved.message}); "
            "choose a box whose sides are of the size of the data"
        )
    solution: Floats = solved.x.reshape(len(systems), width)
    return solution
