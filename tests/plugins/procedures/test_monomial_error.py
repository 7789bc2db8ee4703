"""The procedure `monomial_error`: against the products taken by hand, and the counts of units."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import reluscope as rs
from reluscope.errors import RecipeError
from reluscope.random_state import derived_seed

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "A product of three",
    "procedure": "monomial_error",
    "architecture": {"name": "monomial", "powers": [3, 1, 2]},
    "samples": 50,
    "seed": 7,
}


@pytest.mark.parametrize("deep", [True, False])
def test_errors_are_those_of_the_same_inputs_by_hand(deep: bool) -> None:
    found = rs.run({**RECIPE, "sweep": {"architecture.scale": [0.1], "architecture.deep": [deep]}}, lab=LAB)
    generator = torch.Generator().manual_seed(derived_seed(7, 32))
    model = LAB.architectures["monomial"].build(powers=[3, 1, 2], deep=deep, scale=0.1)
    errors = []
    for x in (2 * torch.rand(50, 3, generator=generator, dtype=torch.float64) - 1).tolist():
        errors.append(abs(model(torch.tensor([x], dtype=torch.float64)).item() - x[0] ** 3 * x[1] * x[2] ** 2))
    data = found["monomial_error"].to_dataset().squeeze()
    # A gate sums at most 24 values below 2, each off by some 2^-52, as are the sums: 100 * 2^-52 times its weights.
    # What enters a product or a square of values up to 1 comes out at most doubled, in four layers.
    weights = sum(float(gate[2].weight.detach().abs().sum()) for gate in model.gates)
    rounding = 2**4 * 100 * 2**-52 * weights
    assert rounding < 1e-3 * max(errors)
    assert float(data.greatest_error) == pytest.approx(max(errors), abs=rounding)
    mean = math.sqrt(math.fsum(error**2 for error in errors) / 50)
    assert float(data.root_mean_squared_error) == pytest.approx(mean, abs=rounding)
    assert (int(data.unit_count), int(data.layer_count)) == ((18, 4) if deep else (24, 1))


def test_another_architecture_is_refused() -> None:
    with pytest.raises(RecipeError, match="the procedure 'monomial_error' knows what 'monomial' is to be equal to"):
        rs.run({**RECIPE, "architecture": {"name": "mlp", "widths": [3, 1]}}, lab=LAB)
