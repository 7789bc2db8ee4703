"""Gamba et al. 2020: projection statistics of convolutional filters."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.gamba"
_CONVOLUTION = "any size of the input, kernel, stride and zero-padding; the row W_m is not 0"
_NORMAL = (
    "the n = C k^2 weights of a filter are independent N(0, s^2), n >= 2; a receptive field that lies on the input"
)
_ORIENTATION = "zero-padding as in the networks of the source; all biases 0, as section 2.3.1 assumes"
_SYMMETRIC = "filters independent, of a symmetric law, with cosines that are not 0"


def _exact(name: str, strategy: str, **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{_CODE}:{strategy}", predicate=f"{_CODE}:{name}", **fields)


CLAIMS = [
    _exact(
        "projection_cosine",
        "convolutions",
        summary="Cosine between a row of the unrolled convolution and the identity line, by the sum of all weights",
        statement="<W_m / |W_m|, 1 / |1|> = 1 / A sum over c, p, q of W[i, c, p, q], A = |W_m| |1|, for every receptive"
        " field m of filter i",
        source="Gamba et al. 2020, equation 1",
        assumption=_CONVOLUTION,
        verdict="refuted",
    ),
    _exact(
        "projection_cosine_within",
        "convolutions",
        summary="Cosine between a row of the unrolled convolution and the identity line",
        statement="<W_m / |W_m|, 1 / |1|> = 1 / A sum of W[i, c, p, q] over those c, p, q that lie on the input, not on"
        " its padding, for every receptive field m of filter i; without padding these are all",
        source="amends Gamba et al. 2020, equation 1",
        assumption=_CONVOLUTION,
        amends="projection_cosine",
    ),
    _exact(
        "cosine_sign_only",
        "convolutions_without_bias",
        summary="The sign of the cosine tells the side of all hyperplanes of a filter",
        statement="the sign of the cosine of equation 1 is the side of all hyperplanes {x: W_m x = 0} of filter i on"
        " which any point f 1 lies, f > 0",
        source="Gamba et al. 2020, section 2.3.1",
        assumption=_ORIENTATION,
        verdict="refuted",
    ),
    _exact(
        "cosine_sign_only_within",
        "convolutions_with_bias",
        summary="The sign of the cosine tells the side of all hyperplanes of whole receptive fields",
        statement="the sign of the cosine of equation 1 is the side of all hyperplanes {x: W_m x + b = 0} of receptive"
        " fields m without padding on which the points f 1 lie: for all f > 0 if b = 0, else for f > |b| / |W_m 1|",
        source="amends Gamba et al. 2020, section 2.3.1",
        assumption=_CONVOLUTION + "; any bias b",
        amends="cosine_sign_only",
    ),
    Claim(
        name="cosines_at_init",
        summary="Cosines at initialisation are normal",
        statement="the cosine of equation 1 is normally distributed with mean 0 at initialisation: E[cos^4] is three"
        " times the square of its variance 1 / (C H W)",
        source="Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        strategy=f"{_CODE}:shapes",
        sample=f"{_CODE}:cosines_at_init",
        value=3.0,
        verdict="refuted",
    ),
    Claim(
        name="cosines_at_init_sphere",
        summary="Cosines at initialisation are coordinates of a uniform point on a sphere",
        statement="cos sqrt(C H W / n) is distributed as a coordinate of a uniform point on the unit sphere in R^n:"
        " E[cos^4] is 3 n / (n + 2) times the square of its variance 1 / (C H W), and normal only in the limit of"
        " large n",
        source="amends Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        strategy=f"{_CODE}:shapes",
        sample=f"{_CODE}:cosines_at_init",
        value=f"{_CODE}:cosines_at_init_value",
        effect=0.03,
        amends="cosines_at_init",
    ),
    Claim(
        name="cosines_at_init_mean",
        summary="Cosines at initialisation have mean zero",
        statement="the cosine of equation 1 has mean 0 at initialisation: so has cos sqrt(C H W), whose variance is 1",
        source="amends Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        strategy=f"{_CODE}:shapes",
        sample=f"{_CODE}:cosines_at_init_mean",
        value=0.0,
        effect=0.02,
        amends="cosines_at_init",
    ),
    _exact(
        "alignment_probability",
        "filters",
        summary="Probability that all filters of a layer are aligned at initialisation",
        statement="all F cosines of a layer agree in sign (or, read so, are positive) with probability F / 2^F",
        source="Gamba et al. 2020, appendix A.2",
        assumption=_SYMMETRIC,
        verdict="refuted",
    ),
    _exact(
        "alignment_probability_two",
        "filters",
        summary="Probability that all filters of a layer are aligned at initialisation",
        statement="all F cosines of a layer agree in sign with probability 2 / 2^F, one half of it for either sign",
        source="amends Gamba et al. 2020, appendix A.2",
        assumption=_SYMMETRIC,
        amends="alignment_probability",
    ),
]
