"""Johansson 2022: affine maps, their ranks and singular values, activation regions and slopes."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.johansson"
_DENSE = "fully connected layers with ReLU between them"
_UNIFORM = (
    "one hidden layer; weights and biases of a layer are independent and uniform between plus and minus"
    " 1 / sqrt(n_(l - 1)), so that C = 1/3"
)
_SCALAR = _UNIFORM + "; n_0 = n_c = 1"
_RIRE = (
    "the entries of each W_i are independent and identically distributed, absolutely continuous (Definition 2); drawn"
    " here: uniform between -1 and 1"
)


def _exact(name: str, module: str, strategy: str, **fields: Any) -> Claim:
    code = _CODE + module
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{name}", **fields)


def _mean(name: str, strategy: str, sample: str, value: str, **fields: Any) -> Claim:
    code = f"{_CODE}_expectations"
    return Claim(
        name=name,
        strategy=f"{code}:{strategy}",
        sample=f"{code}:{sample}",
        value=f"{code}:{value}",
        relation="at most",
        effect=0.02,
        **fields,
    )


CLAIMS = [
    _exact(
        "affine_product",
        "",
        "points",
        summary="The affine map of a region is a product of the weights and the patterns",
        statement="f(y) = W_R y + b_R for all y in the region R of x, where W_R = W_n Z_(n-1)(x) W_(n-1) ... Z_1(x) W_1"
        " and Z_i(x) is diagonal, 1 where a neuron of layer i has an output > 0, else 0",
        source="Johansson 2022, equation 2.2",
        assumption=_DENSE,
    ),
    _exact(
        "rank_at_init",
        "_ranks",
        "drawn_networks",
        summary="Rank of the affine map at initialisation",
        statement="rank(W_R) = min(n_0, n_c, min over i of trace(Z_i)) at initialisation",
        source="Johansson 2022, equation 2.3 and Corollary 1",
        assumption=_DENSE + "; all weights independent, absolutely continuous; with probability 1",
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
        assumption=_DENSE + "; the patterns differ in one neuron (and need not occur)",
    ),
    _exact(
        "perturbation_norm",
        "",
        "hidden_units_as_outputs",
        summary="Norm of the perturbation in a network with one hidden layer, with the indices printed",
        statement="||E||_F^2 = sum over i and j of (W_2)_kj^2 (W_1)_ki^2",
        source="Johansson 2022, equation 2.8",
        assumption="one hidden layer, W_2 (n_c, n_1) and W_1 (n_1, n_0) as in section 1.1.1; n_c = n_1, so that row k"
        " of W_2 exists; i = 1 ... n_0 and j = 1 ... n_c, as equation 2.12 counts",
        verdict="refuted",
    ),
    _exact(
        "perturbation_norm_columns",
        "",
        "hidden_units",
        summary="Norm of the perturbation in a network with one hidden layer",
        statement="||E||_F^2 = sum over i and j of (W_2)_jk^2 (W_1)_ki^2",
        source="amends Johansson 2022, equation 2.8",
        assumption="one hidden layer, of any size",
        amends="perturbation_norm",
    ),
    _mean(
        "expected_perturbation",
        "sizes",
        "expected_perturbation",
        "expected_perturbation_value",
        summary="Mean difference of the singular values between regions that differ in a given neuron",
        statement="E[sum over i of (s_i - s'_i)^2] <= C^2 n_c / n_1 at initialisation, for the regions on both sides of"
        " a point of the wall of a neuron k that is fixed before",
        source="Johansson 2022, equation 2.13",
        assumption=_UNIFORM + "; the point: the foot on the wall of one with standard normal entries",
    ),
    _mean(
        "expected_perturbation_nearest",
        "wide_sizes",
        "expected_perturbation_nearest",
        "expected_perturbation_nearest_value",
        summary="Mean difference of the singular values between the region of a point and the one beyond its edge",
        statement="E[sum over i of (s_i - s'_i)^2] <= C^2 n_c / n_1 at initialisation, for the region of a point and"
        " the adjacent one that is met first",
        source="Johansson 2022, equation 2.13 as used for figure 2.3 (left), appendix A.2.3",
        assumption=_SCALAR + "; the point 0",
        verdict="refuted",
    ),
    _mean(
        "expected_perturbation_chosen",
        "wide_sizes",
        "expected_perturbation_nearest",
        "expected_perturbation_chosen_value",
        summary="Mean difference of the singular values for a neuron chosen by its weights",
        statement="E[sum over i of (s_i - s'_i)^2] <= C n_c / n_1 max ||w||^2, where w are the rows of W_1, whichever"
        " neuron is chosen from the point and the first layer",
        source="amends Johansson 2022, equation 2.13",
        assumption=_SCALAR + ", and ||w|| <= 1; the point 0",
        amends="expected_perturbation_nearest",
    ),
    _exact(
        "unit_interval_increments",
        "",
        "slopes",
        summary="Squared difference of slopes across an interval, bounded by twice the squared increments",
        statement="(s_1 - s_N)^2 <= sum over j = 1 ... N - 1 of 2 (s_j - s_(j+1))^2",
        source="Johansson 2022, equation 2.15",
        assumption="s_1 ... s_N >= 0 are any sequence of slopes",
        verdict="refuted",
    ),
    _exact(
        "unit_interval_increments_counted",
        "",
        "slopes",
        summary="Squared difference of slopes across an interval, bounded by squared increments",
        statement="(s_1 - s_N)^2 <= (N - 1) sum over j = 1 ... N - 1 of (s_j - s_(j+1))^2",
        source="amends Johansson 2022, equation 2.15",
        assumption="s_1 ... s_N >= 0 are any sequence of slopes",
        amends="unit_interval_increments",
    ),
    _mean(
        "unit_interval_bound",
        "widths",
        "unit_interval_bound",
        "unit_interval_bound_value",
        summary="Mean squared difference of slopes at a distance of 1",
        statement="E[(s - s')^2] <= 2 C^2 - 2 C^2 / n_1 for the slopes s and s' at two points at distance 1",
        source="Johansson 2022, equation 2.18",
        assumption=_SCALAR + "; the points 0 and 1",
        verdict="refuted",
    ),
    _mean(
        "unit_interval_bound_any_width",
        "widths",
        "unit_interval_bound",
        "unit_interval_bound_any_width_value",
        summary="Mean squared difference of slopes, for any number of neurons",
        statement="E[(s - s')^2] <= C^2: changes of slope at different thresholds are uncorrelated",
        source="amends Johansson 2022, equation 2.18",
        assumption=_SCALAR + "; the points 0 and 1",
        amends="unit_interval_bound",
    ),
    _exact(
        "unbounded_regions",
        "_regions",
        "narrow_networks_with_mirrors",
        summary="Regions of networks with no more neurons than inputs have an infinite volume",
        statement="if n_0 >= n_1 + ... + n_(n-1), each activation region has an infinite volume",
        source="Johansson 2022, section 2.1.1",
        assumption=_DENSE + "; regions are those of section 1.1.4, active where the output is > 0",
        verdict="refuted",
    ),
    _exact(
        "unbounded_regions_interior",
        "_regions",
        "narrow_networks_with_interior",
        summary="Regions with interior points of networks with no more neurons than inputs have an infinite volume",
        statement="if n_0 >= n_1 + ... + n_(n-1), each activation region with interior points has an infinite volume",
        source="amends Johansson 2022, section 2.1.1",
        assumption=_DENSE,
        amends="unbounded_regions",
    ),
    _exact(
        "edge_distance",
        "_regions",
        "small_networks",
        summary="Distance to the edge of a region as the least distance to the zeros of a neuron",
        statement="the distance from x to the edge of its region is the minimum over all neurons of"
        " dist(x, {y: (W_l f^(l-1)(y) + b_l)_i = 0})",
        source="Johansson 2022, equation 2.1",
        assumption=_DENSE + "; to the empty set, and to the edge of the whole space, the distance is infinite",
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
        assumption=_DENSE,
        amends="edge_distance",
    ),
    _exact(
        "slope_is_norm",
        "_slopes",
        "interior_points",
        summary="Inside a region the slope is the operator norm of the affine map",
        statement="the p-slope, sup over ||v||_p = 1 of lim t -> 0+ of ||f(x + t v) - f(x)||_p / t, is ||W_R||_p",
        source="Johansson 2022, Definition 1 and section 3.5",
        assumption=_DENSE + "; x lies inside its region; p is 1, 2 or infinite",
    ),
    _exact(
        "forward_backward",
        "_slopes",
        "starts",
        summary="The power iteration with forward and backward modes converges to the slope",
        statement="with v_(k+1) = W_R^T W_R v_k, sent forward and backward, ||W_R v_k|| / ||v_k|| converges to"
        " ||W_R||_2",
        source="Johansson 2022, figure 3.6 and section 3.5",
        assumption=_DENSE + "; v_0 is not zero",
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
        assumption=_DENSE + "; v_0 is not orthogonal to the leading right singular vectors",
        amends="forward_backward",
    ),
]
