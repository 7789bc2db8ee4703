"""The procedure `local_slope`: what it records, and a network whose slope is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope_plugins.procedures.local_slope import _changes

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "Slopes",
    "procedure": "local_slope",
    "epochs": 2,
    "batch_size": 512,
    "centres": 4,
    "radii": [1e-4, 3.0, 5],
    "directions": 6,
    "dataset": {"name": "digits"},
    "architecture": {"name": "mlp", "widths": [64, 12, 10]},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "scheduler": {"name": "constant"},
}


def run(**changes: Any) -> Any:
    return rs.run({**RECIPE, **changes}, lab=LAB)


def test_what_is_recorded() -> None:
    tree = run()
    found = tree["local_slope"].to_dataset()
    assert found.slope_change.dims == ("epoch", "x")
    assert found.epoch.values.tolist() == [0, 2]
    np.testing.assert_allclose(found.x.values, np.linspace(1e-4, 3.0, 5))
    assert (found.slope_change >= 0).all()
    assert (found.slope_change.isel(x=-1) > found.slope_change.isel(x=0)).all()
    assert (found.centre_slope > 0).all()
    assert tree["epoch"].epoch.values.tolist() == [0, 1, 2]
    assert run(looks=[1])["local_slope"].epoch.values.tolist() == [1]


def test_training_goes_on_as_without_looking() -> None:
    train = {key: value for key, value in RECIPE.items() if key not in ("centres", "radii", "directions")}
    plain = rs.run({**train, "procedure": "train"}, lab=LAB)
    assert run(looks=[0, 1, 2])["epoch"].test_loss.values.tolist() == plain["epoch"].test_loss.values.tolist()


def test_mean_change_around_a_corner() -> None:
    """f(x) = max(x, 0) + x / 2 has slope 3/2 above zero and 1/2 below: a change of 2/3 from above, of 2 from below."""

    class Corner(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x) + x / 2

    centres = torch.tensor([[1.0], [-1.0]])
    found = _changes(Corner(), centres, np.array([0.5, 2.0]), 4000, 2.0, 1000, 0)
    assert found["change"][0] == 0.0
    assert found["slope"] == 1.0
    # on a line a direction is a fair coin: half of the points cross; Hoeffding, 8000 values up to 2, error 1e-6
    assert abs(found["change"][1] - (2 / 3 + 2) / 4) <= 2 * np.sqrt(np.log(2e6) / (2 * 8000))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"looks": [0, 3]}, "looks = .*there are 2 epochs"),
        ({"radii": [1.0, 0.5, 3]}, "expected the least, then the greatest"),
        ({"centres": 100_000}, "centres = 100000: there are 1294 training samples"),
    ],
)
def test_numbers_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError, match=message):
        run(**changes)
