"""Quantised networks at work: precisions, pruning, gradients, training, memory, and what looks at them."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import reluscope as rs
from reluscope.lab import Lab
from reluscope_plugins import number_systems, patterns

LAB = Lab(plugins=[number_systems, patterns])
Network = Callable[[], nn.Sequential]
Images = Callable[..., Tensor]


def test_more_samples_come_closer() -> None:
    # Without activations and norms a linear layer's mean squared error is E |x|^2 var / n: over 256 times fewer samples
    # the ratio of the sums of 400 squares is 256 on average; below 64 its probability is far under 1e-6 (F(400, 400)).
    torch.manual_seed(0)
    layer, x = nn.Linear(50, 400), torch.randn(1, 50)
    expected = layer(x)
    rs.quantize_(layer, "psb", samples=1, activations=None, lab=LAB)
    coarse = (layer(x) - expected).square().sum()
    rs.set_samples_(layer, 256)
    assert coarse > 64 * (layer(x) - expected).square().sum()


@pytest.mark.parametrize("draws", ["pass", "product", "held"])
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_precisions_and_modes_without_gradients(
    draws: str, dtype: str, small_network: Network, images: Images
) -> None:
    kind = getattr(torch, dtype)
    network, x = small_network().to(kind), images().to(kind)
    rs.quantize_(network, "psb", samples=2, draws=draws, lab=LAB)
    with torch.inference_mode():
        network(x)
    rs.set_samples_(network, 5)
    assert network(x).dtype == kind
    network(x).sum().backward()
    with torch.no_grad():
        network(x)
    if draws == "held":
        rs.refine_(network, 300)
        with torch.inference_mode():
            network(x)
        assert network[0].quantization.held.counts.dtype == torch.int16


def test_pruning_takes_the_share_nearest_to_zero(small_network: Network) -> None:
    network = small_network()
    parameters = copy.deepcopy(network.state_dict())
    rs.quantize_(network, "psb", prune=0.25, lab=LAB)
    layers = [network[number] for number in (0, 3, 7)]
    everything = torch.cat([layer.weight.detach().abs().flatten() for layer in layers]).sort().values
    share = round(0.25 * len(everything))
    zeros = 0
    for layer in layers:
        drawn = layer.quantization.drawn(layer, layer.weight)
        assert torch.equal(drawn == 0, layer.weight.abs() < everything[share])
        zeros += int((drawn == 0).sum())
    assert zeros == share
    assert all(torch.equal(value, parameters[name]) for name, value in network.state_dict().items())


def test_gradients_are_those_of_the_drawn_weight() -> None:
    torch.manual_seed(0)
    layer, x = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), torch.randn(4, 2, 5, 5)
    rs.quantize_(layer, "psb", samples=2, draws="held", lab=LAB)
    given = x.clone().requires_grad_()
    layer(given).square().sum().backward()
    rounded = (x * 256).round() / 256
    plain = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
    plain.bias.data.copy_(layer.bias.data)
    plain.weight.data.copy_(layer.quantization.drawn(layer, layer.weight).detach())
    assert not torch.equal(plain.weight, layer.weight)
    other = rounded.requires_grad_()
    plain(other).square().sum().backward()
    for first, second in ((layer.weight, plain.weight), (layer.bias, plain.bias), (given, other)):
        assert torch.equal(first.grad, second.grad)


@pytest.mark.parametrize("draws", ["pass", "product"])
def test_a_network_learns_with_one_sample(draws: str) -> None:
    # Two far clusters: whoever follows the gradient separates them; at the start the network says one class throughout.
    torch.manual_seed(0)
    labels = torch.arange(200) % 2
    x = torch.randn(200, 2) * 0.3 + torch.stack([2.0 * labels - 1, 1 - 2.0 * labels], 1)
    network = nn.Sequential(nn.Linear(2, 16, bias=False), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2))
    network[3].weight.data[:] = 0.01
    network[3].bias.data[:] = torch.tensor([0.0, 1.0])
    rs.quantize_(network, "psb", samples=1, draws=draws, lab=LAB)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()
    assert (network.eval()(x).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("draws", ["pass", "product", "held"])
def test_quantised_networks_are_observed_and_measured(draws: str, small_network: Network, images: Images) -> None:
    network, x = small_network(), images(40)
    plain = rs.observe(network, x)
    rs.quantize_(network, "psb", samples=1, draws=draws, lab=LAB)
    first, second = rs.observe(network, x), rs.observe(network, x)
    assert first.sites == plain.sites
    assert [first.site[name].units for name in first.sites] == [plain.site[name].units for name in plain.sites]
    same = all(torch.equal(first.pattern[site], second.pattern[site]) for site in first.sites)
    assert same == (draws == "held")
    data = rs.measure(network, [x[:20], x[20:]], metrics=["firing_rate"], lab=LAB)
    assert data.firing_rate.notnull().all()
    assert [type(module).__name__ for module in network][:2] == ["QuantizedConv2d", "FoldedBatchNorm2d"]


@pytest.mark.parametrize("exact_products", [0, 1 << 20])
def test_sequences_keep_their_channels_when_observed(exact_products: int) -> None:
    network = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU()).eval()
    rs.quantize_(network, "psb", draws="product", exact_products=exact_products, lab=LAB)
    observation = rs.observe(network, torch.randn(2, 1, 9))
    assert observation.sites == ("1#0",)
    assert observation.pattern["1#0"].shape == (14, 4)


def test_the_affine_map_of_held_weights_is_that_of_the_drawn_network() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double(), torch.randn(4, 3).double()
    rs.quantize_(network, "psb", samples=2, activations=None, draws="held", lab=LAB)
    weight, bias = rs.affine(network, x)
    torch.testing.assert_close((weight @ x.unsqueeze(-1)).squeeze(-1) + bias, network(x), rtol=1e-12, atol=1e-12)
    drawn = [network[number].quantization.drawn(network[number], network[number].weight) for number in (0, 2)]
    active = (nn.functional.linear(x, drawn[0], network[0].bias) > 0).double()
    torch.testing.assert_close(weight, torch.einsum("oh,nh,hi->noi", drawn[1], active, drawn[0]))


@pytest.mark.parametrize("name", LAB.number_systems)
@pytest.mark.parametrize("draws", ["pass", "product", "held"])
def test_every_system_runs(name: str, draws: str, small_network: Network, images: Images) -> None:
    network, x = small_network(), images()
    report = rs.quantize_(network, name, samples=4, draws=draws, prune=0.1, lab=LAB)
    stochastic = network[0].quantization.arithmetic.system.stochastic
    assert bool((report.samples > 0).any()) == stochastic
    network.train()(x).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())
    first, second = network.eval()(x), network(x)
    assert torch.equal(first, second) == (draws == "held" or not stochastic)


class Watermark(TorchDispatchMode):
    """Follows how many bytes of tensors that were made within are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor) and not any(tensor is one for one in args):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self.known and storage.nbytes():
                    self._born(storage.data_ptr(), storage.nbytes(), tensor)
        return result

    def _born(self, address: int, size: int, tensor: Tensor) -> None:
        self.known.add(address)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(tensor, self._died, address, size)

    def _died(self, address: int, size: int) -> None:
        self.known.discard(address)
        self.alive -= size


@pytest.mark.parametrize("draws", ["pass", "held"])
@pytest.mark.parametrize("samples", [1, 16, 300])
def test_a_pass_takes_no_more_memory_than_the_network_again(draws: str, samples: int) -> None:
    # of many layers, for those that compute with one layer at a time
    network, x = nn.Sequential(*(nn.Linear(128, 128) for _ in range(32))), torch.randn(1, 128)
    size = sum(parameter.nbytes for parameter in network.parameters())
    rs.quantize_(network, "psb", samples=samples, draws=draws, lab=LAB)
    with torch.no_grad(), Watermark() as watermark:
        network(x)
        if draws == "held":
            rs.refine_(network, 3)
            network(x)
    assert 0.05 * size < watermark.peak <= size


DISCRETE = {"name": "psb", "probability_bits": 4, "exponent_bits": 4}


@pytest.mark.parametrize("prune", [0.0, 0.25])
@pytest.mark.parametrize("system", [*LAB.number_systems, DISCRETE], ids=str)
def test_a_large_layer_takes_little_more_than_its_weight_again(
    system: Any, prune: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the drawn weight there are codes or a mask of one byte a weight."""
    monkeypatch.setattr("reluscope_plugins.number_systems.layer_parts.PART", 1 << 10)
    layer, x = nn.Linear(256, 512), torch.randn(1, 256)
    rs.quantize_(layer, system, samples=16, prune=prune, lab=LAB)
    with torch.no_grad(), Watermark() as watermark:
        watermark.known.add(layer.weight.data_ptr())
        layer(x)
    assert watermark.peak <= (1 + 1 / 4 + 1 / 16) * layer.weight.nbytes


def test_all_kinds_of_attention_still_run() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.Linear(4, 2)).eval()
    x = torch.randn(2, 5, 4)
    with torch.no_grad():
        expected = network[0](x)
        rs.quantize_(network, "psb", activations=None, lab=LAB)
        assert torch.equal(network[0](x), expected)
        assert not torch.equal(network(x), network(x))


def test_layers_say_in_what_they_compute(small_network: Network) -> None:
    network = small_network()
    rs.quantize_(network, "psb", samples=7, lab=LAB)
    assert "out_features=5, bias=True, system=PSB, samples=7" in repr(network)
