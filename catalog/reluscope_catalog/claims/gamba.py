"""Strategies, predicates and samples of the claims of Gamba et al. 2020 on projection statistics.

The rows of an unrolled convolution are taken from its values on the standard basis, in whole numbers: exact in float64.
"""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Cases = SearchStrategy[dict[str, Any]]
Filter = list[list[list[int]]]
"""Weights `(channel, row, column)`."""

_ENTRIES = st.integers(-3, 3)
_MAGNITUDES = st.lists(st.integers(0, 3), min_size=1, max_size=4)


def convolutions() -> Cases:
    """Return filters, each with the size of its input, a stride and a zero-padding."""
    sizes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
    return sizes.flatmap(lambda size: _convolution(*size))


def convolutions_with_bias() -> Cases:
    """Return the same where some receptive field is whole, with a bias and with the factor of a point of the line."""
    whole = st.tuples(convolutions(), st.integers(-5, 5), st.integers(1, 6))
    return whole.map(lambda found: _enlarged(found[0]) | {"bias": found[1], "factor": found[2]})


def convolutions_without_bias() -> Cases:
    """Return filters of convolutions without bias, each with the factor of a point on the identity line."""
    return st.tuples(convolutions(), st.integers(1, 20)).map(lambda found: found[0] | {"bias": 0, "factor": found[1]})


def filters() -> Cases:
    """Return layers of up to ten filters, given by the magnitudes of their weights."""
    weights = _MAGNITUDES.filter(any)
    return st.one_of(filters_that_never_vanish(), st.fixed_dictionaries({"filters": _layer(weights)}))


def filters_that_never_vanish() -> Cases:
    """Return the same where no signs of the weights make a sum of 0."""
    return st.fixed_dictionaries({"filters": _layer(_MAGNITUDES.filter(lambda weights: sum(weights) % 2))})


def shapes() -> Cases:
    """Return sizes C, k, H, W of filters and inputs, each with the order of a moment."""
    size = st.integers(0, 5)
    sizes = {"channels": st.integers(1, 3), "kernel": st.sampled_from([3, 2, 1]), "height": size, "width": size}
    order = st.sampled_from([1, 2, 4, 6, 8])
    return st.fixed_dictionaries({**sizes, "order": order}).map(
        lambda case: case | {side: case["kernel"] + case[side] for side in ("height", "width")}
    )


def projection_cosine(weight: Filter, height: int, width: int, stride: int, padding: int) -> bool:
    """Return whether each row, times the vector of ones, is the sum of all weights; both sides have the same A."""
    total = _total(weight)
    return all(int(row.sum()) == total for row in _rows(weight, height, width, stride, padding) if row.any())


def projection_cosine_within(weight: Filter, height: int, width: int, stride: int, padding: int) -> bool:
    """Return whether each row, times the vector of ones, is the sum of the weights that lie on the input."""
    size = (height, width, stride, padding)
    return _rows(weight, *size).sum(1).tolist() == _sums_on_the_input(weight, *size)


def cosine_sign_only(
    weight: Filter, height: int, width: int, stride: int, padding: int, bias: int, factor: int
) -> bool:
    """Return whether factor times the vector of ones lies on that side of all hyperplanes that the sign says."""
    rows = _rows(weight, height, width, stride, padding)
    return all(_sign(factor * int(row.sum()) + bias) == _sign(_total(weight)) for row in rows if row.any())


def cosine_sign_only_within(
    weight: Filter, height: int, width: int, stride: int, padding: int, bias: int, factor: int
) -> bool:
    """Return whether it does on hyperplanes of whole receptive fields exactly if the bias does not turn it."""
    kernel, total = len(weight[0]), _total(weight)
    down, across = (
        [0 <= start and start + kernel <= size for start in range(-padding, size + padding - kernel + 1, stride)]
        for size in (height, width)
    )
    rows = _rows(weight, height, width, stride, padding)
    whole = [row for row, (a, b) in zip(rows, itertools.product(down, across), strict=True) if a and b]
    told = _told(bias, factor, total) and whole != []
    return all((_sign(factor * int(row.sum()) + bias) == _sign(total)) == told for row in whole)


def alignment_probability(filters: list[list[int]]) -> bool:
    """Return whether F / 2^F is the probability that all cosines agree in sign, or that all are positive."""
    number = len(filters)
    agreeing, positive = _aligned(filters)
    return Fraction(number, 2**number) in (agreeing, positive)


def alignment_probability_two(filters: list[list[int]]) -> bool:
    """Return whether 2 prod (1 - q_i) / 2^F is that they agree, and F n_l is binomial where no q_i is above 0."""
    zeros = [_law(weights)[1] for weights in filters]
    agreeing, positive = _aligned(filters)
    if agreeing != 2 * math.prod(1 - zero for zero in zeros) / 2 ** len(filters) or agreeing != 2 * positive:
        return False
    binomial = [Fraction(math.comb(len(filters), k), 2 ** len(filters)) for k in range(len(filters) + 1)]
    return any(zeros) or _negatives(filters) == binomial


def cosines_at_init(channels: int, kernel: int, height: int, width: int, order: int) -> bool:
    """Return whether a moment of the cosine is that of a normal of mean 0 and of its variance, 1 / (C H W)."""
    inputs = channels * height * width
    return cosine_moment(channels * kernel**2, inputs, order) == _normal_moment(order) / Fraction(inputs) ** (
        order // 2
    )


def cosines_at_init_sphere(channels: int, kernel: int, height: int, width: int, order: int) -> bool:
    """Return whether it is that of a coordinate of a uniform point on the sphere of radius sqrt(n / (C H W))."""
    number, inputs = channels * kernel**2, channels * height * width
    coordinate = Fraction(order % 2 == 0)
    for even in range(0, order - 1, 2):
        coordinate *= Fraction(even + 1, number + even)
    return cosine_moment(number, inputs, order) == coordinate * Fraction(number, inputs) ** (order // 2)


def cosines_at_init_limit(channels: int, kernel: int, height: int, width: int, order: int) -> bool:
    """Return whether it falls short of that of the normal by a share between m (m - 1) / (n + m (m - 1)) and / n."""
    number, inputs, half = channels * kernel**2, channels * height * width, order // 2
    found = cosine_moment(number, inputs, order)
    normal = _normal_moment(order) / Fraction(inputs) ** half
    if not normal:
        return found == 0
    least, most = _shortfall(number, order)
    return least <= 1 - found / normal <= most


def cosine_moment(number: int, inputs: int, order: int) -> Fraction:
    """Integrate a power of the cosine over independent normal weights.

    The cosine S / (|w| sqrt(C H W)), S the sum of the weights, depends on the direction of w alone, and so is
    independent of |w|: its moments are those of S over those of |w|, whose even ones are moments of a polynomial.

    Args:
        number: n, weights of the filter.
        inputs: C H W.
        order: Of the moment; odd ones are 0, since -w has the law of w.

    Returns:
        The moment.

    Example:
        >>> cosine_moment(4, 4, 2), cosine_moment(4, 4, 4)
        (Fraction(1, 4), Fraction(1, 8))
    """
    powers = [_normal_moment(power) for power in range(2 * order + 1)]
    sums, lengths = [Fraction(1)] + [Fraction(0)] * order, [Fraction(1)] + [Fraction(0)] * order
    for _ in range(number):  # of one weight more
        sums, lengths = _added(sums, powers[: order + 1]), _added(lengths, powers[::2])
    return sums[order] / (lengths[order // 2] * Fraction(inputs) ** (order // 2)) if order % 2 == 0 else sums[order]


def _layer(weights: SearchStrategy[list[int]]) -> SearchStrategy[list[list[int]]]:
    return st.lists(weights, min_size=1, max_size=10)


def _convolution(channels: int, kernel: int, padding: int, taller: int, wider: int) -> Cases:
    least = max(1, kernel - 2 * padding)
    plane = st.lists(st.lists(_ENTRIES, min_size=kernel, max_size=kernel), min_size=kernel, max_size=kernel)
    return st.fixed_dictionaries(
        {
            "weight": st.lists(plane, min_size=channels, max_size=channels),
            "height": st.just(least + taller),
            "width": st.just(least + wider),
            "stride": st.integers(1, 2),
            "padding": st.just(padding),
        }
    )


# (receptive field, channel and place)
def _rows(weight: Filter, height: int, width: int, stride: int, padding: int) -> torch.Tensor:
    inputs = len(weight) * height * width
    basis = torch.eye(inputs, dtype=torch.float64).reshape(inputs, len(weight), height, width)
    kernel = torch.tensor([weight], dtype=torch.float64)
    return torch.nn.functional.conv2d(basis, kernel, stride=stride, padding=padding).flatten(1).t()


# of the weights that lie on the input, for each receptive field
def _sums_on_the_input(weight: Filter, height: int, width: int, stride: int, padding: int) -> list[int]:
    kernel = len(weight[0])
    tops = range(-padding, height + padding - kernel + 1, stride)
    lefts = range(-padding, width + padding - kernel + 1, stride)
    return [
        sum(
            channel[p][q]
            for channel in weight
            for p, q in itertools.product(range(kernel), repeat=2)
            if 0 <= top + p < height and 0 <= left + q < width
        )
        for top, left in itertools.product(tops, lefts)
    ]


# whether the bias does not turn the sign: it has that of the sum of the weights, or f |W_m 1| > |b|
def _told(bias: int, factor: int, total: int) -> bool:
    return bias == 0 or bias * total > 0 or factor * abs(total) > abs(bias)


# m (m - 1) / (n + m (m - 1)) and m (m - 1) / n, m half of the order
def _shortfall(number: int, order: int) -> tuple[Fraction, Fraction]:
    pairs = order // 2 * (order // 2 - 1)
    return Fraction(pairs, number + pairs), Fraction(pairs, number)


def _total(weight: Filter) -> int:
    return sum(value for channel in weight for row in channel for value in row)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


# probabilities that the cosine of a filter is below 0, 0, and above 0: all signs of its weights are equally likely
def _law(weights: list[int]) -> tuple[Fraction, Fraction, Fraction]:
    sums = [_sign(sum(signed)) for signed in itertools.product(*((w, -w) for w in weights))]
    below, zero, above = (Fraction(sums.count(sign), len(sums)) for sign in (-1, 0, 1))
    return below, zero, above


# probabilities that all cosines agree in sign, and that all are positive
def _aligned(filters: list[list[int]]) -> tuple[Fraction, Fraction]:
    below, _, above = (math.prod(found) for found in zip(*map(_law, filters), strict=True))
    return Fraction(below + above), Fraction(above)


# law of the number of filters whose cosine is at most 0, as equation 2 counts them
def _negatives(filters: list[list[int]]) -> list[Fraction]:
    found = [Fraction(1)]
    for weights in filters:
        above = _law(weights)[2]
        found = [a * above + b * (1 - above) for a, b in zip([*found, Fraction(0)], [Fraction(0), *found], strict=True)]
    return found


# E[z^order] of a standard normal z
def _normal_moment(order: int) -> Fraction:
    return Fraction(math.prod(range(order - 1, 0, -2)) if order % 2 == 0 else 0)


# moments of the sum of two independent variables, from theirs
def _added(first: list[Fraction], second: list[Fraction]) -> list[Fraction]:
    return [
        sum((math.comb(order, k) * first[k] * second[order - k] for k in range(order + 1)), Fraction(0))
        for order in range(len(first))
    ]


# an input on which some receptive field needs no padding
def _enlarged(case: dict[str, Any]) -> dict[str, Any]:
    least = len(case["weight"][0]) + (case["padding"] % case["stride"] > 0)
    return case | {side: max(case[side], least) for side in ("height", "width")}
