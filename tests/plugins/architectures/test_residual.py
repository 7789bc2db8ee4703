"""The parts of residual networks."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.residual import (
    ResidualBlock,
    Shortcut,
    check_blocks,
    conv3x3,
    make_classifier,
    make_stages,
)


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize(("outputs", "stride"), [(2, 1), (2, 2), (4, 2), (5, 1), (7, 2)])
@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
def test_shortcut_is_that_of_the_loops(
    average: bool, centred: bool, outputs: int, stride: int, size: tuple[int, int], dense: SimpleNamespace
) -> None:
    layer = Shortcut(2, outputs, stride, average=average, centred=centred)
    x = torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    before = (outputs - 2) // 2 if centred else 0
    expected = [dense.shortcut(image, outputs, stride, before=before, average=average) for image in x.numpy()]
    assert np.allclose(layer(x).numpy(), np.array(expected), atol=1e-15)
    assert layer(x).shape == conv3x3(2, outputs, stride).double()(x).shape
    assert not list(layer.parameters())


def test_shortcut_without_work_is_the_identity() -> None:
    x = torch.ones(1, 2, 3, 3)
    assert Shortcut(2, 2, 1)(x) is x


def test_block_adds_where_the_shortcut_stands() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    x = torch.tensor([[1.0, -2.0]])
    added = ResidualBlock(OrderedDict(first=first, shortcut=nn.Identity(), relu=nn.ReLU(), second=second))
    assert torch.equal(added(x), second((first(x) + x).relu()))
    chain = ResidualBlock(OrderedDict(first=first, relu=nn.ReLU(), second=second))
    assert torch.equal(chain(x), nn.Sequential(first, nn.ReLU(), second)(x))


def test_stages_chain_widths_and_halve_but_the_first() -> None:
    stages = make_stages(lambda *given: nn.Identity(*given), 3, [[4, 5], [6, 7], [8]])
    assert {name: list(dict(stage.named_children())) for name, stage in stages.items()} == {
        "stage1": ["block1", "block2"],
        "stage2": ["block1", "block2"],
        "stage3": ["block1"],
    }
    got: list[tuple[int, int, int]] = []

    def record(inputs: int, outputs: int, stride: int) -> nn.Module:
        got.append((inputs, outputs, stride))
        return nn.Identity()

    make_stages(record, 3, [[4, 5], [6, 7], [8]])
    assert got == [(3, 4, 1), (4, 5, 1), (5, 6, 2), (6, 7, 1), (7, 8, 2)]


def test_classifier_takes_the_mean() -> None:
    classifier = nn.Sequential(make_classifier(2, 3))
    x = torch.randn(4, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    expected = x.mean(dim=(2, 3)) @ classifier.head.weight.T + classifier.head.bias
    assert torch.allclose(classifier(x), expected, atol=1e-6)


def test_blocks() -> None:
    assert [check_blocks("resnet", depth, None) for depth in (8, 20, 32, 44, 56, 110, 1202)] == [
        *(1, 3, 5, 7, 9, 18, 200),
    ]
    assert [check_blocks("resnet", None, blocks) for blocks in range(1, 6)] == [1, 2, 3, 4, 5]
    assert check_blocks("resnet", 20, 3) == check_blocks("resnet", None, None) == 3


@pytest.mark.parametrize(
    ("depth", "blocks", "message"),
    [
        (21, None, "depth is 21, expected 6 n + 2"),
        (2, None, "depth is 2"),
        (0, None, "depth is 0"),
        (-4, None, "depth is -4"),
        (20.0, None, "depth is 20.0"),
        ("20", None, "depth is '20'"),
        (True, None, "depth is True"),
        (None, 0, "blocks_per_stage is 0"),
        (None, 1.5, "blocks_per_stage is 1.5"),
        (None, True, "blocks_per_stage is True"),
        (20, 2, "which makes a depth of 14; give one of the two"),
    ],
)
def test_bad_depths_are_named(depth: Any, blocks: Any, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_blocks("resnet", depth, blocks)
    assert message in str(caught.value)
    assert "'resnet'" in str(caught.value)
