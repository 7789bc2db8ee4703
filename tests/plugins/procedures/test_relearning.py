"""The procedure `relearning`: what it records, against the same training done by hand."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.random_state import derived_seed
from reluscope_plugins.architectures.multiplicative_noise import multiply_by_noise
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.rational_pieces import rational_pieces

LAB = rs.Lab()
RECIPE: dict[str, Any] = {
    "title": "A perturbed sawtooth",
    "procedure": "relearning",
    "compositions": 3,
    "architecture": {"name": "sawtooth", "compositions": 3},
    "optimizer": {"name": "sgd", "learning_rate": 0.01},
}


def test_it_is_the_training_by_hand() -> None:
    tree = rs.run({**RECIPE, "variance": 0.02, "parameters": "weights", "steps": 25, "every": 10}, lab=LAB)
    assert tree["relearning/step"].values.tolist() == [0, 10, 20, 25]
    target = sawtooth(3).double()
    model = copy.deepcopy(target)
    noise, inputs = (torch.Generator().manual_seed(derived_seed(0, stream)) for stream in (31, 32))
    multiply_by_noise(model, 0.02, parameters="weights", generator=noise)
    grid = torch.linspace(0.5, 4095.5, 4096, dtype=torch.float64).unsqueeze(1) / 4096
    pieces, errors = {}, {}
    for step in range(26):
        pieces[step] = len(rational_pieces(model))
        errors[step] = (model(grid) - target(grid)).square().mean().item()
        x = torch.rand(10, 1, generator=inputs, dtype=torch.float64)
        model.zero_grad()
        (model(x) - target(x).detach()).square().mean().backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 0.01 * parameter.grad
    steps = [0, 10, 20, 25]
    assert tree["relearning/piece_count"].values.tolist() == [pieces[step] for step in steps]
    assert tree["relearning/squared_error"].values == pytest.approx([errors[step] for step in steps], rel=1e-9)


def test_without_noise_the_sawtooth_stays() -> None:
    tree = rs.run({**RECIPE, "steps": 5, "every": 5}, lab=LAB)
    assert (tree["relearning/piece_count"] == 8).all()
    assert (tree["relearning/squared_error"] == 0).all()


def test_any_network_of_one_variable_learns_it() -> None:
    architecture = {"name": "mlp", "widths": [1, 8, 8, 1]}
    tree = rs.run({**RECIPE, "architecture": architecture, "steps": 20, "sweep": {"seed": [0, 1]}}, lab=LAB)
    error = tree["relearning/squared_error"]
    assert (error.sel(step=0) > 0.05).all()
    assert error.sel(step=0, seed=0) != error.sel(step=0, seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variance": -0.1}, "variance = -0.1"),
        ({"parameters": "bias"}, 'parameters = "bias"'),
        ({"steps": 2, "optimizer": None}, "[optimizer] is missing"),
        ({"architecture": {"name": "mlp", "widths": [2, 4, 1]}}, "takes samples of 2 values"),
        ({"architecture": {"name": "mlp", "widths": [1, 4, 1], "activation": "tanh"}}, "the network has a Tanh"),
    ],
)
def test_bad_recipes_are_named(changes: dict[str, Any], message: str) -> None:
    recipe = {key: value for key, value in {**RECIPE, **changes}.items() if value is not None}
    with pytest.raises(ReluscopeError) as caught:
        rs.run(recipe, lab=LAB)
    assert message in str(caught.value)


@pytest.mark.parametrize("every", [1, 1000])
def test_a_training_that_diverges_is_named(every: int) -> None:
    changes = {"architecture": {"name": "mlp", "widths": [1, 1]}, "optimizer": {"name": "sgd", "learning_rate": 1e6}}
    with pytest.raises(ReluscopeError, match=r"squared error is (inf|nan) at step [0-9]+; lower the rate"):
        rs.run({**RECIPE, **changes, "steps": 200, "every": every}, lab=LAB)
