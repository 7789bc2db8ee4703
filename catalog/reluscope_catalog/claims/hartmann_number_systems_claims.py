"""Hartmann 2025, section 4.2: progressive stochastic binarization."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.hartmann_number_systems"
_PICTURES = "reluscope_catalog.claims.hartmann_pictures"
_WEIGHT = (
    "w is not zero; s, e and p are those of equations 4.5 to 4.7; here w has 12 bits, so that its square is exact, and"
    " there are at most 12 samples"
)
_OCTAVE = "e is fixed and 0 <= p <= 1"


def _claim(name: str, strategy: str, **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{_CODE}:{strategy}", predicate=f"{_CODE}:{name}", **fields)


CLAIMS = [
    _claim(
        "psb_unbiased",
        "weights",
        summary="The stochastic binarization of a weight has the weight as its mean",
        statement="E[w_n] = w, where w_n = s 2^e (B / n + 1) and B ~ Binomial(n, p)",
        source="Hartmann 2025, equations 4.4 to 4.8",
        assumption=_WEIGHT,
    ),
    _claim(
        "psb_variance",
        "single_weights",
        summary="Variance of one sample of a weight",
        statement="Var(w_1) = 3 2^e |w| - 2^(2e + 1) - w^2 <= w^2 / 8",
        source="Hartmann 2025, section 4.2.1",
        assumption=_WEIGHT,
    ),
    _claim(
        "psb_variance_bound",
        "weights",
        summary="The variance falls with the number of samples",
        statement="Var(w_n) <= w^2 / (8 n)",
        source="Hartmann 2025, equation 4.10",
        assumption=_WEIGHT,
    ),
    _claim(
        "psb_relative_bound",
        "weights",
        summary="The standard deviation is bounded by a share of the weight",
        statement="sd(w_n) / |E[w_n]| <= 1 / sqrt(8 n)",
        source="Hartmann 2025, equation 4.11",
        assumption=_WEIGHT,
    ),
    _claim(
        "psb_variance_maximum",
        "octaves",
        summary="Within an octave the variance is greatest midway",
        statement="Var(w_1) at p is at most Var(w_1) at p = 1/2",
        source="Hartmann 2025, section 4.2.1",
        assumption=_OCTAVE,
    ),
    _claim(
        "psb_relative_maximum",
        "octaves",
        summary="Within an octave the relative variance is greatest midway",
        statement="Var(w_1) / w^2 at p is at most Var(w_1) / w^2 at p = 1/2",
        source="Hartmann 2025, section 4.2.1, read of the relative variance of equation 4.11",
        assumption=_OCTAVE,
        verdict="refuted",
        picture=f"{_PICTURES}:relative_variances",
    ),
    _claim(
        "psb_relative_maximum_at_third",
        "octaves",
        summary="Within an octave the relative variance is greatest at a third",
        statement="Var(w_1) / w^2 at p is at most 1/8, its value at p = 1/3, and equal to it nowhere else",
        source="amends Hartmann 2025, section 4.2.1",
        assumption=_OCTAVE,
        amends="psb_relative_maximum",
    ),
    _claim(
        "psb_shift_add",
        "products",
        summary="A product with a sampled weight is a sum of shifts",
        statement="x w_(2^n) = s (sum over i = 1 ... 2^n of x << (e + b_i)) >> n, where b_i are 0 or 1, B is their sum,"
        " << k is a product with 2^k and >> k a quotient by 2^k",
        source="Hartmann 2025, equation 4.9",
        assumption=_WEIGHT + "; x is a whole number",
    ),
]
