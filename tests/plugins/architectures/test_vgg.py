"""VGG networks for small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

VGG = Lab(plugins=[architectures]).architectures["vgg"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# 9,231,114, 14,728,266 and 20,040,522 are printed for CIFAR-10 by Sun et al. 2024 (NeuralFuse), table 7, all with batch
# normalisation; 9,416,010 for depth 13 by several model zoos.
@pytest.mark.parametrize(("depth", "exact"), [(11, 9_231_114), (13, 9_416_010), (16, 14_728_266), (19, 20_040_522)])
def test_parameters_are_as_many_as_published(depth: int, exact: int) -> None:
    # Simonyan and Zisserman 2015, table 1, written out.
    rows = {
        11: [64, 128, 256, 256, 512, 512, 512, 512],
        13: [64, 64, 128, 128, 256, 256, 512, 512, 512, 512],
        16: [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512],
        19: [64, 64, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512, 512, 512, 512, 512],
    }[depth]
    convolutions = sum(inputs * outputs * 9 + outputs for inputs, outputs in zip([3, *rows], rows, strict=False))
    normalisations = sum(2 * outputs for outputs in rows)
    linear = 512 * 10 + 10
    assert convolutions + normalisations + linear == exact
    with torch.device("meta"):
        assert count(VGG.build(depth=depth)) == exact
        assert count(VGG.build(depth=depth, batch_norm=False)) == exact - normalisations
    assert len(rows) == depth - 3


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_values_are_those_of_torchvisions_features(
    depth: int, batch_norm: bool, scrambled: Callable[..., dict[str, np.ndarray]]
) -> None:
    model = VGG.build(depth=depth, batch_norm=batch_norm, seed=0).eval()
    suffix = "_bn" if batch_norm else ""
    with torch.device("meta"):
        features = models.get_model(f"vgg{depth}{suffix}").features
    features = features.to_empty(device="cpu").eval()
    mine = {name: value for name, value in model.state_dict().items() if not name.startswith("head")}
    features.load_state_dict(dict(zip(features.state_dict(), mine.values(), strict=True)))
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = F.linear(features(x).mean((2, 3)), model.head.weight, model.head.bias)
        assert torch.allclose(model(x), expected, rtol=1e-4, atol=1e-5)


def test_sites_and_pools_are_named() -> None:
    observation = rs.observe(VGG.build(depth=11, seed=0).eval(), torch.zeros(1, 3, 32, 32))
    names = ["relu1_1", "relu2_1", "relu3_1", "relu3_2", "relu4_1", "relu4_2", "relu5_1", "relu5_2"]
    assert list(observation.sites) == [f"{name}#0" for name in names]
    assert list(observation.pools) == [f"pool{number}#0" for number in range(1, 6)]


def test_shape_of_any_image() -> None:
    for channels, height, width in [(3, 32, 32), (1, 28, 28), (3, 64, 64), (2, 5, 9), (3, 1, 1)]:
        model = VGG.build(depth=11, input_channels=channels, classes=7).eval()
        assert model(torch.zeros(2, channels, height, width)).shape == (2, 7)


def test_initial_weights_are_he_normal(are_he_normal: Callable[..., bool]) -> None:
    """Null: each layer's weights N(0, 2 / fan_in), 1,728 to 2,359,296 of them in 9 layers; error 1e-6 in all."""
    model = VGG.build(depth=11, batch_norm=False, seed=0)
    assert are_he_normal([module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)])


def test_width_is_that_of_the_first_group() -> None:
    model = VGG.build(depth=16, width=3)
    channels = [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert channels == [3, 3, 6, 6, 12, 12, 12, 24, 24, 24, 24, 24, 24]


@pytest.mark.parametrize("batch_norm", [True, False])
def test_initial_weights_of_a_given_deviation(batch_norm: bool) -> None:
    """Null: n weights N(0, 0.1^2) in each of 9 layers, n from 432 to 147,456; error 1e-6 in all."""
    model = VGG.build(depth=11, width=16, batch_norm=batch_norm, weight_std=0.1, seed=0)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 9
    for layer in layers:
        weights = layer.weight.detach().double().numpy().ravel() / 0.1
        chances = [
            scipy.stats.chi2.cdf((weights**2).sum(), weights.size),
            scipy.stats.chi2.sf((weights**2).sum(), weights.size),
            2 * scipy.stats.norm.sf(abs(weights.mean()) * np.sqrt(weights.size)),
        ]
        assert min(chances) > 1e-6 / (9 * len(chances))
        assert not layer.bias.any()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 12}, "architecture 'vgg': depth is 12, expected one of 11, 13, 16, 19"),
        ({"depth": "16"}, "depth is '16'"),
        ({"depth": True}, "depth is True"),
        ({"batch_norm": "yes"}, "batch_norm is 'yes', expected true or false"),
        ({"classes": 0}, "classes is 0"),
        ({"width": 0}, "width is 0"),
        ({"weight_std": 0.0}, "weight_std is 0.0, expected a number above 0"),
        ({"weight_std": True}, "weight_std is True"),
        ({"weight_std": float("nan")}, "weight_std is nan"),
        ({"input_channels": 1.0}, "input_channels is 1.0"),
        ({"activation": "relux"}, "Did you mean 'relu"),
        ({"batchnorm": True}, "Did you mean 'batch_norm'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        VGG.build(**params)
    assert message in str(caught.value)
