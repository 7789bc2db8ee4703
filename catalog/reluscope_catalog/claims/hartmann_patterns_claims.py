"""Hartmann 2025, sections 2.2 and 3.1: activation patterns, their cells, and measures of their counts."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.hartmann_patterns"
_PICTURES = "reluscope_catalog.claims.hartmann_pictures"
_REGIONS = "reluscope_catalog.claims.region_pictures"
_PATTERN = "a unit counts as 1 where its pre-activation is above 0, else as 0 (Definition 1)"
_ONE_LAYER = "here at most 3 inputs and 4 units"
_TWO_LAYERS = "here at most 2 layers, of 3 and 2 units, and 2 inputs"
_COUNTS = "here at most 8 patterns, each at most 20 times"


def _claim(name: str, strategy: str, predicate: str = "", **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{_CODE}:{strategy}", predicate=f"{_CODE}:{predicate or name}", **fields)


CLAIMS = [
    _claim(
        "pattern_upper_bound",
        "whole_networks",
        summary="The number of patterns of a layer is bounded by a power of 2",
        statement="A layer of a fixed network has at most 2^(sum over l of d_l) patterns on all inputs, d_l the widths"
        " used in the computation: those of the layers up to it; and all layers together have no more",
        source="Hartmann 2025, section 2.2.2",
        assumption=f"{_PATTERN}; {_TWO_LAYERS}",
    ),
    Claim(
        name="three_filters_in_the_plane",
        strategy="reluscope_catalog.claims.hartmann_plane_cells:three_filters",
        predicate="reluscope_catalog.claims.hartmann_plane_cells:three_filters_in_the_plane",
        summary="Three filters on two inputs have at most 7 cells",
        statement="three filters in two dimensions can only result in 7 activation cells, although there are 2^3 = 8"
        " combinations of signs: they have at most 7, and 7 if no two of the lines are parallel and the three do not"
        " meet in one point",
        source="Hartmann 2025, section 2.2.2",
        assumption=f"{_PATTERN}; weights and biases are any, here whole numbers up to 3",
    ),
    _claim(
        "pattern_dimension",
        "single_layers",
        summary="So many patterns take so many inputs, as printed",
        statement="For 2^d patterns in d dimensions to exist for a single hidden layer with D filters requires d >= D",
        source="Hartmann 2025, Proposition 1",
        assumption=f"{_PATTERN}; {_ONE_LAYER}",
        verdict="refuted",
        picture=f"{_REGIONS}:patterns",
    ),
    _claim(
        "pattern_dimension_of_units",
        "single_layers",
        summary="All patterns of a layer take as many inputs as units",
        statement="For 2^D patterns in d dimensions to exist for a single hidden layer with D filters requires d >= D;"
        " they do exist if and only if the filters are linearly independent",
        source="amends Hartmann 2025, Proposition 1: 2^D in place of 2^d",
        assumption=f"{_PATTERN}; {_ONE_LAYER}",
        amends="pattern_dimension",
    ),
    _claim(
        "first_layer_convex",
        "layers_with_points",
        summary="The cells of the first layer are convex",
        statement="A(x) = A(y) implies A(x + t (y - x)) = A(x) for all 0 <= t <= 1, for the patterns A of layer 1",
        source="Hartmann 2025, Proposition 2",
        assumption=f"{_PATTERN}; here at most 4 inputs and 6 units",
    ),
    _claim(
        "deeper_layers_nonconvex",
        "depths",
        summary="Cells of the layers beyond the first may be not convex",
        statement="For every l > 1 a network has a cell of layer l that is not convex: one of"
        " F(x, y) = ReLU(1 - ReLU(x + 1) - ReLU(y + 1)), which has (1, -3) and (-3, 1) in it and (-1, -1) not",
        source="Hartmann 2025, Proposition 2 and its proof",
        assumption=_PATTERN + "; later layers pass the output on, further inputs are ignored, the input may be shifted"
        " and scaled",
    ),
    _claim(
        "nonconvex_segment",
        "first_coordinates",
        summary="The way between the two points of the proof, as printed",
        statement="All (x, y) with y = x + 2 and -3 <= x <= 1 lie on the segment from (1, -3) to (-3, 1)",
        source="Hartmann 2025, proof of Proposition 2",
        assumption="none",
        verdict="refuted",
        picture=f"{_PICTURES}:segment",
    ),
    _claim(
        "nonconvex_segment_falling",
        "first_coordinates",
        summary="The way between the two points of the proof",
        statement="All (x, y) with y = -x - 2 and -3 <= x <= 1 lie on the segment from (1, -3) to (-3, 1)",
        source="amends Hartmann 2025, proof of Proposition 2",
        assumption="none",
        amends="nonconvex_segment",
    ),
    _claim(
        "bias_scaling_invariance",
        "scaled_biases",
        summary="Scaling the biases does not change the number of cells",
        statement="With all biases times the same number there are as many patterns of the whole network, on all"
        " inputs",
        source="Hartmann 2025, section 2.2.4, after Hanin & Rolnick 2019, lemma 6",
        assumption=f"{_PATTERN}; of the number nothing is said; {_TWO_LAYERS}",
        verdict="refuted",
        picture=f"{_REGIONS}:scaled_biases",
    ),
    _claim(
        "bias_positive_scaling_invariance",
        "positively_scaled_biases",
        "bias_scaling_invariance",
        summary="Scaling the biases by a positive number does not change the number of cells",
        statement="With all biases times the same number above 0 there are as many patterns of the whole network, on"
        " all inputs",
        source="amends Hartmann 2025, section 2.2.4",
        assumption=f"{_PATTERN}; {_TWO_LAYERS}",
        amends="bias_scaling_invariance",
    ),
    _claim(
        "constant_bias_count",
        "constant_biases",
        summary="The number of cells is the same for all constant biases but 0",
        statement="A single hidden layer with all biases b_i = b has as many patterns on all inputs for one b as for"
        " another, neither of them 0",
        source="Hartmann 2025, section 2.2.4",
        assumption=f"{_PATTERN}; {_ONE_LAYER}",
    ),
    _claim(
        "entropy_as_printed",
        "counts",
        summary="The relative entropy lies in the unit interval, shares as printed",
        statement="0 <= H / min(d, log2 n) <= 1, where H = -sum of (c_i / 2^d) log2(c_i / 2^d) and n = sum of c_i",
        source="Hartmann 2025, equations 3.9 and 3.10",
        assumption=f"at least two samples; {_COUNTS}",
        verdict="refuted",
        picture=f"{_PICTURES}:shares",
    ),
    _claim(
        "entropy_of_shares",
        "counts",
        summary="The relative entropy lies in the unit interval, shares of the samples",
        statement="0 <= H / min(d, log2 n) <= 1, where H = -sum of (c_i / n) log2(c_i / n) and n = sum of c_i",
        source="amends Hartmann 2025, equation 3.9: n in place of N_l",
        assumption=f"at least two samples; {_COUNTS}",
        amends="entropy_as_printed",
    ),
    _claim(
        "jaccard_similarity",
        "two_counts",
        summary="The weighted Jaccard index is a similarity",
        statement="J(c, c') = sum of min(c_i, c'_i) / sum of max(c_i, c'_i) is in [0, 1], symmetric, 0 if and only if"
        " no pattern is common, and 1 if and only if c = c'",
        source="Hartmann 2025, equation 3.7",
        assumption=f"at least one sample at each moment; {_COUNTS}",
    ),
    _claim(
        "jaccard_metric",
        "three_counts",
        summary="One minus the weighted Jaccard index is a distance",
        statement="1 - J(c, c'') <= (1 - J(c, c')) + (1 - J(c', c''))",
        source="Hartmann 2025, equation 3.7, which it calls a set-distance",
        assumption=f"at least one sample at each moment; {_COUNTS}",
    ),
]
