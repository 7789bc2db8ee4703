"""Strategies, predicates and samples of the claims of the ICERM talk on linear regions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from torch import nn

from reluscope_catalog.claims.exact_regions import arrangement_regions, hidden_layers, pieces
from reluscope_catalog.claims.tanner import cube_regions
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.expected_breakpoints import expected_breakpoints_bound
from reluscope_plugins.regions.folding_network import folding_network
from reluscope_plugins.regions.rational_pieces import rational_pieces
from reluscope_plugins.regions.region_bounds import hyperplane_regions, montufar_lower_bound

Cases = SearchStrategy[dict[str, Any]]
Floats = np.ndarray[Any, np.dtype[np.float64]]

_SMALL = st.integers(-3, 3)


def layers() -> Cases:
    """Return layers of any weights and biases."""

    def of(size: tuple[int, int]) -> Cases:
        row = st.lists(_SMALL, min_size=size[0], max_size=size[0])
        return st.fixed_dictionaries(
            {
                "weights": st.lists(row, min_size=size[1], max_size=size[1]),
                "biases": st.lists(_SMALL, min_size=size[1], max_size=size[1]),
            }
        )

    return st.tuples(st.integers(1, 4), st.integers(1, 5)).flatmap(of)


def two_layer_widths() -> Cases:
    """Return widths of the first of two layers, the second of which has one unit."""
    return st.fixed_dictionaries({"width": st.integers(1, 200)})


def folding_widths() -> Cases:
    """Return widths, of the last layer at least 2."""
    folds = st.lists(st.integers(1, 5), max_size=2)
    return st.tuples(folds, st.integers(2, 5)).map(lambda found: {"widths": [*found[0], found[1]]})


def compositions() -> Cases:
    """Return numbers of compositions."""
    return st.fixed_dictionaries({"compositions": st.integers(1, 8)})


def places() -> Cases:
    """Return numbers from 0 to 1."""
    return st.fixed_dictionaries({"x": st.fractions(0, 1, max_denominator=1000).map(str)})


def segments() -> Cases:
    """Return widths, standard deviations of the biases, and segments."""

    def of(inputs: int) -> Cases:
        point = st.lists(st.integers(-2, 2), min_size=inputs, max_size=inputs)
        return st.fixed_dictionaries(
            {
                "widths": st.lists(st.integers(1, 6), min_size=1, max_size=3),
                "bias_std": st.sampled_from([1.0, 0.5]),
                "ends": st.lists(point, min_size=2, max_size=2, unique_by=tuple),
            }
        )

    return st.integers(1, 3).flatmap(of)


def one_layer_upper_bound(weights: list[list[int]], biases: list[int]) -> bool:
    """Return whether the layer has at most r(q, p) regions."""
    return arrangement_regions(weights, biases) <= hyperplane_regions(len(weights), len(weights[0]))


def montufar_attained(width: int) -> bool:
    """Return whether most_breakpoints leaves room for so many linear regions of a function of one input."""
    return montufar_lower_bound(1, [width, 1]) <= most_breakpoints(width) + 1


def montufar_attained_patterns(inputs: int, widths: list[int]) -> bool:
    """Return whether a network of these widths has so many activation regions in the unit cube alone."""
    return cube_regions(inputs, widths) >= montufar_lower_bound(inputs, widths)


def montufar_attained_functions(widths: list[int]) -> bool:
    """Return whether the function of some network of these widths has so many pieces on [0, 1] alone."""
    model = unsilenced(widths)
    count = function_pieces(model)
    return count == len(rational_pieces(model)) and count >= montufar_lower_bound(1, widths)


def sawtooth_pieces(compositions: int) -> bool:
    """Return whether the pieces of the network end at k / 2^n, as do those of the mirror map composed n times."""
    found = rational_pieces(sawtooth(compositions))
    count = 2**compositions
    equal = tuple(Fraction(k, count) for k in range(count + 1))
    slopes = tuple(Fraction(count if k % 2 == 0 else -count) for k in range(count))
    return found.edges == composed_edges(compositions) == equal and found.slopes == slopes


def mirror_map_network(x: str) -> bool:
    """Return whether ReLU(2 ReLU(x) - 4 ReLU(x - 1/2)) is the mirror map, also as the library builds it."""
    place = Fraction(x)
    values = [place]
    for weights, biases in hidden_layers(sawtooth(1)):
        rows = zip(weights, biases, strict=True)
        values = [_relu(sum((w * v for w, v in zip(row, values, strict=True)), Fraction(b))) for row, b in rows]
    return [_printed_mirror(place)] == values == [mirror(place)]


def crossed_regions(
    generator: np.random.Generator, size: int, widths: list[int], bias_std: float, ends: list[list[int]]
) -> Floats:
    """Return numbers of regions that a segment crosses, of random networks."""
    start, end = np.array(ends, dtype=np.float64)
    drawn = [
        (
            generator.normal(0.0, math.sqrt(2 / before), (size, before, after)),
            generator.normal(0.0, bias_std, (size, 1, after)),
        )
        for before, after in itertools.pairwise([len(start), *widths])
    ]
    return _crossed(start, end, drawn)


def region_bounds(widths: list[int], bias_std: float, ends: list[list[int]]) -> tuple[float, float]:
    """Return 1 and prod_l (n_l + 1): on each piece of the layers before it, a unit has one zero at most."""
    return 1.0, float(math.prod(width + 1 for width in widths))


def linear_bound(widths: list[int], bias_std: float, ends: list[list[int]]) -> float:
    """Return 1 + |I| sqrt(2 / n0) N / (pi sigma_b)."""
    length = math.dist(*ends)
    return 1 + expected_breakpoints_bound(len(ends[0]), widths, length, bias_std=bias_std)


def most_breakpoints(width: int) -> int:
    """Return how many breakpoints ReLU(g) has at most, where g is piecewise affine with so many.

    Let g be negative on m bounded and e unbounded intervals. There are m + 1 intervals on which it is positive (or
    fewer), m - 1 + e of which are bounded. A bounded interval has a breakpoint of g inside. So m - 1 + e breakpoints at
    least are where g is positive, m at least where it is negative and lost, and m <= (width + 1 - e) / 2. Left are
    width - m, and 2 m + e zeros: width + m + e in all.
    """
    return max(width + (width + 1 - ends) // 2 + ends for ends in (0, 1, 2))


@torch.no_grad()
def unsilenced(widths: list[int]) -> nn.Sequential:
    """Return the folding network of one input, of its last layer one unit turned round.

    The units of the last layer switch on one after the other; the second now switches off instead, so that nowhere all
    are silent. Powers of two as weights of the output make it affine with a slope other than zero everywhere.
    """
    model = folding_network(1, widths)
    last: Any = model[-3]
    readout: Any = model[-1]
    last.weight[1] *= -1
    last.bias[1] *= -1
    readout.weight.copy_(2.0 ** torch.arange(widths[-1]))
    return model


def function_pieces(model: nn.Sequential) -> int:
    """Return the number of pieces of a function on [0, 1], told by its slopes and offsets."""
    readout: Any = model[-1]
    factors = [Fraction(value) for value in readout.weight[0].tolist()]
    found = [
        tuple(sum((c * unit[axis] for c, unit in zip(factors, units, strict=True)), Fraction(0)) for axis in (0, 1))
        for _, _, units in pieces(hidden_layers(model), Fraction(0), Fraction(1))
    ]
    return 1 + sum(one != other for one, other in itertools.pairwise(found))


def mirror(x: Fraction) -> Fraction:
    """Return 2 x up to 1/2 and 2 (1 - x) from there."""
    return 2 * x if x <= Fraction(1, 2) else 2 * (1 - x)


def composed_edges(count: int) -> tuple[Fraction, ...]:
    """Return 0, 1, and what the mirror map takes to 1/2 when it is applied less than so many times."""
    found, level = {Fraction(0), Fraction(1)}, {Fraction(1, 2)}
    for _ in range(count):
        found |= level
        level = {place for y in level for place in (y / 2, 1 - y / 2)}
    return tuple(sorted(found))


# ReLU(2 ReLU(x) - 4 ReLU(x - 1/2))
def _printed_mirror(x: Fraction) -> Fraction:
    return _relu(2 * _relu(x) - 4 * _relu(x - Fraction(1, 2)))


def _relu(x: Fraction) -> Fraction:
    return max(x, Fraction(0))


# Places where the segment is cut, in order and with that of the end as often as needed; each layer cuts it further.
def _crossed(start: Floats, end: Floats, drawn: Sequence[tuple[Floats, Floats]]) -> Floats:
    knots = np.broadcast_to(np.array([0.0, 1.0]), (len(drawn[0][0]), 2))
    for depth in range(len(drawn)):
        values = start + knots[:, :, None] * (end - start)
        for weight, bias in drawn[:depth]:
            values = np.maximum(values @ weight + bias, 0.0)
        values = values @ drawn[depth][0] + drawn[depth][1]
        left, right = values[:, :-1], values[:, 1:]
        share = np.divide(left, left - right, out=np.ones_like(left), where=left * right < 0)
        zeros = knots[:, :-1, None] + np.diff(knots, axis=1)[:, :, None] * share
        cut = np.where(left * right < 0, zeros, 1.0).reshape(len(knots), -1)
        knots = np.sort(np.concatenate((knots, cut), axis=1), axis=1)
        knots = knots[:, : int((knots < 1).sum(1).max()) + 1]
    found: Floats = (knots < 1).sum(1).astype(np.float64)
    return found
