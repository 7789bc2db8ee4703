"""Counterexamples of Johansson 2022 and Gamba et al. 2020 are drawn, and show what speaks against the claim."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from reluscope.lab import Lab
from reluscope_catalog.claims.gamba_claims import CLAIMS as GAMBA
from reluscope_catalog.claims.johansson_claims import CLAIMS as JOHANSSON
from reluscope_catalog.claims.johansson_expectations_claims import CLAIMS as MEANS

LINE = [{"weight": [[1], [-1]], "bias": [0, 0]}]
PLANE = [{"weight": [[1, 0], [-1, 0]], "bias": [0, 0]}]
SPACE = [{"weight": [[1, 0, 0], [-1, 0, 0]], "bias": [0, 0]}]
FILTER = {"weight": [[[0, 0], [1, 1]]], "height": 1, "width": 1, "stride": 1, "padding": 1}

CASES: list[tuple[str, dict[str, Any], str, int]] = [
    ("unbounded_regions", {"hidden": PLANE, "x": [0, 0]}, "polygon", 2),
    ("edge_distance", {"hidden": LINE, "x": [1]}, "polyline", 2),
    ("edge_distance", {"hidden": PLANE, "x": [1, 0]}, "polygon", 2),
    ("perturbation_norm", {"inward": [[1], [1]], "outward": [[0, 1], [0, 0]], "unit": 0}, "rect", 3),
    (
        "forward_backward",
        {"layers": [{"weight": [[1, 0], [0, 0]], "bias": [0, 0]}], "x": [0, 0], "v": [0, 1]},
        "polyline",
        2,
    ),
    (
        "expected_perturbation_nearest",
        {"inputs": 1, "outputs": 1, "inward": [1, 2], "outward": [1], "biases": [-5, -7]},
        "rect",
        3,
    ),
    ("unit_interval_increments", {"slopes": [0, 1, 2, 3]}, "polyline", 1),
    ("unit_interval_bound", {"inward": [1], "outward": [1], "biases": [0], "x": "-1/2"}, "rect", 5),
    ("unit_interval_bound_apart", {"inward": [1], "outward": [1], "biases": [0], "x": "-1/2"}, "rect", 5),
    ("projection_cosine", FILTER, "rect", 5),
    ("cosine_sign_only", FILTER | {"bias": 0, "factor": 1}, "rect", 5),
    ("cosines_at_init", {"channels": 1, "kernel": 3, "height": 3, "width": 3, "order": 4}, "polyline", 2),
    ("cosines_at_init", {"channels": 1, "kernel": 1, "height": 3, "width": 3, "order": 4}, "rect", 3),
    ("alignment_probability", {"filters": [[1], [1], [1]]}, "polyline", 2),
]


@pytest.mark.parametrize(("name", "case", "kind", "number"), CASES)
def test_a_case_is_drawn(name: str, case: dict[str, Any], kind: str, number: int, lab: Lab) -> None:
    root = ElementTree.fromstring(lab.claims[name].draw(case))
    assert sum(part.tag.endswith(f"}}{kind}") for part in root.iter()) == number


def test_regions_of_three_inputs_are_not_drawn(lab: Lab) -> None:
    assert not lab.claims["unbounded_regions"].draw({"hidden": SPACE, "x": [0, 0, 0]})


def test_each_claim_that_is_refuted_has_a_picture() -> None:
    """But a rank, which is no place, curve or distribution."""
    refuted = {claim.name: claim.picture for claim in (*JOHANSSON, *MEANS, *GAMBA) if claim.verdict == "refuted"}
    assert [name for name, picture in refuted.items() if picture is None] == ["rank_of_product"]
    assert {name for name, *_ in CASES} == refuted.keys() - {"rank_of_product"}
