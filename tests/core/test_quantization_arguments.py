"""Bad arguments of the conversion are refused by name, and the network is left as found; the threshold of pruning."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

import reluscope as rs
from reluscope import convertible
from reluscope.convertible import magnitude_below
from reluscope.errors import QuantizationError, RecipeError, UnknownNameError
from reluscope.lab import Lab

LAB = Lab()


def small_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3)).eval()


def images() -> Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"system": "bsp"}, UnknownNameError, "psb"),
        ({"system": {"name": "psb", "wrong": 1}}, RecipeError, "wrong"),
        ({"system": {"samples": 1}}, QuantizationError, "with a name"),
        ({"system": 7}, QuantizationError, "int"),
        ({"activations": "fixed61"}, UnknownNameError, "fixed16"),
        ({"draws": "never"}, QuantizationError, "'pass'"),
        ({"prune": 1.0}, QuantizationError, "below 1"),
        ({"prune": -0.1}, QuantizationError, "below 1"),
        ({"filter": "conv"}, QuantizationError, "function"),
        ({"filter": lambda name, module: False}, QuantizationError, "no layer to convert"),
        ({"samples": {"1": 3, "": 3}}, QuantizationError, "not converted"),
        ({"samples": {"0": 3}}, QuantizationError, "no number"),
        ({"samples": 2**22 + 1}, QuantizationError, "at most 4194304"),
        ({"samples": {"": 2, "0": 2**40}}, QuantizationError, "at most 4194304"),
        ({"exact_products": -1}, QuantizationError, "exact_products: got -1"),
        ({"exact_products": 1e6}, QuantizationError, "exact_products: got 1000000.0"),
        ({"seed": "7"}, QuantizationError, "seed: got '7'"),
        ({"seed": 2**64}, QuantizationError, "seed: got"),
        ({"fold_batchnorm": "no"}, QuantizationError, "fold_batchnorm: got 'no'"),
        ({"prune": float("nan")}, QuantizationError, "prune: got nan"),
        ({"prune": True}, QuantizationError, "prune: got True"),
        ({"draws": ["pass"]}, QuantizationError, "draws: got"),
    ],
)
def test_bad_words_leave_the_network_as_found(arguments: dict, error: type[Exception], words: str) -> None:
    network, x = small_network(), images()
    before = network(x)
    with pytest.raises(error, match=words):
        rs.quantize_(network, **{"system": "psb", "lab": LAB, **arguments})
    assert not any(hasattr(module, "quantization") for module in network.modules())
    assert torch.equal(network(x), before)


def test_more_samples_than_can_be_drawn_leave_the_numbers_as_they_were() -> None:
    network = small_network()
    rs.quantize_(network, "psb", samples=3, draws="held", lab=LAB)
    for change in (rs.set_samples_, rs.refine_):
        with pytest.raises(QuantizationError, match=r"'3'.*at most 4194304"):
            change(network, {"0": 5, "3": 2**22 + 1})
        assert [network[number].quantization.samples for number in (0, 3)] == [3, 3]
    rs.restore_(network)
    rs.quantize_(network, "uniform", samples=2**30, lab=LAB)  # nothing is drawn


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    st.integers(0, 2**32 - 1),
)
def test_the_threshold_is_that_of_sorting(sizes: list[int], share: float, dtype: torch.dtype, seed: int) -> None:
    rng = np.random.default_rng(seed)
    layers = {}
    for number, size in enumerate(sizes):
        layers[str(number)] = nn.Linear(size, 1).to(dtype if number else torch.float32)
        values = rng.standard_normal(size) * 2.0 ** rng.integers(-140, 20, size) * (rng.random(size) < 0.9)
        layers[str(number)].weight.data.copy_(torch.from_numpy(values)[None])
    magnitudes = sorted(abs(value) for layer in layers.values() for value in layer.weight.flatten().tolist())
    kept = int(share * len(magnitudes))
    expected = magnitudes[kept - 1] if kept else -1.0
    part, convertible._PART = convertible._PART, 7
    try:
        assert magnitude_below(layers, share) == expected
    finally:
        convertible._PART = part
