"""Strategies and predicates of the claims of Johansson 2022 on ranks."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from typing import Any

import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope.observation import observe
from reluscope_catalog.claims import exact_networks as exact
from reluscope_catalog.claims.exact_matrices import Matrix, reduced, transposed
from reluscope_catalog.claims.exact_matrices import product as multiplied
from reluscope_plugins.geometry.active_units import rank_bound

Cases = SearchStrategy[dict[str, Any]]

_SEEDS = st.integers(0, 2**32 - 1)
_SIZES = st.integers(1, 4)
_RANGE = 2**24
"""Entries are k / 2^24, k uniform: a polynomial of degree d, not zero, vanishes with probability d / 2^25 at most."""


def drawn_networks() -> Cases:
    """Return widths of networks, each with a seed of its weights and the mean of its biases."""
    hidden = st.lists(st.integers(1, 6), min_size=1, max_size=3)
    widths = st.tuples(st.integers(1, 5), hidden, st.integers(1, 5)).map(lambda found: [found[0], *found[1], found[2]])
    return st.fixed_dictionaries({"widths": widths, "seed": _SEEDS, "bias": st.sampled_from([1, 0, 3])})


def independent_matrices() -> Cases:
    """Return sizes n_1 ... n_(n + 1) of factors, each with a seed."""
    sizes = st.lists(_SIZES, min_size=3, max_size=6)
    return st.fixed_dictionaries({"sizes": sizes, "seed": _SEEDS, "turned": st.just(False)})


def random_matrices() -> Cases:
    """Return sizes of factors, independent ones and pairs of which the second is made of the entries of the first."""
    pairs = st.tuples(_SIZES, st.integers(1, 2)).map(lambda size: [size[0], 2 * size[1], size[0]])
    turned = st.fixed_dictionaries({"sizes": pairs, "seed": _SEEDS, "turned": st.just(True)})
    return st.one_of(independent_matrices(), turned)


def rank_at_init(widths: list[int], seed: int, bias: int) -> bool:
    """Return whether rank W_R = min(n_0, n_c, least trace Z_i), and so says the library."""
    layers, x = _network(widths, seed, bias)
    pattern = exact.states(layers[:-1], x)
    printed = _printed_rank(widths, pattern)
    observation = observe(exact.module(layers), torch.tensor([[float(value) for value in x]]).double(), affine=True)
    return _rank(exact.product(layers, pattern)) == printed == rank_bound(observation).item()


def rank_of_product(sizes: list[int], seed: int, turned: bool) -> bool:
    """Return whether rank(W_1 ... W_n) = min(n_1, ..., n_(n + 1))."""
    generator = random.Random(seed)
    factors = [_drawn(generator, *shape) for shape in itertools.pairwise(sizes)]
    if turned:  # columns 2j and 2j + 1 of W_1 change places, one of them with the other sign; transposed, they are W_2
        columns = transposed(factors[0])
        factors[1] = [[-value for value in columns[j - 1]] if j % 2 else columns[j + 1] for j in range(len(columns))]
    found = factors[0]
    for factor in factors[1:]:
        found = multiplied(found, factor)
    return _rank(found) == _least(sizes)


def rank_of_product_independent(sizes: list[int], seed: int, turned: bool) -> bool:
    """Return the same of matrices that are independent."""
    return rank_of_product(sizes, seed, turned)


def _network(widths: list[int], seed: int, bias: int) -> tuple[exact.Layers, exact.Row]:
    generator = random.Random(seed)
    layers = [
        {"weight": _drawn(generator, after, before), "bias": [b + bias for b in _drawn(generator, 1, after)[0]]}
        for before, after in itertools.pairwise(widths)
    ]
    return layers, _drawn(generator, 1, widths[0])[0]


def _drawn(generator: random.Random, height: int, width: int) -> Matrix:
    return [[Fraction(generator.randint(-_RANGE, _RANGE), _RANGE) for _ in range(width)] for _ in range(height)]


# min(n_0, n_c, least trace Z_i)
def _printed_rank(widths: list[int], pattern: exact.States) -> int:
    return min(widths[0], widths[-1], *map(sum, pattern))


# min(n_1, ..., n_(n + 1))
def _least(sizes: list[int]) -> int:
    return min(sizes)


def _rank(a: Matrix) -> int:
    return len(reduced(a)[1])
