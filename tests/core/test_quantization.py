"""Networks run in a number system and back: what is left as found, what is reported, what is refused."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import reluscope as rs
from reluscope import schema
from reluscope.errors import NotFiniteError, QuantizationError, UnknownNameError
from reluscope.lab import Lab
from reluscope_plugins import number_systems, patterns

LAB = Lab(plugins=[number_systems, patterns])
Network = Callable[[], nn.Sequential]
Images = Callable[..., Tensor]


def bits(network: nn.Module, x: Tensor) -> bytes:
    with torch.no_grad():
        return network(x).numpy().tobytes()


@pytest.mark.parametrize("draws", ["pass", "product", "held"])
@pytest.mark.parametrize("fold", [True, False])
def test_a_restored_network_is_the_same_bit_for_bit(
    draws: str, fold: bool, small_network: Network, images: Images
) -> None:
    network, x = small_network().train(), images()
    network[3].eval()
    seen: list[int] = []
    network[3].register_forward_hook(lambda module, args, output: seen.append(1))
    before = copy.deepcopy(network.state_dict())
    parameters = {name: id(parameter) for name, parameter in network.named_parameters()}
    attributes = {name: set(vars(module)) for name, module in network.named_modules()}
    types = [type(module) for module in network.modules()]
    modes = [module.training for module in network.modules()]
    state = torch.get_rng_state()
    rs.quantize_(network, "psb", draws=draws, fold_batchnorm=fold, prune=0.2, lab=LAB)
    assert {name: id(parameter) for name, parameter in network.named_parameters()} == parameters
    assert list(network.state_dict()) == list(before)
    assert [module.training for module in network.modules()] == modes
    network.eval()(x)
    assert len(seen) == 1
    for module, mode in zip(network.modules(), modes, strict=True):
        module.training = mode
    rs.restore_(network)
    assert [type(module) for module in network.modules()] == types
    assert {name: set(vars(module)) for name, module in network.named_modules()} == attributes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    fresh = small_network().eval()
    assert bits(network.eval(), x) == bits(fresh, x)


def test_the_seed_tells_the_bits_and_the_global_state_stays(small_network: Network, images: Images) -> None:
    x = images()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    outputs = []
    for seed in (0, 0, 1):
        network = small_network()
        rs.quantize_(network, "psb", samples=2, seed=seed, lab=LAB)
        torch.manual_seed(seed + 10 * len(outputs))
        outputs.append((bits(network, x), bits(network, x)))
    assert outputs[0] == outputs[1]
    assert outputs[0][0] != outputs[0][1]
    assert outputs[0][0] != outputs[2][0]
    torch.set_rng_state(states[0])
    rs.quantize_(network := small_network(), "psb", lab=LAB)
    torch.set_rng_state(states[0])
    network(x)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]


@pytest.mark.parametrize("draws", ["pass", "held"])
def test_copies_go_on_by_themselves(draws: str, small_network: Network, images: Images) -> None:
    network, x = small_network(), images()
    rs.quantize_(network, "psb", samples=2, draws=draws, lab=LAB)
    network(x)
    buffer = io.BytesIO()
    torch.save(network, buffer)
    buffer.seek(0)
    copies = [copy.deepcopy(network), torch.load(buffer, weights_only=False)]
    expected = bits(network, x)
    for one in copies:
        assert one[0].quantization.norm[0] is one[1]
        assert one[0].quantization.norm[0] is not network[1]
        assert bits(one, x) == expected
        rs.restore_(one)
        assert type(one[0]) is nn.Conv2d
    assert bits(network, x) == expected if draws == "held" else True


def test_state_dicts_load_into_and_from_it(small_network: Network, images: Images) -> None:
    network, other, x = small_network(), small_network(), images()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    rs.quantize_(network, "psb", draws="held", lab=LAB)
    before = bits(network, x)
    network.load_state_dict(other.state_dict())
    assert bits(network, x) != before
    other = small_network()
    other.load_state_dict(network.state_dict())
    rs.restore_(network)
    assert bits(other, x) == bits(network, x)


def test_each_module_is_reported() -> None:
    network = nn.ModuleDict(
        {
            "plain": nn.Linear(4, 3),
            "mine": type("Mine", (nn.Linear,), {"forward": lambda self, x: x})(4, 3),
            "constructed": type("Constructed", (nn.Linear,), {"size": staticmethod(len)})(4, 3),
            "spectral": parametrizations.spectral_norm(nn.Linear(4, 3)),
            "pruned": prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5),
            "attention": nn.MultiheadAttention(4, 2),
            "encoder": nn.TransformerEncoderLayer(4, 2, 8),
            "decoder": nn.TransformerDecoderLayer(4, 2, 8),
            "left": nn.Conv1d(1, 1, 1),
            "embedding": nn.Embedding(3, 4),
            "lazy": nn.LazyLinear(3),
            "empty": nn.Linear(1, 3),
            "norm": nn.BatchNorm1d(3),
        }
    )
    network["empty"].weight = nn.Parameter(torch.empty(3, 0))
    report = rs.quantize_(network, "psb", filter=lambda name, module: name != "left", samples=3, lab=LAB)
    schema.validate(report)
    why = dict(zip(report.layer.values.tolist(), report.skipped.values.tolist(), strict=True))
    assert [name for name, reason in why.items() if not reason] == [
        "plain",
        "constructed",
        "decoder.linear1",
        "decoder.linear2",
    ]
    parts = {
        "mine": "methods of its own",
        "spectral": "computed before each pass",
        "pruned": "computed before each pass",
        "attention": "no linear",
        "attention.out_proj": "fused",
        "encoder.linear1": "fused",
        "left": "filter",
        "embedding": "no linear",
        "lazy": "no shape yet",
        "empty": "empty weight",
        "norm": "not folded: the network cannot be traced",
    }
    assert {name: part for name, part in parts.items() if part not in why[name]} == {}
    row = report.sel(layer="plain")
    assert (int(row.weights), float(row.weight_bits), int(row.samples), str(row.folded.values)) == (12, 32.0, 3, "")
    assert type(network["plain"]).__name__ == "QuantizedLinear"
    assert type(network["left"]) is nn.Conv1d
    rs.restore_(network)
    assert type(network["constructed"]).__name__ == "Constructed"


def test_samples_by_layer(small_network: Network) -> None:
    network = small_network()
    report = rs.quantize_(network, "psb", samples={"": 4, "7": 64}, lab=LAB)
    numbers = dict(zip(report.layer.values.tolist(), report.samples.values.tolist(), strict=True))
    assert numbers == {"0": 4, "1": 0, "3": 4, "6": 0, "7": 64}
    rs.set_samples_(network, {"0": 1, "3": 2, "7": 3})
    assert [network[number].quantization.samples for number in (0, 3, 7)] == [1, 2, 3]
    with pytest.raises(QuantizationError, match="'3' has no number"):
        rs.set_samples_(network, {"0": 1, "7": 1})
    with pytest.raises(UnknownNameError, match="'conv'"):
        rs.set_samples_(network, {"conv": 1, "": 2})
    for number in (0, -1, 1.5, True, "4", None):
        with pytest.raises(QuantizationError, match="expected a whole number from 1 on"):
            rs.set_samples_(network, number)
    assert [network[number].quantization.samples for number in (0, 3, 7)] == [1, 2, 3]


def test_what_is_not_finite_is_named(small_network: Network, images: Images) -> None:
    network = small_network()
    network[3].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(NotFiniteError, match=r"'3\.weight' holds 1 NaN"):
        rs.quantize_(network, "psb", lab=LAB)
    assert type(network[0]) is nn.Conv2d
    network[3].weight.data[0, 0, 0, 0] = 0.5
    rs.quantize_(network, "psb", lab=LAB)
    network[3].weight.data[0, 0, 0, 0] = float("inf")
    with pytest.raises(NotFiniteError, match=r"parameter '3\.weight'"):
        network(images())
    network[3].weight.data[0, 0, 0, 0] = 0.5
    for gradients in (True, False):  # in memory of its own, and in that of all layers
        with (
            torch.set_grad_enabled(gradients),
            pytest.raises(
                NotFiniteError, match=r"^the input of layer '0' holds .* 384 values; expected finite"
            ) as error,
        ):
            network(images() * float("inf"))
        assert "weight" not in str(error.value)
    rs.restore_(network)
    rs.quantize_(network.double(), "psb", activations="float32", lab=LAB)
    with pytest.raises(NotFiniteError, match=r"^the input of layer '0' holds values beyond Float32; expected finite"):
        network(images().double() * 1e300)


def test_an_error_midway_leaves_the_network_as_found(monkeypatch, small_network: Network, images: Images) -> None:
    network, x = small_network(), images()
    before = bits(network, x)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reluscope.quantization.conversion_report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        rs.quantize_(network, "psb", lab=LAB)
    assert not any(hasattr(module, "quantization") for module in network.modules())
    assert type(network[1]) is nn.BatchNorm2d
    assert bits(network, x) == before


def test_twice_and_not_at_all_are_refused(small_network: Network) -> None:
    network = small_network()
    for undo in (rs.restore_, lambda model: rs.set_samples_(model, 2), lambda model: rs.refine_(model, 2)):
        with pytest.raises(QuantizationError, match="does not run in a number system"):
            undo(network)
    rs.quantize_(network, "psb", lab=LAB)
    with pytest.raises(QuantizationError, match="already"):
        rs.quantize_(nn.Sequential(network), "psb", lab=LAB)
    with pytest.raises(QuantizationError, match="draws='held'"):
        rs.refine_(network, 2)
    rs.restore_(network)
    with pytest.raises(QuantizationError, match="does not run"):
        rs.restore_(network)


def test_tied_weights_stay_tied() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight
            self.third = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.third(self.second(self.first(x)))

    network, x = Tied(), torch.randn(3, 4)
    before = bits(network, x)
    report = rs.quantize_(network, "psb", prune=0.5, lab=LAB)
    assert report.layer.values.tolist() == ["first", "second"]
    assert network.second.weight is network.first.weight
    kept = network.first.weight.detach().abs() > network.first.quantization.arithmetic.threshold
    assert int(kept.sum()) == 8
    network(x).sum().backward()
    assert network.first.weight.grad is not None
    rs.restore_(network)
    assert network.second.weight is network.first.weight
    assert bits(network, x) == before
