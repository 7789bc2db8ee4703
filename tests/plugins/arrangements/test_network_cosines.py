"""Row cosines of whole networks against those of each layer at the size it is given."""

from __future__ import annotations

import copy

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from reluscope.errors import NotFiniteError, ObservationError
from reluscope_plugins.arrangements.cosines import row_cosines
from reluscope_plugins.arrangements.network_cosines import network_row_cosines


def test_each_layer_at_the_size_it_is_given() -> None:
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(3, 4, (2, 1), stride=2, padding=1, padding_mode="replicate"),
        nn.Flatten(),
        nn.Linear(4 * 3 * 3, 5),
    ).double()
    found = network_row_cosines(model, torch.zeros(1, 2, 8, 6, dtype=torch.float64))
    expected = {"0.weight": (model[0], (8, 6)), "3.weight": (model[3], (4, 3)), "5.weight": (model[5], ())}
    assert list(found) == list(expected)
    for name, (layer, size) in expected.items():
        assert torch.equal(found[name], row_cosines(layer, size)), name  # type: ignore[arg-type]


def test_a_torchvision_model_is_left_as_found() -> None:
    model = torchvision.models.squeezenet1_1(num_classes=3).train()
    x = torch.zeros(1, 3, 64, 64)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = network_row_cosines(model, x)
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    assert sorted(found) == sorted(f"{name}.weight" for name in convolutions)
    assert found["features.0.weight"].shape == (64, 31, 31)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_are_taken_as_they_take_effect() -> None:
    model = nn.Sequential(parametrizations.spectral_norm(nn.Conv1d(1, 2, 2))).train()
    before = copy.deepcopy(model.state_dict())
    found = network_row_cosines(model, torch.zeros(1, 1, 4))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    torch.testing.assert_close(found["0.weight"], row_cosines(model.eval()[0], (4,)), rtol=0, atol=1e-6)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.unused = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x: Tensor, *, again: bool = True) -> Tensor:
        x = self.conv(input=x)
        return self.conv(x[:, :, ::2]) if again else x


def test_two_sizes_of_images_are_refused_and_a_layer_that_is_not_called_is_not_there() -> None:
    with pytest.raises(ObservationError, match=r"'conv.weight' is called with images of \(4, 4\) and of \(2, 4\)"):
        network_row_cosines(Twice(), torch.zeros(1, 1, 4, 4))
    found = network_row_cosines(Twice(), {"x": torch.zeros(1, 1, 4, 4), "again": False})
    assert list(found) == ["conv.weight"]


def test_weights_that_are_not_finite_are_refused() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 2))
    nn.init.constant_(model[0].weight, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(NotFiniteError, match="4 NaN"):
        network_row_cosines(model, torch.zeros(1, 1, 4, 4))
