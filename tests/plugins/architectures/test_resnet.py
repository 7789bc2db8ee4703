"""Residual networks: parameter counts as published, values as computed by loops, names, initial weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

RESNET = Lab(plugins=[architectures]).architectures["resnet"]
RELUS_20 = ["stem.relu#0"] + [
    f"stage{stage}.block{block}.relu{number}#0" for stage in (1, 2, 3) for block in (1, 2, 3) for number in (1, 2)
]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# He et al. 2016, table 6, prints 0.27, 0.46, 0.66, 0.85, 1.7 and 19.4 million; so does the table in
# akamaster/pytorch_resnet_cifar10. The exact numbers are those that reimplementations print for option A.
@pytest.mark.parametrize(
    ("depth", "exact", "millions", "digits"),
    [
        (20, 269_722, 0.27, 2),
        (32, 464_154, 0.46, 2),
        (44, 658_586, 0.66, 2),
        (56, 853_018, 0.85, 2),
        (110, 1_727_962, 1.7, 1),
        (1202, 19_421_274, 19.4, 1),
    ],
)
def test_parameters_are_as_many_as_published(depth: int, exact: int, millions: float, digits: int) -> None:
    n = (depth - 2) // 6
    convolutions = 3 * 16 * 9
    convolutions += 2 * n * 16 * 16 * 9
    convolutions += (16 * 32 + (2 * n - 1) * 32 * 32) * 9
    convolutions += (32 * 64 + (2 * n - 1) * 64 * 64) * 9
    normalisations = 2 * 16 + 2 * 2 * n * (16 + 32 + 64)
    linear = 64 * 10 + 10
    assert convolutions + normalisations + linear == exact
    assert round(exact / 1e6, digits) == millions
    with torch.device("meta"):
        assert count(RESNET.build(depth=depth)) == exact


@pytest.mark.parametrize(("depth", "exact"), [(20, 269_722), (56, 853_018)])
def test_variants_have_as_many_parameters(depth: int, exact: int) -> None:
    with torch.device("meta"):
        assert count(RESNET.build(depth=depth, residual=False)) == exact
        # The normalisation of what comes in, not of what goes out: 16 for 32 and 32 for 64 where stages begin, but 64
        # for 16 at the end in place of the stem.
        assert (16 - 32) + (32 - 64) + (64 - 16) == 0
        assert count(RESNET.build(depth=depth, version=2)) == exact


def test_activations_normalisations_and_widths_in_the_count() -> None:
    plain = count(RESNET.build())
    assert count(RESNET.build(activation="prelu")) == plain + 19
    assert count(RESNET.build(normalisation="group")) == count(RESNET.build(normalisation="layer")) == plain
    # One bias in place of scale and shift.
    assert count(RESNET.build(normalisation="none")) == plain - (16 + 6 * (16 + 32 + 64))
    assert count(RESNET.build(input_channels=1)) == plain - 2 * 16 * 9
    assert count(RESNET.build(classes=100)) == plain + 90 * 65
    # The sum above with 32, 64, 128.
    n, a, b, c = 3, 32, 64, 128
    convolutions = 9 * (3 * a + 2 * n * a * a + a * b + (2 * n - 1) * b * b + b * c + (2 * n - 1) * c * c)
    assert count(RESNET.build(width=32)) == convolutions + 2 * a + 4 * n * (a + b + c) + 10 * c + 10 == 1_073_962


@pytest.mark.parametrize(("blocks", "convolutions"), [(1, 2), (2, 4), (3, 6), (4, 8), (5, 10)])
def test_blocks_per_stage_give_twice_as_many_convolutions(blocks: int, convolutions: int) -> None:
    model = RESNET.build(blocks_per_stage=blocks)
    for stage in (model.stage1, model.stage2, model.stage3):
        assert sum(isinstance(module, nn.Conv2d) for module in stage.modules()) == convolutions
    assert len(RESNET.build(depth=6 * blocks + 2).stage1) == blocks


def reference(
    p: dict[str, np.ndarray],
    image: np.ndarray,
    dense: SimpleNamespace,
    *,
    version: int,
    residual: bool,
    groups: int | None,
) -> np.ndarray:
    """One image through a network of one block a stage, written out."""

    def norm(value: np.ndarray, name: str) -> np.ndarray:
        return dense.normalise(value, p, name, groups)

    def relu(value: np.ndarray) -> np.ndarray:
        return np.where(value > 0, value, 0)

    value = dense.convolve(image, p["stem.conv.weight"])
    if version == 1:
        value = relu(norm(value, "stem.norm"))
    for stage in (1, 2, 3):
        name, stride = f"stage{stage}.block1", 1 if stage == 1 else 2
        first, second = p[f"{name}.conv1.weight"], p[f"{name}.conv2.weight"]
        if version == 1:
            inner = relu(norm(dense.convolve(value, first, stride=stride), f"{name}.norm1"))
            branch = norm(dense.convolve(inner, second), f"{name}.norm2")
        else:
            inner = dense.convolve(relu(norm(value, f"{name}.norm1")), first, stride=stride)
            branch = dense.convolve(relu(norm(inner, f"{name}.norm2")), second)
        if residual:
            channels = len(second)
            branch = branch + dense.shortcut(value, channels, stride, before=(channels - len(value)) // 2)
        value = relu(branch) if version == 1 else branch
    if version == 2:
        value = relu(norm(value, "final.norm"))
    return p["head.weight"] @ value.mean(axis=(1, 2)) + p["head.bias"]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("normalisation", "groups"), [("batch", None), ("group", 2), ("layer", 1)])
def test_values_are_those_of_the_loops(
    version: int,
    residual: bool,
    normalisation: str,
    groups: int | None,
    dense: SimpleNamespace,
    scrambled: Callable[..., dict[str, np.ndarray]],
) -> None:
    model = RESNET.build(
        depth=8, version=version, residual=residual, normalisation=normalisation, groups=2, width=2, classes=3
    )
    p = scrambled(model.double().eval())
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [reference(p, image, dense, version=version, residual=residual, groups=groups) for image in x.numpy()]
    assert np.allclose(model(x).detach().numpy(), np.array(expected), rtol=1e-10, atol=1e-10)


def test_without_residuals_both_versions_are_one_network() -> None:
    first = RESNET.build(depth=14, residual=False, seed=0).double()
    second = RESNET.build(depth=14, residual=False, version=2, seed=1).double()
    tensors = list(first.state_dict().values())
    assert len(tensors) == len(second.state_dict())
    for kind in (nn.Conv2d, nn.BatchNorm2d, nn.Linear):
        pairs = zip(*([m for m in model.modules() if isinstance(m, kind)] for model in (first, second)), strict=True)
        for mine, other in pairs:
            other.load_state_dict(mine.state_dict())
    x = torch.randn(4, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first(x), second(x))


def test_sites_of_version_1_are_named_in_order() -> None:
    observation = rs.observe(RESNET.build(seed=0).eval(), torch.zeros(1, 3, 32, 32))
    assert list(observation.sites) == RELUS_20
    assert len(observation.sites) == 19
    shapes = [tuple(observation.pattern[site].shape) for site in observation.sites]
    assert shapes == [(1024, 16)] * 7 + [(256, 32)] * 6 + [(64, 64)] * 6


def test_sites_of_version_2_are_named_in_order() -> None:
    observation = rs.observe(RESNET.build(version=2, seed=0).eval(), torch.zeros(1, 3, 32, 32))
    assert list(observation.sites) == [*RELUS_20[1:], "final.relu#0"]


def test_parametric_relus_are_named_and_their_own() -> None:
    model = RESNET.build(activation="prelu", seed=0)
    assert len([module for module in model.modules() if isinstance(module, nn.PReLU)]) == 19
    assert "stage1.block2.prelu1.weight" in model.state_dict()


def test_shape_of_any_image() -> None:
    for channels, height, width in [(3, 32, 32), (1, 28, 28), (3, 64, 64), (2, 5, 9), (3, 1, 1)]:
        model = RESNET.build(input_channels=channels, classes=7).eval()
        assert model(torch.zeros(2, channels, height, width)).shape == (2, 7)
    model = RESNET.build().eval()
    x = torch.zeros(1, 3, 32, 32)
    for part, shape in [
        (model.stage1, (1, 16, 32, 32)),
        (model.stage2, (1, 32, 16, 16)),
        (model.stage3, (1, 64, 8, 8)),
    ]:
        x = part(model.stem(x) if part is model.stage1 else x)
        assert x.shape == shape


@pytest.mark.parametrize("params", [{}, {"version": 2, "normalisation": "none"}])
def test_initial_weights_are_he_normal(params: dict[str, Any], are_he_normal: Callable[..., bool]) -> None:
    """Null: each layer's weights N(0, 2 / fan_in), 432 to 36,864 of them in 20 layers; error 1e-6 in all."""
    model = RESNET.build(seed=0, **params)
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(layers) == 20
    assert are_he_normal(layers)
    for norm in [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]:
        assert (norm.weight == 1).all()
        assert not norm.bias.any()


def test_the_check_of_initial_weights_can_fail(are_he_normal: Callable[..., bool]) -> None:
    """Power: a network drawn with fan_out (which differs where the width doubles), or off by 5 %, is refused."""
    layers = [module for module in RESNET.build(seed=0).modules() if isinstance(module, nn.Conv2d)]
    assert not are_he_normal(layers, mode="fan_out")
    assert not are_he_normal(layers, factor=1.05)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 18}, "depth is 18, expected 6 n + 2"),
        ({"depth": 20, "blocks_per_stage": 4}, "give one of the two"),
        ({"version": 3}, "version is 3, expected one of 1, 2"),
        ({"version": "1"}, "version is '1'"),
        ({"version": True}, "version is True"),
        ({"residual": 1}, "residual is 1, expected true or false"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
        ({"activation": ["relu"]}, "unknown activation ['relu']"),
        ({"normalisation": "bath"}, "Did you mean 'batch'"),
        ({"normalisation": True}, "normalisation is True"),
        ({"normalisation": "group", "groups": 3}, "groups is 3"),
        ({"width": 0}, "width is 0"),
        ({"growth": 0}, "growth is 0"),
        ({"input_channels": 0}, "input_channels is 0"),
        ({"classes": 2.5}, "classes is 2.5"),
        ({"normalization": "batch"}, "Did you mean 'normalisation'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        RESNET.build(**params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
