"""Layers put back to an earlier state: which there are, what goes back, and that nothing stays."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from reluscope.errors import ObservationError
from reluscope_plugins.arrangements.layer_resets import layer_reset, resettable_layers, snapshot


def scramble(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(self.second(self.first(x).relu()).relu())


def test_which_layers_there_are() -> None:
    model = nn.Sequential(
        nn.Conv1d(1, 1, 1),
        nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)),
        nn.Conv3d(1, 1, 1),
        nn.ConvTranspose2d(1, 1, 1),
        nn.Linear(1, 1),
        nn.Embedding(2, 2),
    )
    assert list(resettable_layers(model)) == ["0.weight", "1.0.weight", "2.weight", "4.weight"]
    assert list(resettable_layers(nn.Linear(1, 1))) == ["weight"]


def test_a_layer_within_a_parametrisation_belongs_to_what_it_makes() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    nn.utils.parametrize.register_parametrization(model[0], "weight", nn.Linear(2, 2))
    assert list(resettable_layers(model)) == ["0.weight"]


def test_layers_that_share_a_weight_are_one() -> None:
    model = Tied()
    before = copy.deepcopy(model)
    kept = snapshot(model)
    scramble(model)
    after = copy.deepcopy(model)
    assert list(kept) == ["first.weight", "third.weight"]
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with layer_reset(model, "first.weight", kept):
        expected = after.third(before.second(before.first(x).relu()).relu())
        assert torch.equal(model(x), expected)
    assert torch.equal(model(x), after(x))


def weight_norm(layer: nn.Linear) -> nn.Module:
    return parametrizations.weight_norm(layer)


def old_weight_norm(layer: nn.Linear) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.utils.weight_norm(layer)


def spectral_norm(layer: nn.Linear) -> nn.Module:
    return parametrizations.spectral_norm(layer)


def pruned(layer: nn.Linear) -> nn.Module:
    return prune.random_unstructured(layer, "weight", amount=0.5)


@pytest.mark.parametrize("made", [nn.Identity(), weight_norm, old_weight_norm, spectral_norm, pruned])
def test_a_parametrised_layer_goes_back(made: Callable[[nn.Linear], nn.Module]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(made(nn.Linear(4, 3)), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2)).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    first = model.eval()[0](x).detach()
    kept = snapshot(model)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    model.eval()
    trained, values = model(x).detach(), {name: value.clone() for name, value in model.state_dict().items()}
    rest = model[1:]
    model.train()
    with layer_reset(model, "0.weight", kept):
        assert not model.training
        assert torch.equal(model(x), rest(first))
        assert not torch.equal(model(x), trained)
    assert model.training
    model.eval()
    assert torch.equal(model(x), trained)
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_the_network_is_as_found_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    kept = snapshot(model)
    scramble(model)
    values = copy.deepcopy(model.state_dict())

    def fail() -> None:
        with layer_reset(model, "1.weight", kept):
            assert torch.equal(model[1].bias, kept["1.weight"][0]["bias"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_what_is_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    kept = snapshot(model)
    with pytest.raises(ObservationError, match=r"no convolution or linear layer '1.weigth'. Did you mean '1.weight'"):
        layer_reset(model, "1.weigth", kept).__enter__()
    others = [nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3)), nn.Sequential(nn.Linear(2, 2))]
    others.append(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False)))
    values = copy.deepcopy(model.state_dict())
    for other in others:
        with pytest.raises(
            ObservationError, match=r"earlier: holds \[.*\] of layer '1.weight', expected \[{'weight': "
        ):
            layer_reset(model, "1.weight", snapshot(other)).__enter__()
    assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())


def test_a_snapshot_does_not_follow_the_network() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    weight = model[0].weight.detach().clone()
    kept = snapshot(model)
    scramble(model)
    assert torch.equal(kept["0.weight"][0]["weight"], weight)
