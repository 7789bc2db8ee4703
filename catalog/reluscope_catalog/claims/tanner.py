"""Strategies and predicates of the claims of Tanner's lecture on the partition of the input domain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope_catalog.claims.exact_regions import UNIT_SQUARE, arrangement_regions, cells, hidden_layers, pieces
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.region_bounds import central_regions, hyperplane_regions, pascanu_lower_bound

Cases = SearchStrategy[dict[str, Any]]

_SMALL = st.integers(-3, 3)


def general_weights() -> Cases:
    """Return layers whose weights are in general position, with any biases."""
    return _layers(lambda nodes, inputs: st.lists(_SMALL, min_size=len(nodes), max_size=len(nodes)))


def general_layers() -> Cases:
    """Return layers whose hyperplanes are in general position."""
    return _layers(lambda nodes, inputs: st.integers(-3, 3).map(lambda shift: [t**inputs + shift for t in nodes]))


def central_layers() -> Cases:
    """Return layers whose weights are in general position, without biases."""
    return _layers(lambda nodes, inputs: st.just([0] * len(nodes)))


def one_layer_sizes() -> Cases:
    """Return numbers of inputs and of units."""
    return st.fixed_dictionaries({"inputs": st.integers(1, 20), "units": st.integers(1, 40)})


def deep_sizes() -> Cases:
    """Return numbers of inputs and widths."""
    return st.fixed_dictionaries(
        {"inputs": st.integers(1, 8), "widths": st.lists(st.integers(1, 12), min_size=1, max_size=4)}
    )


def deep_networks() -> Cases:
    """Return networks of one input: of each layer its weights, rows of one length, and biases."""

    def of(widths: list[int]) -> SearchStrategy[Any]:
        sizes = [st.tuples(_matrix(after, before), _row(after)) for before, after in itertools.pairwise([1, *widths])]
        return st.tuples(*sizes).map(lambda layers: [[weights, biases] for weights, biases in layers])

    widths = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    return st.fixed_dictionaries({"layers": widths.flatmap(of)})


def attainable_sizes() -> Cases:
    """Return numbers of inputs, and widths that are no less."""
    line = st.tuples(st.just(1), st.lists(st.integers(1, 5), min_size=1, max_size=3))
    plane = st.tuples(st.just(2), st.lists(st.integers(2, 5), min_size=1, max_size=2))
    return st.one_of(line, plane).map(lambda size: {"inputs": size[0], "widths": size[1]})


def one_layer_partitions(weights: list[list[int]], biases: list[int]) -> bool:
    """Return whether the hyperplanes leave sum_j binom(n1, j) regions."""
    return arrangement_regions(weights, biases) == hyperplane_regions(len(weights), len(weights[0]))


def one_layer_partitions_central(weights: list[list[int]], biases: list[int]) -> bool:
    """Return whether the hyperplanes leave 2 sum_(j < n0) binom(n1 - 1, j) regions."""
    return arrangement_regions(weights, biases) == central_regions(len(weights), len(weights[0]))


def partition_power_bound(inputs: int, units: int) -> bool:
    """Return whether sum_j binom(n1, j) >= n1^min(n0, n1 / 2), both squared."""
    power: int = units ** min(2 * inputs, units)
    return hyperplane_regions(units, inputs) ** 2 >= power


def partition_power_bound_per_input(inputs: int, units: int) -> bool:
    """Return whether sum_j binom(n1, j) >= (n1 / m)^m for m = min(n0, n1 / 2), both squared."""
    return hyperplane_regions(units, inputs) ** 2 >= _squared_power(inputs, units)


def depth_lower_bound(layers: list[Any]) -> bool:
    """Return whether the network has at least prod_(l = 0)^L n_l^min(n0, n_l / 2) regions on the line."""
    widths = [len(biases) for _, biases in layers]
    return len(pieces(layers)) ** 2 >= _squared_product(1, widths)


def depth_lower_bound_maximum(inputs: int, widths: list[int]) -> bool:
    """Return whether the product is no more than any network of these widths can have.

    On each region of the layers before it, a layer leaves no more parts than as many hyperplanes in general position.
    """
    most = math.prod(sum(math.comb(width, j) for j in range(inputs + 1)) for width in widths)
    return most**2 >= _squared_product(inputs, widths)


def depth_lower_bound_attained(inputs: int, widths: list[int]) -> bool:
    """Return whether a network of these widths has so many regions in the unit cube alone."""
    return cube_regions(inputs, widths) >= pascanu_lower_bound(inputs, widths)


def depth_lower_bound_per_input(inputs: int, widths: list[int]) -> bool:
    """Return whether a network of these widths has prod_l floor(n_l / n0)^n0 regions in the unit cube alone."""
    return cube_regions(inputs, widths) >= _folds(inputs, widths)


def cube_regions(inputs: int, widths: list[int]) -> int:
    """Return the number of regions of the folding network in the unit interval or square."""
    layers = hidden_layers(folding_network(inputs, widths))
    return len(pieces(layers, Fraction(0), Fraction(1)) if inputs == 1 else cells(layers, UNIT_SQUARE))


def _layers(biases: Any) -> Cases:
    # rows s (1, t, t^2, ...) of different t: any n0 of them are independent, and any n0 + 1 with t^n0 behind
    def of(shape: tuple[int, list[int]]) -> Cases:
        inputs, nodes = shape
        scales = st.lists(st.sampled_from([1, -1, 2, -3]), min_size=len(nodes), max_size=len(nodes))
        return st.tuples(scales, biases(nodes, inputs)).map(
            lambda drawn: {
                "weights": [[s * t**k for k in range(inputs)] for s, t in zip(drawn[0], nodes, strict=True)],
                "biases": [s * b for s, b in zip(drawn[0], drawn[1], strict=True)],
            }
        )

    nodes = st.lists(_SMALL, min_size=1, max_size=6, unique=True)
    return st.tuples(st.integers(1, 4), nodes).flatmap(of)


def _row(size: int) -> SearchStrategy[list[int]]:
    return st.lists(_SMALL, min_size=size, max_size=size)


def _matrix(rows: int, columns: int) -> SearchStrategy[list[list[int]]]:
    return st.lists(_row(columns), min_size=rows, max_size=rows)


# (n1 / m)^2m for m = min(n0, n1 / 2)
def _squared_power(inputs: int, units: int) -> Fraction:
    twice = min(2 * inputs, units)
    return Fraction(2 * units, twice) ** twice


# prod_l floor(n_l / n0)^n0
def _folds(inputs: int, widths: Sequence[int]) -> int:
    folds: int = math.prod(width // inputs for width in widths) ** inputs
    return folds


def _squared_product(inputs: int, widths: Sequence[int]) -> int:
    return math.prod(width ** min(2 * inputs, width) for width in (inputs, *widths))
