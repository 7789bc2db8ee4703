"""Strategies and predicates of the claims of Johansson 2022 on mean differences of singular values between neighbours.

One hidden layer, its weights drawn from finite laws: means are sums over all outcomes, in whole numbers. Both sides of
each claim grow with the variances of both layers, so that those need not be 1 over the number of inputs.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_laws import signed, variance

Cases = SearchStrategy[dict[str, Any]]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_EPS = np.finfo(np.float64).eps
_C = 1 / 3
_MOST = 6
"""Weights of a network: of up to four values each, so that there are 4^6 outcomes."""


def laws() -> Cases:
    """Return sizes, magnitudes of the weights of both layers, and biases of which no two ratios are equally far."""
    sizes = st.tuples(st.sampled_from([2, 3, 1]), st.integers(1, 2), st.integers(1, 2)).filter(
        lambda found: found[0] * (found[1] + found[2]) <= _MOST
    )
    return sizes.flatmap(lambda found: _laws(*found))


def laws_of_a_fixed_unit() -> Cases:
    """Return the same, each with a hidden unit."""
    return laws().flatmap(lambda case: st.integers(0, len(case["biases"]) - 1).map(lambda unit: case | {"unit": unit}))


def widths() -> Cases:
    """Return numbers of hidden units between one input and one output."""
    return st.fixed_dictionaries({"hidden": st.sampled_from([2, 4, 8, 1])})


def expected_perturbation(
    inputs: int, outputs: int, inward: list[int], outward: list[int], biases: list[int], unit: int
) -> bool:
    """Return whether it is at the foot of 0 on the wall of that unit, and C^2 n_c / n_1 is the mean of the bound."""
    first, second = _outcomes(inputs, outputs, inward, outward, len(biases))
    row = first[:, unit]
    inner = np.einsum("ski,si->sk", first, row)  # the foot is -b w / |w|^2
    active = np.array(biases) * np.sum(row**2, axis=1)[:, None] > biases[unit] * inner
    chosen = np.full(len(first), unit)
    mean, rounding = _mean_difference(first, second, active, chosen)
    claimed = printed(inputs, outputs, inward, outward)
    return _mean_square(first, second, chosen) == claimed and mean <= claimed + rounding


def expected_perturbation_nearest(
    inputs: int, outputs: int, inward: list[int], outward: list[int], biases: list[int]
) -> bool:
    """Return whether the mean is at most C^2 n_c / n_1 for the region of 0 and the one beyond its nearest wall."""
    mean, rounding = nearest_difference(inputs, outputs, inward, outward, biases)
    return mean <= printed(inputs, outputs, inward, outward) + rounding


def expected_perturbation_nearest_row(
    inputs: int, outputs: int, inward: list[int], outward: list[int], biases: list[int]
) -> bool:
    """Return whether it is at most C n_c / n_1 E[|w_k|^2], k of the nearest wall, and that is the mean of the bound."""
    first, second = _outcomes(inputs, outputs, inward, outward, len(biases))
    mean, rounding = nearest_difference(inputs, outputs, inward, outward, biases)
    bound = outputs * variance(outward) * _mean_square_of_nearest(inputs, inward, biases)
    return _mean_square(first, second, _nearest(first, biases)) == bound and mean <= bound + rounding


def expected_perturbation_nearest_uniform(generator: np.random.Generator, size: int, hidden: int) -> Floats:
    """Return squared norms of the perturbation between the region of 0 and the one beyond its nearest wall."""
    inward, outward, nearest = _drawn(generator, size, hidden)
    found: Floats = np.take_along_axis(inward * outward, nearest, 1)[:, 0] ** 2
    return found


def expected_perturbation_nearest_uniform_value(hidden: int) -> float:
    """Return C n_c / n_1 (1 / 2 - 2^-n_1 / (n_1 + 2))."""
    return _C / hidden * (1 / 2 - 0.5**hidden / (hidden + 2))


def nearest_difference(
    inputs: int, outputs: int, inward: list[int], outward: list[int], biases: list[int]
) -> tuple[Fraction, Fraction]:
    """Compute the mean of the squared differences between the region of 0 and the one beyond its nearest wall.

    Args:
        inputs: n_0.
        outputs: n_c.
        inward: Magnitudes of the weights of the first layer.
        outward: Those of the second.
        biases: One for each hidden unit.

    Returns:
        The mean, and what it may be off by.
    """
    first, second = _outcomes(inputs, outputs, inward, outward, len(biases))
    active = np.broadcast_to(np.array(biases) > 0, first.shape[:2])
    return _mean_difference(first, second, active, _nearest(first, biases))


def printed(inputs: int, outputs: int, inward: list[int], outward: list[int]) -> Fraction:
    """Return C^2 n_c / n_1.

    Args:
        inputs: n_0.
        outputs: n_c.
        inward: Magnitudes of the weights of the first layer, whose variance is C / n_0.
        outward: Those of the second, whose variance is C / n_1.

    Returns:
        The bound.
    """
    return inputs * outputs * variance(inward) * variance(outward)


def squares(hidden: int) -> tuple[float, float]:
    """Return bounds of w_1^2 w_2^2, and more than rounding beyond them."""
    return 0.0, (1 + 2**-20) / hidden


def _laws(hidden: int, inputs: int, outputs: int) -> Cases:
    magnitudes = st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True)
    pairs = st.lists(st.integers(1, 3), min_size=2, max_size=2, unique=True)
    # of magnitudes up to 3, no two walls are equally far: 5 |w| is never 7 |w'|
    order = st.permutations([5, 7, 11]).map(lambda found: found[:hidden])
    signs = st.lists(st.sampled_from([-1, 1]), min_size=hidden, max_size=hidden)
    biases = st.tuples(order, signs).map(lambda found: [a * b for a, b in zip(*found, strict=True)])
    return st.fixed_dictionaries(
        {
            "inputs": st.just(inputs),
            "outputs": st.just(outputs),
            "inward": st.one_of(pairs, magnitudes),
            "outward": magnitudes,
            "biases": biases,
        }
    )


# all weights (outcome, unit, input) and (outcome, output, unit), equally likely
def _outcomes(
    inputs: int, outputs: int, inward: list[int], outward: list[int], hidden: int
) -> tuple[Integers, Integers]:
    first = list(itertools.product(signed(inward), repeat=hidden * inputs))
    second = list(itertools.product(signed(outward), repeat=outputs * hidden))
    left = np.repeat(np.array(first, dtype=np.int64), len(second), axis=0)
    right = np.tile(np.array(second, dtype=np.int64), (len(first), 1))
    return left.reshape(-1, hidden, inputs), right.reshape(-1, outputs, hidden)


# the unit whose wall is nearest to 0, for each outcome
def _nearest(first: Integers, biases: list[int]) -> Integers:
    found: Integers = np.argmin(np.square(biases) / np.sum(first**2, axis=2), axis=1)
    return found


# Mean over the outcomes of the sum of (s - s')^2, and what it may be off by. Of matrices with at most two singular
# values, with f = |A|^2 and d = |det A|: (s_1 + s_2)^2 = f + 2 d and (s_1 - s_2)^2 = f - 2 d.
def _mean_difference(
    first: Integers, second: Integers, active: npt.NDArray[np.bool_], unit: Integers
) -> tuple[Fraction, Fraction]:
    switched = active.copy()
    switched[np.arange(len(unit)), unit] ^= True
    (f, d), (g, e) = (_invariants(second @ (z[:, :, None] * first)) for z in (active, switched))
    roots = [*np.sqrt((f + 2 * d) * (g + 2 * e)).tolist(), *np.sqrt((f - 2 * d) * (g - 2 * e)).tolist()]
    total, inner = int(np.sum(f + g)), math.fsum(roots)
    # each root is off by eps / 2 of itself at most, and so is their sum; a root of a square is not off at all
    numbers = first.shape[2] == second.shape[1] == 1
    rounding = Fraction(0) if numbers else Fraction(2 * _EPS) * Fraction(inner)
    return (total - Fraction(inner)) / len(f), rounding / len(f)


def _invariants(maps: Integers) -> tuple[Integers, Integers]:
    square = np.sum(maps**2, axis=(1, 2))
    if maps.shape[1:] != (2, 2):
        return square, np.zeros_like(square)
    return square, np.abs(maps[:, 0, 0] * maps[:, 1, 1] - maps[:, 0, 1] * maps[:, 1, 0])


# mean of |E|^2, E = the column of W_2 times the row of W_1 of that unit, formed
def _mean_square(first: Integers, second: Integers, unit: Integers) -> Fraction:
    places = np.arange(len(unit))
    e = second[places, :, unit][:, :, None] * first[places, unit][:, None, :]
    return Fraction(int(np.sum(e**2)), len(unit))


# mean of |w_k|^2 over all W_1, k the unit whose wall is nearest to 0
def _mean_square_of_nearest(inputs: int, inward: list[int], biases: list[int]) -> Fraction:
    rows = list(itertools.product(signed(inward), repeat=inputs))
    lengths = [sum(value**2 for value in row) for row in rows]
    found = [
        min(zip(biases, chosen, strict=True), key=lambda wall: Fraction(wall[0] ** 2, wall[1]))[1]
        for chosen in itertools.product(lengths, repeat=len(biases))
    ]
    return Fraction(sum(found), len(found))


# as torch draws them; and the unit whose wall is nearest to 0
def _drawn(generator: np.random.Generator, size: int, hidden: int) -> tuple[Floats, Floats, Integers]:
    inward, bias = generator.uniform(-1, 1, (2, size, hidden))
    outward = generator.uniform(-1, 1, (size, hidden)) / np.sqrt(hidden)
    nearest: Integers = np.argmin(np.abs(bias / inward), axis=1)[:, None]
    return inward, outward, nearest
