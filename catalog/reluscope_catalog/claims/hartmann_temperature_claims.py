"""Hartmann 2025, sections 3.2, 3.3 and A.4: how often patterns change in a step, and models of it."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.hartmann_temperature"
_PICTURES = "reluscope_catalog.claims.hartmann_pictures"
_WIDE = "reluscope_catalog.claims.hartmann_wide_layers"
_MODELS = "reluscope_catalog.claims.hartmann_models"
_DATA = (
    "any data; D(eta) is that the pattern of a sample differs before and after a step at rate eta (equation 3.15);"
    " here a layer of at most 2 units on 2 inputs, with whole weights"
)
_PARAMETERS = (
    "any mu, and any sigma but 0; 0 < P < 1; eta > 0; here mu, sigma and log eta are in eighths up to 8, and P is"
    " Phi(u) for u in eighths up to 3"
)
_CHANGES = f"{_CODE}:pattern_changes"
_INITIAL = (
    "weights, biases and their gradients are normal of mean zero and all independent, as the proof has it; inputs are"
    " independent, also of these, here 1 or -1 with any probabilities, so that the law needs no limit of wide layers"
)


def _claim(name: str, strategy: str, code: str = _CODE, **fields: Any) -> Claim:
    if "sample" not in fields:
        fields["predicate"] = f"{code}:{name}"
    return Claim(name=name, strategy=f"{code}:{strategy}", **fields)


CLAIMS = [
    _claim(
        "distance_nonnegative",
        "steps",
        summary="The distance and the temperature are not negative",
        statement="P(D(eta)) >= 0 and T(eta) = -log(1 - P(D(eta))) >= 0",
        source="Hartmann 2025, Observation 1",
        assumption=_DATA,
    ),
    _claim(
        "distance_zero_rate",
        "steps_of_optimizers",
        summary="At rate 0 no pattern changes",
        statement="P(D(0)) = 0 and T(0) = 0",
        source="Hartmann 2025, Observation 1",
        assumption=_DATA + "; at rate 0 the optimizer leaves the parameters as they are",
    ),
    _claim(
        "distance_reversal",
        "steps",
        summary="A step and the step back change as many patterns",
        statement="P(D_theta(eta)) = P(D_theta'(-eta)), where theta' = Opt(theta, eta)",
        source="Hartmann 2025, Observation 1",
        assumption=_DATA + "; Opt(theta, eta) = theta + eta times the gradient of Q at theta (equation 3.14)",
        verdict="refuted",
        picture=f"{_PICTURES}:steps_back",
    ),
    _claim(
        "distance_reversal_of_direction",
        "directed_steps",
        summary="A step and the step back along the same direction change as many patterns",
        statement="P(D_theta(eta)) = P(D_theta'(-eta)), where theta' = Opt(theta, eta)",
        source="amends Hartmann 2025, Observation 1",
        assumption=_DATA + "; Opt(theta, eta) = theta + eta g with one g for both steps",
        amends="distance_reversal",
    ),
    _claim(
        "arctan_law",
        "wide_layers",
        code=_WIDE,
        summary="How often a pattern changes at initialisation, in the limit of wide layers",
        statement="If weights and biases are independent and normal of mean zero and variances in O(1/n), n being"
        " d_(l - 1), their gradients are normal of mean zero, and the inputs are n independent random variables of"
        " finite mean and variance, independent of both, then in the limit of wide layers, for large enough d = d_l, n,"
        " P(D(eta)) approaches 1 - (1 - arctan(eta s_g / s_c) / pi)^d, where s_c^2 = s_w^2 sum of Var(x_j) + s_b^2 and"
        " s_g^2 = s_dw^2 sum of Var(x_j) + s_db^2",
        source="Hartmann 2025, Theorem 1, equations 3.18, 3.20 and 3.21",
        assumption="of gradients that do not vanish and cells of about one size, as the theorem adds; tried: inputs 1,"
        " or -1 with probability 1/16 or 1/8; n is 64 or 128, d is 32 or 64; deviations s_w = s_b = s_dw = 1 / n,"
        " of which also the squares are in O(1/n), and s_db = 2 / sqrt(n), as of it nothing is said; eta = 1 / d. In"
        " the limit the printed law tends to 1 - exp(-sqrt(1 + 4 / Var(x)) / pi), and P(D) to 1 - exp(-sqrt(5) / pi),"
        " so that their difference does not vanish",
        verdict="refuted",
        picture=f"{_PICTURES}:law",
        sample=f"{_WIDE}:changes_of_wide_layers",
        value=f"{_WIDE}:arctan_law",
    ),
    _claim(
        "arctan_law_of_moments",
        "first_layers",
        summary="How often a pattern changes at initialisation, by the second moments of the inputs",
        statement="P(D(eta)) = 1 - (1 - arctan(eta s_g / s_c) / pi)^d, where s_c^2 = s_w^2 sum of E[x_j^2] + s_b^2 and"
        " s_g^2 = s_dw^2 sum of E[x_j^2] + s_db^2",
        source="amends Hartmann 2025, Theorem 1",
        assumption=_INITIAL + "; tried: at most 2 inputs and 2 units",
        amends="arctan_law",
        sample=_CHANGES,
        value=f"{_CODE}:arctan_law_of_moments",
    ),
    _claim(
        "product_variance",
        "products",
        code=_MODELS,
        summary="Variance of a weight times an input, as printed",
        statement="Var(w x) = E[w^2 x^2] - E[w x]^2 = Var(w) Var(x)",
        source="Hartmann 2025, equation 3.19",
        assumption="w has mean zero; x is independent of it, of finite mean and variance",
        verdict="refuted",
        picture=f"{_PICTURES}:variances",
    ),
    _claim(
        "product_variance_of_moment",
        "products",
        code=_MODELS,
        summary="Variance of a weight times an input",
        statement="Var(w x) = Var(w) E[x^2]",
        source="amends Hartmann 2025, equation 3.19",
        assumption="w has mean zero; x is independent of it, of finite mean and variance",
        amends="product_variance",
    ),
    _claim(
        "owen_integral",
        "slopes",
        code=_MODELS,
        summary="The integral of a normal density times a normal distribution function over the positive numbers",
        statement="integral from 0 to infinity of phi(a x) Phi(b x) dx = (pi / 2 + arctan(b / |a|)) / (2 pi |a|)",
        source="Hartmann 2025, equation 3.37, after Owen 1980",
        assumption="a is not 0",
    ),
    _claim(
        "erf_inverse_main",
        "transitions",
        code=_MODELS,
        summary="Rate and mu of the model of the error function, as printed in the main text",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for"
        " eta = exp(sigma sqrt 2 erfinv(2 P - 1) - mu), and for mu = sigma sqrt 2 erfinv(2 P - 1) - log eta",
        source="Hartmann 2025, equations 3.43 and 3.44, which rearrange 3.17",
        assumption=_PARAMETERS,
        verdict="refuted",
        picture=f"{_PICTURES}:printed_inverses",
    ),
    _claim(
        "erf_inverse_main_rate",
        "rate_transitions",
        code=_MODELS,
        summary="Rate of the model of the error function, as printed in the main text",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for eta = exp(sigma sqrt 2 erfinv(2 P - 1) - mu)",
        source="Hartmann 2025, equation 3.43, which rearranges 3.17",
        assumption=_PARAMETERS,
        verdict="refuted",
        picture=f"{_PICTURES}:printed_rate",
    ),
    _claim(
        "erf_inverse_main_mu",
        "mu_transitions",
        code=_MODELS,
        summary="Mu of the model of the error function, as printed in the main text",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for mu = sigma sqrt 2 erfinv(2 P - 1) - log eta",
        source="Hartmann 2025, equation 3.44, which rearranges 3.17",
        assumption=_PARAMETERS,
        verdict="refuted",
        picture=f"{_PICTURES}:printed_mu",
    ),
    _claim(
        "erf_inverse_sum",
        "transitions",
        code=_MODELS,
        summary="Rate and mu of the model of the error function with the other sign of mu",
        statement="P = (1 + erf((mu + log eta) / (sigma sqrt 2))) / 2 for"
        " eta = exp(sigma sqrt 2 erfinv(2 P - 1) - mu), and for mu = sigma sqrt 2 erfinv(2 P - 1) - log eta",
        source="amends Hartmann 2025, equations 3.43 and 3.44: they rearrange 3.42",
        assumption=_PARAMETERS,
        amends="erf_inverse_main",
    ),
    _claim(
        "erf_inverse_appendix",
        "transitions",
        code=_MODELS,
        summary="Rate and mu of the model of the error function, as printed in the appendix",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for"
        " eta = exp(sigma sqrt 2 erfinv(2 P - 1) + mu), and for mu = log eta - sigma sqrt 2 erfinv(2 P - 1)",
        source="Hartmann 2025, section A.4, (a) to (c); (a) is equation 3.17",
        assumption=_PARAMETERS,
        amends="erf_inverse_main",
    ),
    _claim(
        "erf_inverse_appendix_rate",
        "rate_transitions",
        code=_MODELS,
        summary="Rate of the model of the error function, as printed in the appendix",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for eta = exp(sigma sqrt 2 erfinv(2 P - 1) + mu)",
        source="Hartmann 2025, section A.4, (b); it amends equation 3.43",
        assumption=_PARAMETERS,
        amends="erf_inverse_main_rate",
    ),
    _claim(
        "erf_inverse_appendix_mu",
        "mu_transitions",
        code=_MODELS,
        summary="Mu of the model of the error function, as printed in the appendix",
        statement="P = (1 + erf((log eta - mu) / (sigma sqrt 2))) / 2 for mu = log eta - sigma sqrt 2 erfinv(2 P - 1)",
        source="Hartmann 2025, section A.4, (c); it amends equation 3.44",
        assumption=_PARAMETERS,
        amends="erf_inverse_main_mu",
    ),
]
