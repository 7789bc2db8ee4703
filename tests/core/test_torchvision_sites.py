"""Site counts of real networks, unchanged, in eval mode."""

from __future__ import annotations

import pytest
import torch
import torchvision

from reluscope.observation import observe

COUNTS = {
    "resnet18": (17, 1, 32, {}),
    "densenet121": (121, 1, 32, {}),
    "mobilenet_v2": (35, 0, 32, {}),
    "vgg11_bn": (10, 5, 32, {"init_weights": False}),
    "inception_v3": (94, 4, 75, {"init_weights": False}),
    "vit_b_16": (12, 0, 32, {"image_size": 32}),
    "alexnet": (7, 3, 64, {}),
    "googlenet": (57, 13, 32, {"init_weights": False}),
    "squeezenet1_0": (26, 3, 32, {}),
    "convnext_tiny": (18, 0, 32, {}),
    "swin_t": (12, 0, 32, {}),
    "mobilenet_v3_small": (42, 0, 32, {}),
    "efficientnet_b0": (65, 0, 32, {}),
}
"""Name to activation sites, max-pools, side of the image, arguments. A site is a call of an activation function."""

ACTIVATIONS = {
    "resnet18": {"relu"},
    "mobilenet_v2": {"relu6"},
    "vit_b_16": {"gelu"},
    "convnext_tiny": {"gelu"},
    "swin_t": {"gelu"},
    "mobilenet_v3_small": {"hardswish", "relu", "hardsigmoid"},
    "efficientnet_b0": {"silu", "sigmoid"},
}


def build(name):
    _, _, side, arguments = COUNTS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(torchvision.models, name)(weights=None, **arguments).eval()
        return model, torch.randn(1, 3, side, side)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    model, x = build(name)
    observation = observe(model, x)
    sites, pools, _, _ = COUNTS[name]
    assert len(observation.sites) == sites
    assert len(observation.pools) == pools
    if name in ACTIVATIONS:
        assert {observation.site[site].activation for site in observation.sites} == ACTIVATIONS[name]
    # Every site's units are what the layer that feeds it has, so the unit dim was found.
    widths = {size for parameter in model.parameters() for size in parameter.shape[:2]}
    assert all(observation.site[site].units in widths for site in observation.sites)


def test_layouts_where_features_come_last():
    for name, first in (("convnext_tiny", 4 * 96), ("swin_t", 4 * 96), ("vit_b_16", 3072)):
        model, x = build(name)
        observation = observe(model, x)
        found = observation.site[observation.sites[0]]
        assert found.units == first
        assert observation.preactivation[found.name].shape == (found.positions, first)


def test_reused_in_place_modules_of_a_resnet():
    model, x = build("resnet18")
    observation = observe(model, x)
    assert observation.sites[:4] == ("relu#0", "layer1.0.relu#0", "layer1.0.relu#1", "layer1.1.relu#0")
    with torch.no_grad():
        z = model.bn1(model.conv1(x))
        pooled = model.maxpool(z.relu())
        z1 = model.layer1[0].bn1(model.layer1[0].conv1(pooled))
        z2 = model.layer1[0].bn2(model.layer1[0].conv2(z1.relu())) + pooled
    for site, expected in zip(observation.sites, (z, z1, z2), strict=False):
        expected = expected.permute(0, 2, 3, 1).reshape(-1, expected.shape[1])
        torch.testing.assert_close(observation.preactivation[site], expected)
        assert bool((expected < 0).any())
