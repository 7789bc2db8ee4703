"""Properties of the architectures for any of their parameters."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.lab import Lab
from reluscope_plugins import architectures

LAB = Lab(plugins=[architectures]).architectures
SIZES = st.integers(1, 13)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(
    blocks=st.integers(1, 3),
    version=st.sampled_from([1, 2]),
    residual=st.booleans(),
    normalisation=st.sampled_from(["batch", "group", "layer", "none"]),
    activation=st.sampled_from(["relu", "prelu"]),
    width=st.integers(1, 6),
    growth=st.integers(1, 3),
    channels=st.integers(1, 3),
    classes=st.integers(1, 5),
    height=SIZES,
    breadth=SIZES,
)
def test_resnet(
    blocks: int,
    version: int,
    residual: bool,
    normalisation: str,
    activation: str,
    width: int,
    growth: int,
    channels: int,
    classes: int,
    height: int,
    breadth: int,
) -> None:
    """Parameters by the sum over its layers, 6 n + 1 sites, whatever the image."""
    model = LAB["resnet"].build(
        blocks_per_stage=blocks,
        version=version,
        residual=residual,
        normalisation=normalisation,
        groups=1,
        activation=activation,
        width=width,
        growth=growth,
        input_channels=channels,
        classes=classes,
    )
    outputs = [width] + [width * growth**stage for stage in range(3) for _ in range(2 * blocks)]
    inputs = [channels, *outputs[:-1]]
    total = sum(9 * a * b for a, b in zip(inputs, outputs, strict=True))
    total += sum(outputs) * (1 if normalisation == "none" else 2)
    total += len(outputs) if activation == "prelu" else 0
    total += (outputs[-1] + 1) * classes
    assert count(model) == total
    observation = rs.observe(model.double().eval(), noise(2, channels, height, breadth))
    assert observation.output.shape == (2, classes)
    assert len(observation.sites) == 6 * blocks + 1 == len(outputs)
    assert sorted(observation.pattern[site].shape[1] for site in observation.sites) == sorted(outputs)


@given(
    blocks=st.integers(1, 3),
    alpha=st.one_of(st.integers(1, 40), st.floats(0.1, 40)),
    width=st.integers(1, 6),
    height=SIZES,
    breadth=SIZES,
)
def test_pyramidnet(blocks: int, alpha: float, width: int, height: int, breadth: int) -> None:
    """Widths never fall, end at width + alpha, and take equal steps up to rounding."""
    model = LAB["pyramidnet"].build(blocks_per_stage=blocks, alpha=alpha, width=width)
    stages = (model.stage1, model.stage2, model.stage3)
    widths = [width] + [block.conv2.out_channels for stage in stages for block in stage]
    assert len(widths) == 3 * blocks + 1
    assert widths == sorted(widths)
    for number, got in enumerate(widths):
        assert abs(got - (width + number * alpha / (3 * blocks))) <= 0.5 + 1e-9
    observation = rs.observe(model.double().eval(), noise(2, 3, height, breadth))
    assert observation.output.shape == (2, 10)
    assert [observation.pattern[site].shape[1] for site in observation.sites] == [*widths[1:], widths[-1]]


@given(blocks=st.integers(1, 3), width=st.integers(1, 5), height=SIZES, breadth=SIZES, seed=st.integers(0, 100))
def test_fixup_begins_with_zero_logits(blocks: int, width: int, height: int, breadth: int, seed: int) -> None:
    model = LAB["fixup"].build(blocks_per_stage=blocks, width=width, seed=seed).double()
    x = noise(2, 3, height, breadth, seed=seed)
    assert not model(x).any()
    assert model.stage3(model.stage2(model.stage1(model.stem(x)))).any() == model.stem(x)[:, :, ::4, ::4].any()


@given(
    channels=st.lists(st.integers(1, 4), min_size=4, max_size=4),
    stride=st.integers(1, 9),
    extra=st.integers(0, 300),
    classes=st.integers(1, 5),
)
def test_m5(channels: list[int], stride: int, extra: int, classes: int) -> None:
    """From the least length on every length works, and at the least one value is left after the last pooling."""
    model = LAB["m5"].build(channels=channels, stride=stride, classes=classes).double().eval()
    least = model.length.least
    assert model(noise(1, 1, least + extra)).shape == (1, classes)
    body = nn.Sequential(*list(model.children())[1:-3])
    assert body(noise(1, 1, least)).shape == (1, channels[-1], 1)
    convolved = nn.Sequential(*list(model.children())[1:-4])
    assert convolved(noise(1, 1, least - 1)).shape[-1] < 4
