"""Jeong, Barton and Ramirez 2020 (ICERM): expressivity of networks, regions, the sawtooth."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.icerm"
_REGIONS = "reluscope_catalog.claims.region_pictures"
_MONOMIALS = "reluscope_catalog.claims.icerm_monomials"
_TALK = "Jeong, Barton and Ramirez 2020 (Summer@ICERM)"
_KNOWN = "slide ReLU Networks as Partitioning Input Space: known theorems"
_DEPTH = "slide Improved Expressivity Results with Depth"
_POWERS = "; tried: up to 4 variables of powers up to 40, or up to 8 of equal powers up to 3, and softplus"
_FEW = "; tried: up to 3 variables of powers up to 3"
_SMOOTH = "the activation function is smooth, with derivatives that are not zero up to degree 2 d where it is expanded"


def _claim(name: str, strategy: str, code: str = _CODE, **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{name}", **fields)


CLAIMS = [
    _claim(
        "one_layer_upper_bound",
        "layers",
        summary="One hidden layer makes at most the sum of binomials as regions",
        statement="a network of p inputs and one hidden layer of q units has at most"
        " r(q, p) = sum over i = 0 ... p of binom(q, i) piecewise linear regions",
        source=f"{_TALK}, {_KNOWN}",
        assumption="weights and biases are any; tried: up to 4 inputs and 5 units, whole numbers up to 3",
    ),
    _claim(
        "montufar_attained",
        "two_layer_widths",
        summary="Some network computes a function of so many linear regions as Montufar's bound says",
        statement="the maximal number of linear regions of the functions computed by a network with n0 inputs and L"
        " hidden layers of n_i >= n0 rectifiers is at least"
        " (prod over i = 1 ... L - 1 of floor(n_i / n0)^n0) (sum over j = 0 ... n0 of binom(n_L, j))",
        source=f"{_TALK}, {_KNOWN}, Montufar et al. 2014",
        assumption="here n0 = 1, L = 2 and n2 = 1: ReLU of a function of n1 breakpoints, which has at most"
        " n1 + 2 + ceil(n1 / 2) linear regions",
        verdict="refuted",
        picture=f"{_REGIONS}:breakpoints",
    ),
    Claim(
        name="montufar_attained_patterns",
        strategy="reluscope_catalog.claims.tanner:attainable_sizes",
        predicate=f"{_CODE}:montufar_attained_patterns",
        summary="Some network has as many activation regions as Montufar's bound says",
        statement="the maximal number of regions of the input space on each of which a network with n0 inputs and L"
        " hidden layers of n_i >= n0 rectifiers has one activation pattern is at least"
        " (prod over i = 1 ... L - 1 of floor(n_i / n0)^n0) (sum over j = 0 ... n0 of binom(n_L, j))",
        source=f"amends {_TALK}, {_KNOWN}, Montufar et al. 2014",
        assumption="here n0 is 1 or 2, and what counts is the unit cube",
        amends="montufar_attained",
    ),
    _claim(
        "montufar_attained_functions",
        "folding_widths",
        summary="Some network computes a function of so many linear regions, if its last layer is wider than its input",
        statement="if n_L > n0, the maximal number of linear regions of the functions computed by a network with n0"
        " inputs and L hidden layers of n_i >= n0 rectifiers is at least"
        " (prod over i = 1 ... L - 1 of floor(n_i / n0)^n0) (sum over j = 0 ... n0 of binom(n_L, j))",
        source=f"amends {_TALK}, {_KNOWN}, Montufar et al. 2014",
        assumption="n_L > n0; here n0 = 1, and what counts is the unit interval",
        amends="montufar_attained",
    ),
    _claim(
        "sawtooth_pieces",
        "compositions",
        summary="The mirror map composed n times has 2^n pieces of equal length",
        statement="composing the mirror map with itself n times yields a sawtooth with 2^n equally spaced affine"
        " components on [0, 1]",
        source=f"{_TALK}, slide Sawtooth functions/triangular wave functions",
        assumption="n >= 1; composed n times is applied n times; tried: n up to 8",
    ),
    _claim(
        "mirror_map_network",
        "places",
        summary="The mirror map is a network of two layers",
        statement="f(x) = ReLU(2 ReLU(x) - 4 ReLU(x - 1/2)) is 2 x up to 1/2 and 2 (1 - x) from there",
        source=f"{_TALK}, slide Sawtooth functions/triangular wave functions",
        assumption="0 <= x <= 1",
    ),
    Claim(
        name="line_regions_linear",
        strategy=f"{_CODE}:segments",
        sample=f"{_CODE}:crossed_regions",
        relation="at most",
        value=f"{_CODE}:linear_bound",
        bounds=f"{_CODE}:region_bounds",
        summary="A line segment crosses a number of regions that is linear in the number of neurons",
        statement="for any line segment I through input space, the average number of regions intersected is linear in"
        " the number N of neurons: at most 1 + c |I| N, where c = sqrt(2 / n0) / (pi sigma_b) does not depend on N",
        source=f"{_TALK}, slide on Hanin and Rolnick 2019ab, which states it informally; the constant worked out",
        assumption="weights are independent N(0, 2 / n), n being the width before, and biases N(0, sigma_b^2);"
        " tried: up to 3 inputs, up to 3 layers of up to 6 neurons, sigma_b 1 or 1/2, segments between whole numbers"
        " up to 2",
    ),
    _claim(
        "product_gate",
        "products",
        code=_MONOMIALS,
        summary="Four smooth units come as near to a product as one likes",
        statement="for any epsilon > 0 a hidden layer of four units, with an activation function whose Taylor"
        " coefficients are not zero up to degree 4, computes x y with an error below epsilon",
        source=f"{_TALK}, {_DEPTH}, of f(x, y) = x y after Rolnick and Tegmark 2018",
        assumption="|x|, |y| <= 1; tried: softplus, exp and cos, expanded at whole numbers up to 2, where it takes the"
        " second derivative alone to be not zero; epsilon is at least 2^-20, where float64 does",
    ),
    _claim(
        "monomial_neurons",
        "many_powers",
        code=_MONOMIALS,
        summary="A deep network makes a monomial of few neurons, as the sum is printed",
        statement="m(f) <= sum over i = 1 ... n of 7 ceil(log2 r_i) + 4 for f = x_1^r_1 ... x_n^r_n; printed is no"
        " bracket, and here the sum ends before the 4, which is added once; m(f) is at least n, since a network of"
        " fewer neurons is constant along some direction",
        source=f"{_TALK}, {_DEPTH}, read as printed, the sum before the 4",
        assumption=_SMOOTH + _POWERS,
        verdict="refuted",
    ),
    _claim(
        "monomial_neurons_each",
        "many_powers",
        code=_MONOMIALS,
        summary="A deep network makes a monomial of neurons that are linear in the number of variables",
        statement="m(f) <= sum over i = 1 ... n of (7 ceil(log2 r_i) + 4), the 4 in the sum, for"
        " f = x_1^r_1 ... x_n^r_n",
        source=f"amends {_TALK}, {_DEPTH}, after Rolnick and Tegmark 2018",
        assumption=_SMOOTH + _POWERS,
        amends="monomial_neurons",
    ),
    _claim(
        "monomial_neurons_one_layer",
        "powers",
        code=_MONOMIALS,
        summary="One hidden layer makes a monomial of the product of powers plus one, and of no fewer neurons",
        statement="m_1(f) = prod over i = 1 ... n of (r_i + 1) for f = x_1^r_1 ... x_n^r_n",
        source=f"{_TALK}, {_DEPTH}",
        assumption=f"{_SMOOTH}; all layers have biases, as on the slide on feedforward networks{_FEW}",
        verdict="refuted",
    ),
    _claim(
        "monomial_neurons_one_layer_enough",
        "powers",
        code=_MONOMIALS,
        summary="One hidden layer makes a monomial of the product of powers plus one neurons",
        statement="m_1(f) <= prod over i = 1 ... n of (r_i + 1) for f = x_1^r_1 ... x_n^r_n, also if the output has no"
        " bias",
        source=f"amends {_TALK}, {_DEPTH}",
        assumption=_SMOOTH + _FEW,
        amends="monomial_neurons_one_layer",
    ),
]
