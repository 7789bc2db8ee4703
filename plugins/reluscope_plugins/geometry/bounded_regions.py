"""Whether the region that holds an input is bounded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from reluscope.errors import ObservationError

if TYPE_CHECKING:
    from reluscope.observation import Observation

Array = npt.NDArray[np.float64]

LIMIT = 2**21
"""Numbers that a sample's walls may hold, walls times inputs: at 784 inputs and 2400 walls, 1.9 million, a linear
programme takes about a minute."""

FEASIBILITY = 1e-9
"""How far a direction may point out of a wall of unit normal: HiGHS's tolerance for what is feasible."""


class Boundedness(NamedTuple):
    """Which regions are bounded.

    Attributes:
        bounded: `(sample,)`.
        direction: `(sample, in)`, of greatest component 1: along it the region reaches to infinity from each of its
            points; zero where the region is bounded.
        programmes: How many linear programmes were solved; the other samples were told by the rank of their walls.
    """

    bounded: npt.NDArray[np.bool_]
    direction: Array
    programmes: int


def region_boundedness(observation: Observation, *, limit: int = LIMIT) -> Boundedness:
    r"""Tell for each sample whether the region of its activation pattern is bounded.

    The region is $\{y : g_i \cdot y + c_i \ge 0\}$ over its walls $i$: one for each unit of two states, two for one
    between its two kinks, one for each loser of a max-pool's window. It is bounded if and only if its recession cone
    $\{d : g_i \cdot d \ge 0\}$ holds zero alone. So it is unbounded, and of infinite volume where it has an inside,

    - if the walls' gradients do not span the input space, which is looked at first (singular values of the stacked
      gradients, NumPy's tolerance): a direction that no gradient sees leads to infinity on both sides;
    - else if the linear programme $\max \sum_i g_i \cdot d$ over $g_i \cdot d \ge 0$, $|d|_\infty \le 1$, with unit
      gradients, has a solution other than zero.

    Decided in double precision with a feasibility tolerance of 1e-9: a region more than about 1e8 times as long as wide
    may count as unbounded. Gradients of a network in float32 are known to 1e-7 only, so there already one 1e6 times as
    long may; observe the network in float64 where that matters.

    Cost: all walls' gradients, `sample * walls * in` numbers in as many passes as there are walls; for each sample a
    singular value decomposition of walls times inputs, and where the gradients span the input space, a linear programme
    of that size.

    Args:
        observation: One batch, with the affine map.
        limit: Numbers that a sample's walls may hold, walls times inputs.

    Returns:
        Whether each sample's region is bounded, and else where it leads to.

    Raises:
        ObservationError: If the walls hold more than `limit` numbers, or a linear programme is not solved.

    References:
        Johansson 2022, section 2.1.1, for regions and their volume; Schrijver 1986, section 8.2, for recession cones.

    Example:
        >>> import torch
        >>> from reluscope import observe
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU())  # kinks at 0 and 1
        >>> _ = model[0].weight.data.copy_(torch.tensor([[1.0], [-1.0]]))
        >>> _ = model[0].bias.data.copy_(torch.tensor([0.0, 1.0]))
        >>> found = region_boundedness(observe(model, torch.tensor([[-1.0], [0.5], [2.0]]), affine=True))
        >>> found.bounded.tolist(), found.direction.ravel().tolist()
        ([False, True, False], [-1.0, 0.0, 1.0])
    """
    walls = observation.walls()
    _, count, inputs = walls.map.shape
    if count * inputs > limit:
        raise ObservationError(
            f"region_boundedness: each sample has {count} walls in {inputs} inputs, {count * inputs} numbers, expected "
            f"at most {limit}; take a smaller network, or raise limit and wait: a linear programme of 1.9 million "
            "takes about a minute"
        )
    gradients = walls.map.weight.detach().cpu()
    rounding = max(count, inputs) * torch.finfo(gradients.dtype).eps
    directions = np.zeros((len(gradients), inputs))
    programmes = 0
    for sample, gradient in enumerate(gradients.double().numpy()):
        unseen = _unseen(gradient, rounding)
        programmes += unseen is None
        directions[sample] = _recession(gradient) if unseen is None else unseen
    bounded = np.logical_not(directions.any(axis=1))
    return Boundedness(np.asarray(bounded), directions, programmes)


def never_bounded(inputs: int, widths: Sequence[int], *, states: int = 2) -> bool:
    r"""Tell whether no region of fully connected layers in a chain is bounded, whatever the weights.

    The first layer alone decides, but for one case: what deeper layers see of the input is $W_1 y$, so the gradients
    of all walls lie in the row space of $W_1$. With $n_1 < n_0$ some direction is seen by no wall, and no region is
    bounded, however many units follow. With $n_1 = n_0$ units of two states the first layer's walls leave a cone, which
    a second layer can close. With more, a simplex fits in between the walls of the first layer.

    The source says that all regions are unbounded where $n_0 \ge \sum_l n_l$. That is true, since $n_0 + 1$ walls are
    the least that enclose a bounded region, but there are far more such networks: 784-200-200-200-200-200-10 has 1000
    hidden units, more than inputs, and no bounded region. This function is exact: where it says no, some weights give a
    bounded region (those at hand need not; `region_boundedness` looks at them). Of the source's two wordings the words,
    fewer neurons than inputs, are narrower than the formula, which allows for as many.

    Args:
        inputs: Input dimension $n_0$.
        widths: Units of the hidden layers, from the first.
        states: Linear pieces of each unit: 2 (ReLU, leaky ReLU), or 3 (ReLU6, hard tanh), whose middle one lies between
            two parallel walls.

    Returns:
        Whether no region can be bounded.

    Raises:
        ObservationError: If a number is not one of units, inputs or states.

    References:
        Johansson 2022, section 2.1.1, second item, corrected.

    Example:
        >>> never_bounded(784, [200, 200, 200, 200, 200]), never_bounded(2, [2]), never_bounded(2, [2, 1])
        (True, True, False)
    """
    if inputs < 1 or not widths or min(widths) < 1 or states not in (2, 3):
        raise ObservationError(
            f"never_bounded: got {inputs} inputs, widths {list(widths)} and {states} states, expected at least one "
            "input, at least one hidden layer with a unit in each, and 2 or 3 states"
        )
    if widths[0] != inputs:
        return widths[0] < inputs
    return states == 2 and len(widths) == 1


def _unseen(gradient: Array, rounding: float) -> Array | None:
    # A direction that is orthogonal to all gradients, None where they span the space.
    _, values, rows = np.linalg.svd(gradient, full_matrices=False)
    rows = rows[: int((values > rounding * values[0]).sum())]
    if len(rows) == gradient.shape[1]:
        return None
    axis = int((rows**2).sum(0).argmin())  # the one that the gradients see least
    direction: Array = np.eye(gradient.shape[1])[axis] - rows[:, axis] @ rows
    return direction / direction[np.abs(direction).argmax()]


def _recession(gradient: Array) -> Array:
    # A direction of the recession cone, zero where there is no other.
    from scipy.optimize import linprog

    length = np.linalg.norm(gradient, axis=1)
    unit = gradient[length > 0] / length[length > 0, None]
    options = {"primal_feasibility_tolerance": FEASIBILITY, "dual_feasibility_tolerance": FEASIBILITY}
    zeros = np.zeros(len(unit))
    solved = linprog(-unit.sum(0), A_ub=-unit, b_ub=zeros, bounds=(-1.0, 1.0), method="highs", options=options)
    if not solved.success:
        raise ObservationError(
            f"region_boundedness: HiGHS gave up on a linear programme of {len(unit)} walls in {unit.shape[1]} inputs "
            f"({solved.message}); observe the network in float64, or leave this sample out"
        )
    direction: Array = solved.x
    greatest = np.abs(direction).max()
    # A solution other than zero reaches the edge of the box; what is less is the tolerance.
    return direction / greatest if greatest > 0.5 else np.zeros_like(direction)
