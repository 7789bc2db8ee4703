"""Counterexamples are drawn: of known cases, the drawings have what speaks against the claim in them."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from reluscope.lab import Lab

CASES: dict[str, tuple[dict[str, Any], dict[str, int], list[str]]] = {
    "one_layer_partitions": ({"weights": [[1], [1]], "biases": [0, 0]}, {"polygon": 2}, ["2 regions, claimed 3"]),
    "partition_power_bound": ({"inputs": 2, "units": 4}, {"polyline": 2, "circle": 1}, []),
    "depth_lower_bound": ({"layers": [[[[1], [2]], [0, -1]]]}, {"polyline": 2}, ["3 regions, claimed 2"]),
    "depth_lower_bound_maximum": ({"inputs": 3, "widths": [1]}, {"bar": 2}, []),
    "trajectory_growth": ({"weights": [1], "biases": [0], "depth": 1, "points": [[0], [-1]]}, {"bar": 2}, ["0.5"]),
    "trajectory_gaussian_m_any_share": ({"direction": [1], "share": "1/2"}, {"bar": 2}, ["0.7979"]),
    "trajectory_gaussian_m_scaled": ({"direction": [0, 1]}, {"bar": 2}, ["0.7979"]),
    "montufar_attained": ({"width": 6}, {"polyline": 2, "circle": 1}, []),
    "pattern_dimension": ({"layers": [[[[1], [1]], [0, 0]]]}, {"polygon": 2}, ["2 filters in 1 dimensions"]),
    "bias_scaling_invariance": ({"layers": [[[[1], [1]], [0, 1]]], "factor": "0"}, {"polygon": 5}, ["times 0"]),
    "nonconvex_segment": ({"x": "0"}, {"polyline": 2, "circle": 3}, ["printed"]),
    "entropy_as_printed": ({"units": 1, "counts": [0, 3]}, {"bar": 4}, ["sum to 3/2"]),
    "distance_reversal": (
        {"weight": [[0]], "bias": [1], "readout": [1], "data": [[0]], "targets": [-10], "rate": "1"},
        {"bar": 3},
        [],
    ),
    "arctan_law": (
        {"inputs": 64, "units": 32, "positive": 0.9375},
        {"polyline": 2, "circle": 1},
        [],
    ),
    "erf_inverse_main": ({"mu": "0", "sigma": "1", "quantile": "0", "log_rate": "1"}, {"circle": 1}, ["measured"]),
    "erf_inverse_main_rate": ({"mu": "1", "sigma": "1", "quantile": "0"}, {"circle": 1}, ["printed eta"]),
    "erf_inverse_main_mu": ({"sigma": "-1", "quantile": "0", "log_rate": "1"}, {"circle": 1}, ["measured"]),
    "product_variance": ({"values": [1], "deviation": "1/8"}, {"bar": 2}, []),
    "identity_cell_projection": (
        {"weight": [[1]], "target": [1], "x": [-1], "readout": [[1]], "constant": [1]},
        {"bar": 2},
        [],
    ),
    "psb_relative_maximum": ({"exponent": 0, "probability": "1/3"}, {"polyline": 1, "circle": 2}, ["1/3"]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_drawing_shows_the_case(name: str, lab: Lab) -> None:
    case, parts, words = CASES[name]
    drawing = lab.claims[name].draw(case)
    elements = list(ElementTree.fromstring(drawing).iter())
    tags = [element.get("class") or element.tag.rpartition("}")[2] for element in elements]
    for part, number in parts.items():
        axes = part == "polyline" and "bar" in tags
        assert tags.count(part) == number + axes
    assert all(word in drawing for word in words)
