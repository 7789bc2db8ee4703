"""Hartmann 2025, appendices A.2 and A.3: the extrinsic projection, and numbers of parameters."""

from __future__ import annotations

from typing import Any

from reluscope.entries import Claim

_CODE = "reluscope_catalog.claims.hartmann_cells"
_PICTURES = "reluscope_catalog.claims.hartmann_pictures"
_PARAMETERS = "reluscope_catalog.claims.hartmann_parameters"
_LAYER = (
    "y(x) = ReLU(x W + b), its projection x^ = (y(x) - b) W+ with the pseudo-inverse W+; any V and c; V' = W V; here at"
    " most 4 inputs, 3 units and 2 outputs; "
)


def _claim(name: str, strategy: str, predicate: str = "", code: str = _CODE, **fields: Any) -> Claim:
    return Claim(name=name, strategy=f"{code}:{strategy}", predicate=f"{code}:{predicate or name}", **fields)


CLAIMS = [
    _claim(
        "identity_cell_projection",
        "identity_cells",
        summary="The projection of the identity cell, with c itself",
        statement="x^ V' + c' = y(x) V + c for all x of the cell with all units active, where (V', c') = (W V, c)",
        source="Hartmann 2025, Lemma 1 (appendix A.2)",
        assumption=_LAYER + "the cell exists",
        verdict="refuted",
        picture=f"{_PICTURES}:projections",
    ),
    _claim(
        "identity_cell_projection_with_bias",
        "identity_cells",
        summary="The projection of the identity cell, with the bias in c'",
        statement="x^ V' + c' = y(x) V + c for all x of the cell with all units active, where"
        " (V', c') = (W V, b V + c)",
        source="amends Hartmann 2025, Lemma 1: the c' that its proof takes",
        assumption=_LAYER + "the cell exists",
        amends="identity_cell_projection",
    ),
    _claim(
        "zero_cell_projection",
        "zero_cells",
        summary="The projection of the identity cell and the zero cell",
        statement="x^ V' + c' = y(x) V + c for all x of the cell with all units active and of that with none, where"
        " (V', c') = (W V, b W+ W V + c)",
        source="Hartmann 2025, Lemma 2 (appendix A.2)",
        assumption=_LAYER + "b = b^ W for some b^; both cells exist",
    ),
    _claim(
        "independent_columns_projection",
        "independent_columns",
        summary="The projection loses nothing where the columns of W are independent",
        statement="x^ V' + c' = y(x) V + c for all x, where (V', c') = (W V, b V + c)",
        source="Hartmann 2025, Lemma 3 (appendix A.2)",
        assumption=_LAYER + "the columns of W are linearly independent",
    ),
    _claim(
        "extrinsic_parameters",
        "extrinsic_sizes",
        code=_PARAMETERS,
        summary="Number of parameters of the extrinsic network",
        statement="(2 + 1) 600 + 2 * 3 = 5400",
        source="Hartmann 2025, section A.3.2",
        assumption="none",
        verdict="refuted",
    ),
    _claim(
        "extrinsic_parameters_by_layer",
        "extrinsic_networks",
        code=_PARAMETERS,
        summary="Number of parameters of an extrinsic network, layer by layer",
        statement="a network of L extrinsic layers x + x W (A(x) - I) diag(s) W^T diag(s') has ((n + 1) m + n) L"
        " parameters, W (n, m), s (m) and s' (n), on each of which its output depends: 5406 for n = 2, m = 600, L = 3",
        source="amends Hartmann 2025, section A.3.2, by Definition 10",
        assumption="no dimension is added to the input; here n and L are at most 5, m at most 700",
        amends="extrinsic_parameters",
    ),
    _claim(
        "intrinsic_parameters",
        "intrinsic_sizes",
        code=_PARAMETERS,
        summary="Number of parameters of the intrinsic network",
        statement="(2 + 1) 50 + (50 + 1) 50 * 2 + (50 + 1) 4 = 5454, the parameters of a network of widths 2, 50, 50,"
        " 50, 4",
        source="Hartmann 2025, section A.3.2",
        assumption="none",
    ),
    _claim(
        "thousand_layer_parameters",
        "thousand_layers",
        code=_PARAMETERS,
        summary="Number of parameters of a network of 1000 layers",
        statement="(3 * 3 * 3) 64 + 64 * 1000 + sum(i = 1 ... 999) 64 * 64 = 4,153,536 and"
        " 4 (1000 + sum(i = 0 ... 999) 64) = 259,744, in all 4,413,280",
        source="Hartmann 2025, section A.3.1",
        assumption="none; the sums are taken as printed, without kernels of 3 x 3 in the inner layers",
        verdict="refuted",
    ),
    _claim(
        "thousand_layer_parameters_to_998",
        "thousand_layers_to_998",
        "thousand_layer_parameters",
        code=_PARAMETERS,
        summary="Number of parameters of a network of 999 convolutions and a classifier",
        statement="(3 * 3 * 3) 64 + 64 * 1000 + sum(i = 1 ... 998) 64 * 64 = 4,153,536 and"
        " 4 (1000 + sum(i = 0 ... 998) 64) = 259,744, in all 4,413,280; to 999 they give 4,157,632, 260,000 and"
        " 4,417,632",
        source="amends Hartmann 2025, section A.3.1",
        assumption="none; without kernels of 3 x 3 in the inner layers",
        amends="thousand_layer_parameters",
    ),
    _claim(
        "thousand_layer_extrinsic_parameters",
        "thousand_extrinsic_layers",
        code=_PARAMETERS,
        summary="Number of parameters of the extrinsic counterpart of a network of 1000 layers",
        statement="d_0 + d_(l + 1) + sum over i of d_0 (l + d_(l + 1)) = 1,845,208 for 1000 layers of 64 filters each,"
        " 3 input channels, kernels of 3 x 3 and 1000 output channels",
        source="Hartmann 2025, section A.3.1",
        assumption="the formula has two indices, i and l, and sums over one: it is taken in every reading where l in"
        " the sum is the layer's number, from 0 or 1, or a one, d_0 is 3 or 27, and the last layer is in the sum or"
        " not, and has 64 or 1000 filters; it is false in all of them",
        verdict="refuted",
    ),
    _claim(
        "thousand_layer_extrinsic_parameters_by_terms",
        "thousand_extrinsic_layers_by_terms",
        code=_PARAMETERS,
        summary="What the printed number of parameters of the extrinsic counterpart counts",
        statement="(sum over l = 0 ... 999 of d_0 + d_(l + 1) + d_0) + sum over l = 0 ... 998 of d_0 d_(l + 1) ="
        " 1,845,208, where d_0 = 27, d_1 ... d_999 = 64 and d_1000 = 1000: that leaves out the weights of the last"
        " layer; with them it is 1,872,208",
        source="amends Hartmann 2025, section A.3.1",
        assumption="none; d_0 + d_(l + 1) is summed over the layers, too, and l is read as a one",
        amends="thousand_layer_extrinsic_parameters",
    ),
]
