"""Gamba et al. 2020: projection statistics of convolutional filters."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.gamba"
_TRIED = "tried: up to 2 channels, kernels up to 3, strides and zero-paddings up to 2, whole weights"
_CONVOLUTION = f"any size of the input, kernel, stride and zero-padding; the row W_m is not 0; {_TRIED}"
_NORMAL = (
    "the n = C k^2 weights of a filter are independent N(0, s^2); a receptive field that lies on the input; tried:"
    " C and k up to 3, H and W up to 5 more than k, moments up to the 8th"
)
_ORIENTATION = f"zero-padding as in the networks of the source; all biases 0, as section 2.3.1 assumes; {_TRIED}"
_SYMMETRIC = (
    "weights independent, each of a symmetric law; tried: up to ten filters of up to four weights, each plus or minus a"
    " whole number"
)


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
        picture=f"{_CODE}_pictures:cosines",
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
        picture=f"{_CODE}_pictures:cosines",
        verdict="refuted",
    ),
    _exact(
        "cosine_sign_only_within",
        "convolutions_with_bias",
        summary="The sign of the cosine tells the side of all hyperplanes of whole receptive fields",
        statement="the sign of the cosine of equation 1 is the side of all hyperplanes {x: W_m x + b = 0} of receptive"
        " fields m without padding on which the point f 1 lies, f > 0, exactly if b is 0 or of that sign, or"
        " f > |b| / |W_m 1|",
        source="amends Gamba et al. 2020, section 2.3.1",
        assumption=_CONVOLUTION + "; any bias b",
        amends="cosine_sign_only",
    ),
    _exact(
        "cosines_at_init",
        "shapes",
        summary="Cosines at initialisation are normal",
        statement="the cosine of equation 1 is normally distributed with mean 0 at initialisation: for a finite number"
        " n of weights all its moments are those of a normal law with its variance, 1 / (C H W); the source argues from"
        " the central limit theorem, which is on n without end",
        source="Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        picture=f"{_CODE}_pictures:densities",
        verdict="refuted",
    ),
    _exact(
        "cosines_at_init_sphere",
        "shapes",
        summary="Cosines at initialisation are coordinates of a uniform point on a sphere",
        statement="the cosine of equation 1 is distributed as a coordinate of a uniform point on the sphere of radius"
        " sqrt(n / (C H W)) in R^n: E[cos^2m] = (n / (C H W))^m 1 3 ... (2 m - 1) / (n (n + 2) ... (n + 2 m - 2)), and"
        " odd moments are 0",
        source="amends Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        amends="cosines_at_init",
    ),
    _exact(
        "cosines_at_init_limit",
        "shapes",
        summary="Cosines at initialisation have mean zero, and are nearly normal for large filters",
        statement="the cosine of equation 1 has mean 0 and variance 1 / (C H W) for every n, and its moment of order"
        " 2 m is less than that of a normal law by a share between m (m - 1) / (n + m (m - 1)) and m (m - 1) / n",
        source="amends Gamba et al. 2020, section 3.2",
        assumption=_NORMAL,
        amends="cosines_at_init",
    ),
    _exact(
        "alignment_probability",
        "filters_that_never_vanish",
        summary="Probability that all filters of a layer are aligned at initialisation",
        statement="all F cosines of a layer agree in sign (or, read so, are positive) with probability F / 2^F",
        source="Gamba et al. 2020, appendix A.2",
        assumption=_SYMMETRIC + "; no cosine can be 0",
        picture=f"{_CODE}_pictures:alignment",
        verdict="refuted",
    ),
    _exact(
        "alignment_probability_two",
        "filters",
        summary="Probability that all filters of a layer are aligned at initialisation",
        statement="all F cosines of a layer agree in sign with probability 2 (1 - q_1) ... (1 - q_F) / 2^F, half of it"
        " for either sign, where q_i is the probability that cosine i is 0; where all q_i are 0 that is 2 / 2^F, and"
        " the number F n_l of negative ones (equation 2) is binomial (F, 1/2)",
        source="amends Gamba et al. 2020, appendix A.2",
        assumption=_SYMMETRIC,
        amends="alignment_probability",
    ),
]
