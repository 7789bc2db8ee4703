"""Strategies, predicates and samples of the claims of Gamba et al. 2020 on projection statistics.

The rows of an unrolled convolution are taken from its values on the standard basis, in whole numbers: exact in float64.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

Cases = SearchStrategy[dict[str, Any]]
Filter = list[list[list[int]]]
"""Weights `(channel, row, column)`."""
Floats = npt.NDArray[np.float64]

_ENTRIES = st.integers(-3, 3)


def convolutions() -> Cases:
    """Return filters, each with the size of its input, a stride and a zero-padding."""
    sizes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
    return sizes.flatmap(lambda size: _convolution(*size))


def convolutions_with_bias() -> Cases:
    """Return the same, each with a bias and with the factor of a point on the identity line."""
    others = st.fixed_dictionaries({"bias": _ENTRIES, "factor": st.integers(1, 20)})
    return st.tuples(convolutions(), others).map(lambda found: found[0] | found[1])


def convolutions_without_bias() -> Cases:
    """Return the same with bias 0."""
    return convolutions_with_bias().map(lambda case: case | {"bias": 0})


def filters() -> Cases:
    """Return layers of up to six filters, given by weights whose sum is not 0."""
    weights = st.lists(_ENTRIES, min_size=1, max_size=4).filter(sum)
    return st.fixed_dictionaries({"filters": st.lists(weights, min_size=1, max_size=6)})


def shapes() -> Cases:
    """Return sizes C and k of filters with more than one weight."""
    return st.fixed_dictionaries({"channels": st.integers(1, 2), "kernel": st.integers(2, 3)})


def projection_cosine(weight: Filter, height: int, width: int, stride: int, padding: int) -> bool:
    """Return whether each row, times the vector of ones, is the sum of all weights; both sides have the same A."""
    total = _total(weight)
    return all(int(row.sum()) == total for row in _rows(weight, height, width, stride, padding) if row.any())


def projection_cosine_within(weight: Filter, height: int, width: int, stride: int, padding: int) -> bool:
    """Return whether each row, times the vector of ones, is the sum of the weights that lie on the input."""
    kernel = len(weight[0])
    tops = range(-padding, height + padding - kernel + 1, stride)
    lefts = range(-padding, width + padding - kernel + 1, stride)
    sums = [
        sum(
            channel[p][q]
            for channel in weight
            for p, q in itertools.product(range(kernel), repeat=2)
            if 0 <= top + p < height and 0 <= left + q < width
        )
        for top, left in itertools.product(tops, lefts)
    ]
    return _rows(weight, height, width, stride, padding).sum(1).tolist() == sums


def cosine_sign_only(
    weight: Filter, height: int, width: int, stride: int, padding: int, bias: int, factor: int
) -> bool:
    """Return whether factor times the vector of ones lies on that side of all hyperplanes that the sign says."""
    rows = _rows(weight, height, width, stride, padding)
    return all(_sign(factor * int(row.sum()) + bias) == _sign(_total(weight)) for row in rows if row.any())


def cosine_sign_only_within(
    weight: Filter, height: int, width: int, stride: int, padding: int, bias: int, factor: int
) -> bool:
    """Return whether it does on hyperplanes of whole receptive fields, beyond |b| over the row's product with ones."""
    kernel, total = len(weight[0]), _total(weight)
    down, across = (
        [0 <= start and start + kernel <= size for start in range(-padding, size + padding - kernel + 1, stride)]
        for size in (height, width)
    )
    rows = _rows(weight, height, width, stride, padding)
    whole = [row for row, (a, b) in zip(rows, itertools.product(down, across), strict=True) if a and b]
    if factor * abs(total) <= abs(bias) and bias:
        return True
    return all(_sign(factor * int(row.sum()) + bias) == _sign(total) for row in whole)


def alignment_probability(filters: list[list[int]]) -> bool:
    """Return whether F / 2^F is the probability that all cosines agree in sign, or that all are positive."""
    number = len(filters)
    return Fraction(number, 2**number) in (_share(filters, agreeing=True), _share(filters, agreeing=False))


def alignment_probability_two(filters: list[list[int]]) -> bool:
    """Return whether 2 / 2^F is the probability that all cosines agree in sign."""
    return _share(filters, agreeing=True) == Fraction(2, 2 ** len(filters))


def cosines_at_init(generator: np.random.Generator, size: int, channels: int, kernel: int) -> Floats:
    """Return fourth powers of cosines, each over the square of the variance 1 / (C H W)."""
    weights = generator.standard_normal((size, channels * kernel**2))
    found: Floats = np.sum(weights, axis=1) ** 4 / np.sum(weights**2, axis=1) ** 2
    return found


def cosines_at_init_value(channels: int, kernel: int) -> float:
    """Return 3 n / (n + 2), n = C k^2."""
    number = channels * kernel**2
    return 3 * number / (number + 2)


def cosines_at_init_mean(generator: np.random.Generator, size: int, channels: int, kernel: int) -> Floats:
    """Return cosines, each over its standard deviation 1 / sqrt(C H W)."""
    weights = generator.standard_normal((size, channels * kernel**2))
    found: Floats = np.sum(weights, axis=1) / np.sqrt(np.sum(weights**2, axis=1))
    return found


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


def _total(weight: Filter) -> int:
    return sum(value for channel in weight for row in channel for value in row)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


# Of all changes of sign of whole filters, which are equally likely where the law of a filter is symmetric: the share
# where all cosines agree in sign, or all are positive.
def _share(filters: list[list[int]], *, agreeing: bool) -> Fraction:
    signs = [_sign(sum(weights)) for weights in filters]
    flips = itertools.product((1, -1), repeat=len(signs))
    drawn = [{sign * flip for sign, flip in zip(signs, flipped, strict=True)} for flipped in flips]
    return Fraction(sum(found == {1} or (agreeing and found == {-1}) for found in drawn), len(drawn))
