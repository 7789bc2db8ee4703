"""Residual networks without normalisation."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures
from reluscope_plugins.architectures.fixup import FixupBlock

FIXUP = Lab(plugins=[architectures]).architectures["fixup"]


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


# Zhang et al. 2019 give Fixup the architecture of He et al.'s ResNet-110 of 1.7 million (table 6 there): its weights
# without those of the normalisations, and four biases and one multiplier for each block and two biases beside them.
@pytest.mark.parametrize(
    ("depth", "exact", "millions", "digits"),
    [(20, 268_393, 0.27, 2), (32, 461_959, 0.46, 2), (110, 1_720_138, 1.7, 1)],
)
def test_parameters_are_as_many_as_the_sum_says(depth: int, exact: int, millions: float, digits: int) -> None:
    n = (depth - 2) // 6
    convolutions = 9 * (3 * 16 + 2 * n * 16 * 16)
    convolutions += 9 * (16 * 32 + (2 * n - 1) * 32 * 32)
    convolutions += 9 * (32 * 64 + (2 * n - 1) * 64 * 64)
    numbers = 3 * n * (4 + 1) + 2
    linear = 64 * 10 + 10
    assert convolutions + numbers + linear == exact == count(FIXUP.build(depth=depth))
    assert round(exact / 1e6, digits) == millions


def test_values_are_those_of_the_loops(dense: SimpleNamespace, scrambled: Callable[..., dict[str, np.ndarray]]) -> None:
    model = FIXUP.build(depth=8, width=2, classes=3).double()
    p = scrambled(model)
    x = torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = []
    for image in x.numpy():
        value = np.maximum(dense.convolve(image, p["stem.conv.weight"]) + p["stem.bias.bias"], 0)
        for stage in (1, 2, 3):
            name, stride = f"stage{stage}.block1", 1 if stage == 1 else 2
            shifted = value + p[f"{name}.bias1a.bias"]
            branch = dense.convolve(shifted, p[f"{name}.conv1.weight"], stride=stride) + p[f"{name}.bias1b.bias"]
            branch = dense.convolve(np.maximum(branch, 0) + p[f"{name}.bias2a.bias"], p[f"{name}.conv2.weight"])
            branch = branch * p[f"{name}.multiplier"] + p[f"{name}.bias2b.bias"]
            straight = shifted if stride == 2 else value
            value = np.maximum(branch + dense.shortcut(straight, len(branch), stride, before=0), 0)
        expected.append(p["head.weight"] @ (value.mean(axis=(1, 2)) + p["bias.bias"]) + p["head.bias"])
    assert np.allclose(model(x).detach().numpy(), np.array(expected), rtol=1e-10, atol=1e-10)


def test_every_block_is_at_first_its_shortcut_and_the_logits_are_zero() -> None:
    model = FIXUP.build(depth=14, seed=0)
    x = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert not model(x).any()
    value = model.stem(x)
    for stage in (model.stage1, model.stage2, model.stage3):
        for block in stage:
            straight = value[:, :, ::2, ::2] if block.strided else value
            expected = F.pad(straight, (0, 0, 0, 0, 0, block.conv1.out_channels - value.shape[1]))
            value = block(value)
            assert torch.equal(value, expected)


@pytest.mark.parametrize("depth", [20, 32])
def test_initial_weights_are_those_prescribed(depth: int, are_he_normal: Callable[..., bool]) -> None:
    """Null: a block's first convolution N(0, 2 / fan_out / L), the stem's N(0, 2 / fan_out).

    2,304 to 36,864 weights in each of L layers and 432 in the stem; error 1e-6 in each of the two checks.
    """
    model = FIXUP.build(depth=depth, seed=0)
    blocks = [module for module in model.modules() if isinstance(module, FixupBlock)]
    number, layers = len(blocks), 2
    assert number == (depth - 2) // 2
    factor = number ** (-1 / (2 * layers - 2))
    assert are_he_normal([block.conv1 for block in blocks], mode="fan_out", factor=factor)
    assert not are_he_normal([block.conv1 for block in blocks], mode="fan_out")
    assert are_he_normal([model.stem.conv], mode="fan_out")
    assert not any(block.conv2.weight.any() for block in blocks)
    assert not model.head.weight.any()
    assert not model.head.bias.any()
    scalars = {name: value.item() for name, value in model.named_parameters() if value.numel() == 1}
    assert len(scalars) == 5 * number + 2
    assert all(value == (1 if name.endswith("multiplier") else 0) for name, value in scalars.items())


def test_all_parameters_learn_from_the_second_step_on() -> None:
    model = FIXUP.build(depth=8, seed=0)
    x = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    # The linear layer learns first, then what stands before it, then what stands before the second convolutions.
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


def test_sites_are_named() -> None:
    observation = rs.observe(FIXUP.build(seed=0), torch.zeros(1, 3, 32, 32))
    assert list(observation.sites) == ["stem.relu#0"] + [
        f"stage{stage}.block{block}.relu{number}#0" for stage in (1, 2, 3) for block in (1, 2, 3) for number in (1, 2)
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 21}, "architecture 'fixup': depth is 21"),
        ({"width": 0}, "width is 0"),
        ({"classes": -1}, "classes is -1"),
        ({"input_channels": 0}, "input_channels is 0"),
        ({"activation": "prelo"}, "Did you mean 'prelu'"),
        ({"normalisation": "batch"}, "unknown parameter 'normalisation'"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        FIXUP.build(**params)
    assert message in str(caught.value)
