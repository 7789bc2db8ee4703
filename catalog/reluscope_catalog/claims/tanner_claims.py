"""Tanner, Theories of Deep Learning, video 5: partitions of the input domain and random paths."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.tanner"
_REGIONS = "reluscope_catalog.claims.region_pictures"
_PATHS = "reluscope_catalog.claims.tanner_paths"
_DRAWN = "reluscope_catalog.claims.tanner_gaussian"
_LECTURE = "Tanner, Theories of Deep Learning C6.5, video 5"
_TRIED = "; tried: up to 4 inputs and 6 units, whole numbers"
_WEIGHTS = "any n0 rows of W, or all if there are fewer, are linearly independent"
_POLYLINE = "x(t) is a polyline, the weights are independent and so are the biases"
_FACTOR = "sigma_w is any, as it is a factor of both sides"
_SPARSE = f"the weights of the row are independent, each N(0, sigma_w^2) with probability alpha, else zero; {_FACTOR}"


def _claim(name: str, strategy: str, predicate: str = "", code: str = _CODE, **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{predicate or name}", **fields)


CLAIMS = [
    _claim(
        "one_layer_partitions",
        "general_weights",
        summary="Weights in general position make as many regions as the sum of binomials",
        statement="if W is in general position (all subsets of rows are maximal rank), the hyperplanes"
        " W_i x + b_i = 0, i = 1 ... n1, leave sum over j = 0 ... n0 of binom(n1, j) partitions",
        source=f"{_LECTURE}, slide Partition of the input domain: one layer",
        assumption=f"{_WEIGHTS}; the biases are any{_TRIED}",
        verdict="refuted",
        picture=f"{_REGIONS}:hyperplanes",
    ),
    _claim(
        "one_layer_partitions_general",
        "general_layers",
        "one_layer_partitions",
        summary="Hyperplanes in general position make as many regions as the sum of binomials",
        statement="if any n0 rows of W and any n0 + 1 rows of (W, b) are linearly independent, the hyperplanes"
        " W_i x + b_i = 0, i = 1 ... n1, leave sum over j = 0 ... n0 of binom(n1, j) regions",
        source=f"amends {_LECTURE}, slide Partition of the input domain: one layer, after Zaslavsky 1975",
        assumption=f"{_WEIGHTS}; so are any n0 + 1 rows of (W, b){_TRIED}",
        amends="one_layer_partitions",
    ),
    _claim(
        "one_layer_partitions_central",
        "central_layers",
        summary="Without biases there are fewer regions, however general the weights",
        statement="if any n0 rows of W are linearly independent and b = 0, the hyperplanes leave"
        " 2 (sum over j = 0 ... n0 - 1 of binom(n1 - 1, j)) regions",
        source=f"amends {_LECTURE}, slide Partition of the input domain: one layer, after Cover 1965, theorem 1",
        assumption=f"{_WEIGHTS}; the biases are zero{_TRIED}",
        amends="one_layer_partitions",
    ),
    _claim(
        "partition_power_bound",
        "one_layer_sizes",
        summary="The sum of binomials is at least a power of the width",
        statement="sum over j = 0 ... n0 of binom(n1, j) >= n1^min(n0, n1 / 2)",
        source=f"{_LECTURE}, slide Partition of the input domain: with depth",
        assumption="n0 and n1 are at least 1",
        verdict="refuted",
        picture=f"{_REGIONS}:powers",
    ),
    _claim(
        "partition_power_bound_per_input",
        "one_layer_sizes",
        summary="The sum of binomials is at least a power of the units per input",
        statement="sum over j = 0 ... n0 of binom(n1, j) >= (n1 / m)^m for m = min(n0, n1 / 2)",
        source=f"amends {_LECTURE}, slide Partition of the input domain: with depth",
        assumption="n0 and n1 are at least 1",
        amends="partition_power_bound",
    ),
    _claim(
        "depth_lower_bound",
        "deep_networks",
        summary="A deep ReLU network has at least a product of powers of its widths as regions",
        statement="an L layer network with ReLU, input R^n0 and hidden layers of width n1 ... nL partitions the input"
        " space into at least prod over l = 0 ... L of n_l^min(n0, n_l / 2)",
        source=f"{_LECTURE}, slide Partition of the input domain: with depth, theorem",
        assumption="the weights are any; here n0 = 1",
        verdict="refuted",
        picture=f"{_REGIONS}:line_units",
    ),
    _claim(
        "depth_lower_bound_maximum",
        "deep_sizes",
        summary="Some deep ReLU network has at least a product of powers of its widths as regions",
        statement="some network with ReLU, input R^n0 and hidden layers of width n1 ... nL partitions the input space"
        " into at least prod over l = 0 ... L of n_l^min(n0, n_l / 2); this is no more than prod over l = 1 ... L of"
        " (sum over j = 0 ... n0 of binom(n_l, j)), which no network exceeds",
        source=f"{_LECTURE}, slide Partition of the input domain: with depth, theorem, read of the maximum",
        assumption="the weights are chosen",
        verdict="refuted",
        picture=f"{_REGIONS}:most_regions",
    ),
    _claim(
        "depth_lower_bound_attained",
        "attainable_sizes",
        summary="Some deep ReLU network has at least a product of units per input as regions",
        statement="some network with ReLU, input R^n0 and hidden layers of width n1 ... nL partitions the input space"
        " into at least (prod over l = 1 ... L - 1 of floor(n_l / n0)) (sum over j = 0 ... n0 of binom(n_L, j))",
        source=f"amends {_LECTURE}, slide Partition of the input domain: with depth, after Pascanu, Montufar and Bengio"
        " 2014, theorem 1",
        assumption="n_l >= n0 for all l; the weights are chosen; here n0 is 1 or 2, and what counts is the unit cube",
        amends="depth_lower_bound",
    ),
    _claim(
        "depth_lower_bound_per_input",
        "attainable_sizes",
        summary="Some deep ReLU network has at least a product of powers of its units per input as regions",
        statement="some network with ReLU, input R^n0 and hidden layers of width n1 ... nL partitions the input space"
        " into at least prod over l = 1 ... L of floor(n_l / n0)^n0",
        source=f"amends {_LECTURE}, slide Partition of the input domain: with depth, theorem, read of the maximum;"
        " after Montufar, Pascanu, Cho and Bengio 2014",
        assumption="n_l >= n0 for all l; the weights are chosen; here n0 is 1 or 2, and what counts is the unit cube",
        amends="depth_lower_bound_maximum",
    ),
    _claim(
        "trajectory_growth",
        "random_layers",
        code=_PATHS,
        summary="The expected length of a curve's image grows at least as (M / 2)^L",
        statement="if E|u^T w_i| >= M ||u|| for every row w_i, then E[l(z^(L)(t))] >= (M / 2)^L l(x(t))",
        source=f"{_LECTURE}, theorem of Price and Tanner 2019",
        assumption=f"{_POLYLINE}; M is the greatest there is; their distributions are any, here of finite support,"
        " of networks of one layer of two units, or of one or two layers of one",
        verdict="refuted",
        picture=f"{_REGIONS}:growth",
    ),
    _claim(
        "trajectory_growth_symmetric",
        "symmetric_layers",
        "trajectory_growth",
        code=_PATHS,
        summary="The expected length of a curve's image grows at least as (M / 2)^L in symmetric networks",
        statement="if weights and biases have distributions that are symmetric about zero, and E|u^T w_i| >= M ||u||"
        " for every row w_i, then E[l(z^(L)(t))] >= (M / 2)^L l(x(t))",
        source=f"amends {_LECTURE}, theorem of Price and Tanner 2019",
        assumption=f"{_POLYLINE}; M is the greatest there is; their distributions are here of finite support,"
        " of networks of one layer of two units, or of one or two layers of one",
        amends="trajectory_growth",
    ),
    _claim(
        "trajectory_gaussian_m",
        "dense_directions",
        code=_PATHS,
        summary="M of Gaussian weights",
        statement="E|u^T w_i| >= M ||u||, e.g. for Gaussian weights M = sigma_w sqrt(2 / pi); with equality, so that no"
        " greater M will do",
        source=f"{_LECTURE}, below the theorem of Price and Tanner 2019, with P = N(0, sigma_w^2) as in slide Random"
        " initialisations and DNNs",
        assumption=f"the weights of the row are independent, each N(0, sigma_w^2), none left out; {_FACTOR}",
    ),
    _claim(
        "trajectory_gaussian_m_any_share",
        "directions",
        code=_PATHS,
        summary="M of Gaussian weights, read of sparse networks too",
        statement="E|u^T w_i| >= M ||u||, for Gaussian weights with M = sigma_w sqrt(2 / pi), in random sparse networks"
        " of any share alpha of weights that are not zero",
        source=f"{_LECTURE}, theorem of Price and Tanner 2019, which is on random sparse networks, read with the M"
        " below it; the next slide calls networks with a share of weights an extension",
        assumption=_SPARSE,
        verdict="refuted",
        picture=f"{_REGIONS}:sparse_projection",
    ),
    _claim(
        "trajectory_gaussian_m_sparse",
        "directions",
        code=_PATHS,
        summary="M of a sparse network of Gaussian weights is less by the share of weights",
        statement="E|u^T w_i| >= M ||u|| for Gaussian weights, M = alpha sigma_w sqrt(2 / pi), with equality if and"
        " only if alpha = 1 or u has but one entry that is not zero, so that no greater M will do",
        source=f"amends {_LECTURE}, below the theorem of Price and Tanner 2019",
        assumption=_SPARSE,
        amends="trajectory_gaussian_m_any_share",
    ),
    _claim(
        "trajectory_gaussian_m_scaled",
        "dense_directions",
        code=_PATHS,
        summary="M of Gaussian weights whose variance is divided by the width",
        statement="E|u^T w_i| >= M ||u||, e.g. for Gaussian weights M = sigma_w sqrt(2 / pi)",
        source=f"{_LECTURE}, below the theorem of Price and Tanner 2019, with W(i, j) of N(0, sigma_w^2 / n) as in"
        " slide Path length bound",
        assumption=f"the n weights of the row are independent, each N(0, sigma_w^2 / n); {_FACTOR}",
        verdict="refuted",
        picture=f"{_REGIONS}:scaled_projection",
    ),
    _claim(
        "trajectory_gaussian_m_per_width",
        "dense_directions",
        code=_PATHS,
        summary="M of Gaussian weights whose variance is divided by the width is less by its root",
        statement="E|u^T w_i| = M ||u|| for Gaussian weights of variance sigma_w^2 / n, M = sigma_w sqrt(2 / (pi n))",
        source=f"amends {_LECTURE}, below the theorem of Price and Tanner 2019",
        assumption=f"the n weights of the row are independent, each N(0, sigma_w^2 / n); {_FACTOR}",
        amends="trajectory_gaussian_m_scaled",
    ),
    Claim(
        name="trajectory_gaussian_growth",
        strategy=f"{_DRAWN}:scaled_networks",
        sample=f"{_DRAWN}:stretches",
        bounds=f"{_DRAWN}:stretch_bounds",
        value=f"{_DRAWN}:gaussian_growth",
        summary="The expected length of a curve's image in a Gaussian network, in closed form",
        statement="E[l(z^(L)(t))] = (sigma_w c_n / sqrt(n))^L l(x(t)) for Gaussian weights of variance sigma_w^2 / n,"
        " where c_n = 2^-n (sum over k = 1 ... n of binom(n, k) sqrt(2) Gamma((k + 1) / 2) / Gamma(k / 2)) is the mean"
        " norm of n standard normal numbers each kept with probability 1/2; the biases do not matter",
        source=f"amends {_LECTURE}, theorem of Price and Tanner 2019, with W(i, j) of N(0, sigma_w^2 / n)",
        assumption="weights are independent N(0, sigma_w^2 / n), biases N(0, sigma_b^2); here x(t) is a segment in"
        " R^n, n <= 3 and L <= 2; what is observed is divided by the norms of the weights, which bounds it, and its"
        " mean by theirs",
        amends="trajectory_gaussian_m_scaled",
    ),
    _claim(
        "trajectory_gaussian_growth_bound",
        "widths",
        code=_DRAWN,
        summary="What follows of M = sigma_w sqrt(2 / pi) holds for Gaussian weights, and is attained by one unit",
        statement="sqrt(n / (2 pi)) <= c_n < sqrt(n / 2), with equality for n = 1 alone, c_n being that of"
        " E[l(z^(L)(t))] = (sigma_w c_n / sqrt(n))^L l(x(t)): so this is at least (M / 2)^L l(x(t)) for"
        " M = sigma_w sqrt(2 / pi), and less than (sigma_w / sqrt(2))^L l(x(t))",
        source=f"amends {_LECTURE}, theorem of Price and Tanner 2019, with W(i, j) of N(0, sigma_w^2 / n)",
        assumption="weights are independent N(0, sigma_w^2 / n), biases N(0, sigma_b^2); here n <= 500",
        amends="trajectory_gaussian_m_scaled",
    ),
]
