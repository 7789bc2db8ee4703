"""Johansson 2022: mean differences of singular values between regions, and of slopes at a distance of 1."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.johansson"
_FINITE = (
    "one hidden layer; weights of a layer are independent with equal law, mean 0 and variance C / n_(l - 1); tried:"
    " each is plus or minus one of up to two magnitudes, all equally likely; n_0 and n_c up to 2, n_1 up to 3; biases"
    " are fixed, such that no two walls are equally far from 0"
)
_UNIFORM = (
    "one hidden layer of up to 8 neurons, n_0 = n_c = 1; weights and biases of a layer are independent and uniform"
    " between plus and minus 1 / sqrt(n_(l - 1)), as the source draws them, so that C = 1/3; the point 0"
)
_SCALAR = (
    "one hidden layer, n_0 = n_c = 1; weights of a layer are independent with equal law, mean 0 and variance"
    " C / n_(l - 1); tried: each is plus or minus one of up to three magnitudes, all equally likely; n_1 up to 3; fixed"
    " biases and points, no point on a wall; N, the number of regions in the interval, is what the weights make it"
)
_SLOPES = "s_1 ... s_N >= 0 are any sequence of slopes; tried: up to 8 whole numbers"


def _exact(name: str, module: str, strategy: str, **fields: Any) -> Claim:
    code = f"{_CODE}_{module}"
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{name}", **fields)


CLAIMS = [
    _exact(
        "expected_perturbation",
        "expectations",
        "laws_of_a_fixed_unit",
        summary="Mean difference of the singular values between adjacent regions",
        statement="E[sum over i of (s_i - s'_i)^2] <= E||E||_F^2 = C^2 n_c / n_1 at initialisation, where s_i and s'_i"
        " are the singular values of W_R and W_R' in adjacent regions R and R', whose patterns differ in neuron k"
        " alone; k is fixed before the weights are drawn",
        source="Johansson 2022, equations 2.9 to 2.13",
        assumption=_FINITE + "; R and R' are on both sides of the wall of neuron k at the foot of 0 on it",
    ),
    _exact(
        "expected_perturbation_nearest",
        "expectations",
        "laws",
        summary="Mean difference of the singular values between the region of a point and the one met first",
        statement="E[sum over i of (s_i - s'_i)^2] <= C^2 n_c / n_1 at initialisation, where s_i and s'_i are the"
        " singular values of W_R and W_R' for the region R of a point and the adjacent one R' that is met first from"
        " it, so that the weights decide which neuron switches",
        source="Johansson 2022, equation 2.13 as used for figure 2.3 (left), appendix A.2.3",
        assumption=_FINITE + "; the point 0",
        picture=f"{_CODE}_pictures:expected_perturbation_nearest",
        verdict="refuted",
    ),
    _exact(
        "expected_perturbation_nearest_row",
        "expectations",
        "laws",
        summary="Mean difference of the singular values to the region met first, by the row of its neuron",
        statement="E[sum over i of (s_i - s'_i)^2] <= E||E||_F^2 = C n_c / n_1 E[||w_k||^2], where w_k is the row of"
        " W_1 of the neuron that switches, for the region of a point and the adjacent one that is met first",
        source="amends Johansson 2022, equation 2.13 as used for figure 2.3 (left)",
        assumption=_FINITE + "; the point 0",
        amends="expected_perturbation_nearest",
    ),
    Claim(
        name="expected_perturbation_nearest_uniform",
        strategy=f"{_CODE}_expectations:widths",
        sample=f"{_CODE}_expectations:expected_perturbation_nearest_uniform",
        value=f"{_CODE}_expectations:expected_perturbation_nearest_uniform_value",
        bounds=f"{_CODE}_expectations:squares",
        summary="Mean squared norm of the perturbation to the region met first, for uniform weights",
        statement="E||E||_F^2 = C n_c / n_1 (1 / 2 - 2^(-n_1) / (n_1 + 2)) for the region of a point and the adjacent"
        " one that is met first, which tends to 3/2 of C^2 n_c / n_1: the wall of a long row is met more often",
        source="amends Johansson 2022, equation 2.13 as used for figure 2.3 (left), with uniform weights as there",
        assumption=_UNIFORM,
        amends="expected_perturbation_nearest",
    ),
    _exact(
        "unit_interval_increments",
        "intervals",
        "slopes",
        summary="Squared difference of slopes across an interval, bounded by twice the squared increments",
        statement="(s_1 - s_N)^2 <= sum over j = 1 ... N - 1 of 2 (s_j - s_(j+1))^2",
        source="Johansson 2022, equation 2.15",
        assumption=_SLOPES,
        picture=f"{_CODE}_pictures:pieces",
        verdict="refuted",
    ),
    _exact(
        "unit_interval_increments_counted",
        "intervals",
        "slopes",
        summary="Squared difference of slopes across an interval, bounded by squared increments",
        statement="(s_1 - s_N)^2 <= (N - 1) sum over j = 1 ... N - 1 of (s_j - s_(j+1))^2",
        source="amends Johansson 2022, equation 2.15",
        assumption=_SLOPES,
        amends="unit_interval_increments",
    ),
    _exact(
        "unit_interval_bound",
        "intervals",
        "laws",
        summary="Mean squared difference of slopes at a distance of 1",
        statement="E[(s - s')^2] <= 2 C^2 - 2 C^2 / n_1 for the slopes s and s' at two points at distance 1; only"
        " n_1 = 1, where the bound is 0, speaks against it",
        source="Johansson 2022, equation 2.18",
        assumption=_SCALAR
        + ", while the source takes it to be n_1 (equation 2.16), a premise that is dropped here: two"
        " regions need a threshold between the points, so that N is 2 for n_1 = 1",
        picture=f"{_CODE}_pictures:interval",
        verdict="refuted",
    ),
    _exact(
        "unit_interval_bound_any_width",
        "intervals",
        "laws",
        summary="Mean squared difference of slopes at a distance of 1, for any number of neurons",
        statement="E[(s - s')^2] <= C / n_1 sum over k of E[w_k^2; the threshold of neuron k lies between] <= C^2, the"
        " first with equality for n_1 = 1, the second where all thresholds lie between; so equation 2.18 fails exactly"
        " for n_1 = 1 with a threshold that can lie between",
        source="amends Johansson 2022, equation 2.18",
        assumption=_SCALAR,
        amends="unit_interval_bound",
    ),
    _exact(
        "unit_interval_bound_apart",
        "intervals",
        "laws_apart",
        summary="Mean squared difference of slopes between two regions at a distance of 1",
        statement="E[(s - s')^2] <= 2 C^2 - 2 C^2 / n_1 for the slopes s and s' at two points at distance 1 that lie in"
        " different regions",
        source="Johansson 2022, equation 2.18 as used for figure 2.3 (right), appendix A.2.3",
        assumption=_SCALAR,
        picture=f"{_CODE}_pictures:interval",
        verdict="refuted",
    ),
    _exact(
        "unit_interval_bound_apart_share",
        "intervals",
        "laws_apart",
        summary="Mean squared difference of slopes between two regions at a distance of 1, for any number of neurons",
        statement="E[(s - s')^2] <= C / n_1 sum over k of E[w_k^2; the threshold of neuron k lies between] / P(one"
        " does), for points at distance 1 that lie in different regions",
        source="amends Johansson 2022, equation 2.18 as used for figure 2.3 (right)",
        assumption=_SCALAR,
        amends="unit_interval_bound_apart",
    ),
]
