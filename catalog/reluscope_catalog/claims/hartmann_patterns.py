"""Strategies and predicates of the claims on activation patterns, their cells and their counts, in whole numbers."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope import observe
from reluscope_catalog.claims.exact_matrices import matrix, reduced
from reluscope_catalog.claims.exact_networks import module
from reluscope_catalog.claims.exact_patterns import Layer, at, patterns
from reluscope_plugins.patterns.counts import Distribution
from reluscope_plugins.patterns.entropy import relative_pattern_entropy
from reluscope_plugins.patterns.similarity import jaccard
from reluscope_plugins.patterns.table import of_words
from reluscope_plugins.regions.region_bounds import pattern_count

Cases = SearchStrategy[dict[str, Any]]
Layers = list[tuple[list[list[int]], list[int]]]

_WEIGHT = st.sampled_from([1, -1, 0, 2, -2])
_BIAS = st.integers(-2, 2)
_POSITIVE = st.fractions(Fraction(1, 8), 8, max_denominator=8).map(str)


@st.composite
def networks(draw: Any, inputs: int = 2, widths: tuple[int, ...] = (3, 2)) -> list[Any]:
    """Return layers of at most so many inputs and units, each as its weights `(unit, input)` and its biases."""
    size, layers = draw(st.integers(1, inputs)), []
    for number in range(draw(st.integers(1, len(widths)))):
        units = draw(st.integers(1, widths[number]))
        weight = draw(st.lists(_row(_WEIGHT, size), min_size=units, max_size=units))
        layers.append([weight, draw(_row(_BIAS, units))])
        size = units
    return layers


def whole_networks() -> Cases:
    """Return networks of one or two layers."""
    return st.fixed_dictionaries({"layers": networks()})


def single_layers() -> Cases:
    """Return networks of a single layer of up to four units on up to three inputs."""
    return st.fixed_dictionaries({"layers": networks(inputs=3, widths=(4,))})


@st.composite
def layers_with_points(draw: Any) -> dict[str, Any]:
    """Return a single layer with two points of one pattern, and how far along the way between them to look."""
    size = draw(st.integers(1, 4))
    point = st.lists(st.integers(-5, 5), min_size=size, max_size=size)
    first, second = draw(st.lists(point, min_size=2, max_size=2, unique_by=tuple))
    weight = draw(st.lists(_row(_WEIGHT, size), min_size=1, max_size=6))
    bias = []
    for row in weight:
        ends = [sum(w * v for w, v in zip(row, x, strict=True)) for x in (first, second)]
        beyond = draw(st.integers(0, 2))
        bias.append(1 + beyond - min(ends) if draw(st.booleans()) else -beyond - max(ends))
    way = draw(st.fractions(Fraction(1, 12), Fraction(11, 12), max_denominator=12).map(str))
    return {"weight": weight, "bias": bias, "first": first, "second": second, "way": way}


def depths() -> Cases:
    """Return a layer beyond the first with a number of inputs, a shift of the input, and a scale of it."""
    return st.fixed_dictionaries(
        {
            "layer": st.integers(2, 6),
            "inputs": st.integers(2, 5),
            "shift": st.integers(-5, 5),
            "scale": st.integers(1, 5),
        }
    )


def first_coordinates() -> Cases:
    """Return first coordinates of points between the two of the proof."""
    return st.fixed_dictionaries({"x": st.fractions(-3, 1, max_denominator=8).map(str)})


def scaled_biases() -> Cases:
    """Return networks with any factor of their biases."""
    factors = st.fractions(-4, 4, max_denominator=4).map(str)
    return st.fixed_dictionaries({"layers": networks(), "factor": factors})


def positively_scaled_biases() -> Cases:
    """Return networks with a positive factor of their biases."""
    return st.fixed_dictionaries({"layers": networks(), "factor": _POSITIVE})


def constant_biases() -> Cases:
    """Return single layers with two constants, not 0, each of which all biases are to be."""
    constants = st.lists(st.integers(-5, 5).filter(bool), min_size=2, max_size=2, unique=True)
    return st.tuples(networks(inputs=3, widths=(4,)), constants).map(
        lambda drawn: {"layers": drawn[0], "one": drawn[1][0], "other": drawn[1][1]}
    )


@st.composite
def counts(draw: Any) -> dict[str, Any]:
    """Return numbers of units with how often each possible pattern was seen, at least two samples."""
    units = draw(st.integers(1, 3))
    numbers = st.lists(st.integers(0, 20), min_size=2**units, max_size=2**units)
    return {"units": units, "counts": draw(numbers.filter(lambda found: sum(found) > 1))}


@st.composite
def two_counts(draw: Any, number: int = 2) -> dict[str, Any]:
    """Return how often each possible pattern was seen at two moments, at least one sample at each."""
    size = draw(st.sampled_from([2, 4, 8]))
    seen = st.lists(st.integers(0, 20), min_size=size, max_size=size).filter(any)
    found = [draw(seen) for _ in range(number)]
    if draw(st.sampled_from([False] * 7 + [True])):
        found[-1] = list(found[0])
    return dict(zip(["first", "second", "third"], found, strict=False))


def three_counts() -> Cases:
    """Return the same at three moments."""
    return two_counts(number=3)


def pattern_upper_bound(layers: Layers) -> bool:
    """Return whether each layer has at most 2^(sum of the widths up to it) patterns, also as the library sees them."""
    inputs, _ = _size(layers)
    points = list(itertools.product(range(-4, 5), repeat=inputs))
    network = module([{"weight": weight, "bias": bias} for weight, bias in layers], output=False)
    observation = observe(network, torch.tensor(points, dtype=torch.float64))
    found, seen = patterns(layers), {at(layers, point) for point in points}
    units = 0
    for place, (site, (_, bias)) in enumerate(zip(observation.sites, layers, strict=True)):
        units += len(bias)
        observed = len(torch.unique(observation.pattern[site], dim=0))
        everywhere = len({pattern[place] for pattern in found})
        if not observed == len({pattern[place] for pattern in seen}) <= everywhere <= pattern_count(units):
            return False
    return len(found) <= pattern_count(units)


def pattern_dimension(layers: Layers) -> bool:
    """Return whether D <= d if there are 2^d patterns of D units on d inputs."""
    inputs, units = _size(layers)
    return len(patterns(layers)) < 2**inputs or units <= inputs


def pattern_dimension_of_units(layers: Layers) -> bool:
    """Return whether there are 2^D patterns of D units if and only if their D rows are independent, so that D <= d."""
    inputs, units = _size(layers)
    _, pivots = reduced(matrix(layers[0][0]))
    everything = len(patterns(layers)) == 2**units
    return everything is (len(pivots) == units) and (not everything or units <= inputs)


def first_layer_convex(weight: list[list[int]], bias: list[int], first: list[int], second: list[int], way: str) -> bool:
    """Return whether a point between two of one pattern has that pattern."""
    t, layers = Fraction(way), [(weight, bias)]
    return not at(layers, first) == at(layers, second) != at(layers, _between(first, second, t))


def deeper_layers_nonconvex(layer: int, inputs: int, shift: int, scale: int) -> bool:
    """Return whether the printed network, continued to this layer, has a cell there that is not convex."""
    network, rest = _printed_network(layer, inputs, shift, scale), [Fraction(0)] * (inputs - 2)
    ends = [[Fraction(x, scale) - shift, Fraction(y, scale) - shift, *rest] for x, y in ((1, -3), (-3, 1))]
    middle = [(x + y) / 2 for x, y in zip(*ends, strict=True)]
    at_ends = {at(network, end)[layer - 1] for end in ends}
    return len(at_ends) == 1 and at(network, middle)[layer - 1] not in at_ends


def nonconvex_segment(x: str) -> bool:
    """Return whether (x, x + 2) lies on the segment from (1, -3) to (-3, 1)."""
    return _on_the_segment(Fraction(x), Fraction(x) + 2)


def nonconvex_segment_falling(x: str) -> bool:
    """Return whether (x, -x - 2) lies on the segment from (1, -3) to (-3, 1)."""
    return _on_the_segment(Fraction(x), -Fraction(x) - 2)


def bias_scaling_invariance(layers: Layers, factor: str) -> bool:
    """Return whether there are as many patterns of all layers together with all biases times the factor."""
    return len(patterns(layers)) == len(patterns(_scaled(layers, Fraction(factor))))


def constant_bias_count(layers: Layers, one: int, other: int) -> bool:
    """Return whether there are as many patterns with all biases the one as with all the other."""
    return len(patterns([_with_constant(layers[0], one)])) == len(patterns([_with_constant(layers[0], other)]))


def entropy_as_printed(units: int, counts: list[int]) -> bool:
    """Return whether H of shares of 2^d, over min(d, log2 n), is in [0, 1]; compared as powers of 2."""
    number, possible = sum(counts), 2**units
    # 2^d H = d n - sum of c log2(c); 2 to the power of this is 2^(d n) / product of c^c
    power = Fraction(possible**number, math.prod(c**c for c in counts))
    return bool(1 <= power <= min(possible, number) ** possible)


def entropy_of_shares(units: int, counts: list[int]) -> bool:
    """Return whether H of shares of n, over min(d, log2 n), is in [0, 1], also as the library computes it."""
    number = sum(counts)
    power = Fraction(number**number, math.prod(c**c for c in counts))  # 2^(n H)
    found = {"layer": _distribution(units, counts)}
    computed: float = relative_pattern_entropy.implementation()(found)["layer"]
    most = _most(units, number)
    exact = math.log2(power) / number / math.log2(most)
    # at most 8 terms, each a product, quotient and logarithm: a few roundings each, relative to a sum of at most 3
    near = abs(computed - exact) <= 64 * float(np.finfo(float).eps) * 3
    return bool(1 <= power <= most**number) and 0 <= computed <= 1 and near


def jaccard_similarity(first: list[int], second: list[int]) -> bool:
    """Return whether J is in [0, 1], 0 for no common pattern and 1 for equal counts alone, and symmetric."""
    similarity, back = _jaccard(first, second), _jaccard(second, first)
    common = any(x and y for x, y in zip(first, second, strict=True))
    computed = jaccard({"layer": _of_counts(first)}, {"layer": _of_counts(second)})["layer"]
    return (
        0 <= similarity <= 1
        and (similarity == 0) is not common
        and (similarity == 1) is (first == second)
        and similarity == back
        and computed == float(similarity)  # a quotient of whole numbers, rounded once by both
    )


def jaccard_metric(first: list[int], second: list[int], third: list[int]) -> bool:
    """Return whether 1 - J fulfils the triangle inequality."""
    return 1 - _jaccard(first, third) <= (1 - _jaccard(first, second)) + (1 - _jaccard(second, third))


def _row(entry: SearchStrategy[int], size: int) -> SearchStrategy[list[int]]:
    return st.lists(entry, min_size=size, max_size=size)


def _size(layers: Layers) -> tuple[int, int]:
    weight, bias = layers[0]
    return len(weight[0]), len(bias)


# x + t (y - x)
def _between(first: list[int], second: list[int], t: Fraction) -> list[Fraction]:
    return [Fraction(x + t * (y - x)) for x, y in zip(first, second, strict=True)]


# of the proof: two units, one of both, and units that carry it on; of an input that is shifted and scaled
def _printed_network(layer: int, inputs: int, shift: int, scale: int) -> list[Layer]:
    pad = [0] * (inputs - 2)
    first = ([[scale, 0, *pad], [0, scale, *pad]], [1 + scale * shift] * 2)
    return [first, ([[-1, -1]], [1]), *([([[1]], [0])] * (layer - 2))]


# A layer's pre-activations may be multiplied by the denominator q: with weights W and biases q^l c b in the l-th layer
# all are q^l times as large as with biases c b.
def _scaled(layers: Layers, c: Fraction) -> Layers:
    q = c.denominator
    return [
        ([[q * w for w in row] for row in weight], [int(q ** (place + 1) * c * b) for b in bias])
        for place, (weight, bias) in enumerate(layers)
    ]


def _with_constant(layer: Layer, bias: int) -> Layer:
    return layer[0], [bias] * len(layer[1])


# patterns that can be seen: 2^d, and one for each sample
def _most(units: int, number: int) -> int:
    most: int = min(2**units, number)
    return most


def _on_the_segment(x: Fraction, y: Fraction) -> bool:
    t = (1 - x) / 4
    return 0 <= t <= 1 and y == -3 + 4 * t


def _jaccard(one: list[int], other: list[int]) -> Fraction:
    return Fraction(sum(map(min, one, other)), sum(map(max, one, other)))


def _of_counts(counts: list[int]) -> Distribution:
    return _distribution(len(counts).bit_length() - 1, counts)


def _distribution(units: int, counts: list[int]) -> Distribution:
    words = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    return Distribution(of_words(words, units))
