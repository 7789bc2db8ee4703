"""Johansson 2022: affine maps, their ranks and perturbations, activation regions and slopes."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.johansson"
_DENSE = "fully connected layers with ReLU between them"
_SMALL = "; tried: up to two hidden layers of up to three neurons, whole weights and points"
_NARROW = "; tried: up to three hidden layers of up to three neurons, as many inputs or more"
_RIRE = (
    "the entries of each W_i are independent and identically distributed, absolutely continuous (Definition 2); tried:"
    " uniform between -1 and 1, up to five matrices of up to four rows and columns"
)


def _exact(name: str, module: str, strategy: str, **fields: Any) -> Claim:
    code = _CODE + module
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{name}", **fields)


CLAIMS = [
    _exact(
        "affine_product",
        "",
        "points",
        summary="The affine map of a region is a product of the weights and the patterns",
        statement="f(y) = W_R y + b_R for all y in the region R of x, where W_R = W_n Z_(n-1)(x) W_(n-1) ... Z_1(x) W_1"
        " and Z_i(x) is diagonal, 1 where a neuron of layer i has an output > 0, else 0",
        source="Johansson 2022, equation 2.2",
        assumption=_DENSE + "; tried where W_R is not 0, at two points" + _SMALL,
    ),
    _exact(
        "rank_at_init",
        "_ranks",
        "drawn_networks",
        summary="Rank of the affine map at initialisation",
        statement="rank(W_R) = min(n_0, n_c, min over i of trace(Z_i)) at initialisation",
        source="Johansson 2022, equation 2.3 and Corollary 1",
        assumption=_DENSE + "; all weights independent, absolutely continuous; with probability 1; tried:"
        " uniform between -1 and 1, biases too or around 1 or 3, on up to three hidden layers of up to six neurons",
    ),
    _exact(
        "rank_of_product",
        "_ranks",
        "random_matrices",
        summary="Rank of a product of matrices with random elements",
        statement="rank(W_1 W_2 ... W_n) = min(n_1, n_2, ..., n_(n+1)) for RIRE matrices W_i of size (n_i, n_(i+1))",
        source="Johansson 2022, appendix A.1, Theorem 1",
        assumption=_RIRE + "; as printed, nothing is said of how one matrix hangs on another",
        verdict="refuted",
    ),
    _exact(
        "rank_of_product_independent",
        "_ranks",
        "independent_matrices",
        summary="Rank of a product of independent matrices with random elements",
        statement="rank(W_1 W_2 ... W_n) = min(n_1, n_2, ..., n_(n+1)) with probability 1, if the matrices are"
        " independent of each other",
        source="amends Johansson 2022, appendix A.1, Theorem 1",
        assumption=_RIRE,
        amends="rank_of_product",
    ),
    _exact(
        "perturbation_bound",
        "",
        "switches",
        summary="Singular values of adjacent regions differ by at most the norm of the perturbation",
        statement="sqrt(sum over i of (s_i - s'_i)^2) <= ||E||_F, where s_i and s'_i are the singular values, sorted,"
        " of W_R and W_R' = W_R - E, and E = W_n Z_(n-1) ... (Z_l - Z'_l) ... Z_1 W_1",
        source="Johansson 2022, equations 2.4 to 2.7",
        assumption=_DENSE + "; the patterns differ in one neuron (and need not occur), E is not 0" + _SMALL,
    ),
    _exact(
        "perturbation_norm",
        "",
        "hidden_units_as_outputs",
        summary="Norm of the perturbation in a network with one hidden layer, with the indices printed",
        statement="||E||_F^2 = sum over i and j of (W_2)_kj^2 (W_1)_ki^2",
        source="Johansson 2022, equation 2.8",
        assumption="one hidden layer, W_2 (n_c, n_1) and W_1 (n_1, n_0) as in section 1.1.1; n_c = n_1, so that row k"
        " of W_2 exists; i = 1 ... n_0 and j = 1 ... n_c, as equation 2.12 counts; tried: up to four of each",
        picture=f"{_CODE}_pictures:perturbation_norm",
        verdict="refuted",
    ),
    _exact(
        "perturbation_norm_columns",
        "",
        "hidden_units",
        summary="Norm of the perturbation in a network with one hidden layer",
        statement="||E||_F^2 = sum over i and j of (W_2)_jk^2 (W_1)_ki^2",
        source="amends Johansson 2022, equation 2.8",
        assumption="one hidden layer, of any size; tried: up to four inputs, neurons and outputs, whole weights",
        amends="perturbation_norm",
    ),
    _exact(
        "unbounded_regions",
        "_regions",
        "narrow_networks_with_mirrors",
        summary="Regions of networks with no more neurons than inputs have an infinite volume",
        statement="if n_0 >= n_1 + ... + n_(n-1), each activation region has an infinite volume",
        source="Johansson 2022, section 2.1.1",
        assumption=_DENSE + "; regions are those of section 1.1.4, active where the output is > 0" + _NARROW,
        picture=f"{_CODE}_pictures:region",
        verdict="refuted",
    ),
    _exact(
        "unbounded_regions_interior",
        "_regions",
        "narrow_networks_with_interior",
        summary="Regions with interior points of networks with no more neurons than inputs have an infinite volume",
        statement="if n_0 >= n_1 + ... + n_(n-1), each activation region with interior points has an infinite volume",
        source="amends Johansson 2022, section 2.1.1",
        assumption=_DENSE + _NARROW,
        amends="unbounded_regions",
    ),
    _exact(
        "edge_distance",
        "_regions",
        "small_networks_with_weights",
        summary="Distance to the edge of a region as the least distance to the zeros of a neuron",
        statement="the distance from x to the edge of its region is the minimum over all neurons of"
        " dist(x, {y: (W_l f^(l-1)(y) + b_l)_i = 0})",
        source="Johansson 2022, equation 2.1",
        assumption=_DENSE
        + "; to the empty set, and to the edge of the whole space, the distance is infinite; no neuron"
        " has weights that are all 0; tried: up to two inputs and two hidden layers of up to two neurons",
        picture=f"{_CODE}_pictures:region",
        verdict="refuted",
    ),
    _exact(
        "edge_distance_without_constants",
        "_regions",
        "small_networks_without_constants",
        summary="Distance to the edge of a region, where no neuron is zero all over it",
        statement="the distance from x to the edge of its region is the minimum over all neurons of"
        " dist(x, {y: (W_l f^(l-1)(y) + b_l)_i = 0}), if none of these functions is 0 in the whole region",
        source="amends Johansson 2022, equation 2.1",
        assumption=_DENSE + "; tried: up to two inputs and two hidden layers of up to two neurons",
        amends="edge_distance",
    ),
    _exact(
        "slope_is_norm",
        "_slopes",
        "interior_points",
        summary="Inside a region the slope is the operator norm of the affine map",
        statement="the p-slope, sup over ||v||_p = 1 of lim t -> 0+ of ||f(x + t v) - f(x)||_p / t, is ||W_R||_p",
        source="Johansson 2022, Definition 1 and section 3.5",
        assumption=_DENSE + "; x lies inside its region; p is 1, 2 or infinite" + _SMALL + " of up to two inputs",
    ),
    _exact(
        "forward_backward",
        "_slopes",
        "starts",
        summary="The power iteration with forward and backward modes converges to the slope",
        statement="with v_(k+1) = W_R^T W_R v_k, sent forward and backward, ||W_R v_k|| / ||v_k|| converges to"
        " ||W_R||_2",
        source="Johansson 2022, figure 3.6 and section 3.5",
        assumption=_DENSE + "; v_0 is not zero" + _SMALL + " of up to two inputs",
        picture=f"{_CODE}_pictures:iteration",
        verdict="refuted",
    ),
    _exact(
        "forward_backward_generic",
        "_slopes",
        "generic_starts",
        summary="The power iteration converges to the slope from a vector that sees the leading singular vector",
        statement="s^2 - ||W_R v_k||^2 / ||v_k||^2 lies between 0 and s^2 tan^2(a) / (2 k + 1), where s = ||W_R||_2,"
        " v_k is v_0 sent forward and backward k times, and a is the angle between v_0 and the leading right singular"
        " vectors",
        source="amends Johansson 2022, figure 3.6",
        assumption=_DENSE
        + "; v_0 is not orthogonal to the leading right singular vectors, W_R is not 0"
        + _SMALL
        + " of up to two inputs",
        amends="forward_backward",
    ),
]
