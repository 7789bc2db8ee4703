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
from reluscope_plugins.number_systems.psb import PSB

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
        ({"system": PSB}, QuantizationError, r"the class PSB, expected .*PSB\(\.\.\.\)"),
        ({"lab": 3}, QuantizationError, "lab: got int, expected a reluscope.Lab"),
        ({"lab": ""}, QuantizationError, "lab: got str"),
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
        ({"prune": "a"}, QuantizationError, "prune: got 'a'"),
        ({"seed": True}, QuantizationError, "seed: got True"),
        ({"samples": np.float32(4)}, QuantizationError, "samples: got"),
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


def test_numbers_may_be_of_numpys_types() -> None:
    outputs = []
    for whole, share in ((int, float), (np.int64, np.float32)):
        network = small_network()
        rs.quantize_(
            network,
            {"name": "psb", "probability_bits": whole(4)},
            samples=whole(4),
            prune=share(0.5),
            exact_products=whole(1000),
            draws="product",
            seed=whole(3),
            lab=LAB,
        )
        rs.set_samples_(network, {"": whole(5)})
        assert type(network[0].quantization.samples) is int
        outputs.append(network(images()))
    assert torch.equal(*outputs)


def test_more_samples_than_can_be_drawn_leave_the_numbers_as_they_were() -> None:
    network = small_network()
    rs.quantize_(network, "psb", samples=3, draws="held", lab=LAB)
    for change in (rs.set_samples_, rs.refine_):
        with pytest.raises(QuantizationError, match=r"'3'.*at most 4194304"):
            change(network, {"0": 5, "3": 2**22 + 1})
        assert [network[number].quantization.samples for number in (0, 3)] == [3, 3]
    rs.restore_(network)
    rs.quantize_(network, "uniform", samples=2**30, lab=LAB)  # nothing is drawn


@pytest.mark.parametrize(("share", "pruned"), [(0.29, 29), (0.57, 57), (0.004, 0), (0.006, 1), (0.999, 100)])
def test_the_nearest_whole_number_of_weights_is_pruned(share: float, pruned: int) -> None:
    """100 * 0.29 is 28.999... in floating point."""
    layer = nn.Linear(100, 1)
    layer.weight.data.copy_(torch.arange(1.0, 101))
    rs.quantize_(layer, "float32", prune=share, lab=LAB)
    drawn = layer.quantization.drawn(layer, layer.weight)
    assert drawn.flatten().tolist() == [0.0] * pruned + list(range(pruned + 1, 101))


class Halved:
    """A system without chance that lacks what a test deletes."""

    bits, stochastic, operations = 1, False, {"add": 1}

    def encode(self, weight: Tensor) -> Tensor:
        return weight

    def decode(self, encoded: Tensor) -> Tensor:
        return encoded / 2

    mean = decode

    def variance(self, encoded: Tensor, samples: int) -> Tensor:
        return torch.zeros_like(encoded)

    def draw(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return encoded / 2


@pytest.mark.parametrize("part", ["encode", "decode", "mean", "variance", "draw", "stochastic", "bits", "operations"])
@pytest.mark.parametrize("argument", ["system", "activations"])
def test_an_instance_that_lacks_a_part_is_refused_by_its_name(part: str, argument: str) -> None:
    rs.quantize_(small_network(), **{"system": Halved(), "activations": Halved(), "lab": LAB})
    lacking = type("Lacking", (), {key: value for key, value in vars(Halved).items() if key != part})()
    network = small_network()
    with pytest.raises(QuantizationError, match=f"got Lacking, which has no '{part}'; expected a name"):
        rs.quantize_(network, **{"system": "psb", "lab": LAB, argument: lacking})
    assert type(network[0]) is nn.Conv2d


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
    kept = round(share * len(magnitudes))
    expected = magnitudes[kept - 1] if kept else -1.0
    part, convertible._PART = convertible._PART, 7
    try:
        assert magnitude_below(layers, share) == expected
    finally:
        convertible._PART = part
