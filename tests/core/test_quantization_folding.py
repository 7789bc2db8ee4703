"""Batch norms that the layer before them takes over: which, why not the others, and that the function stays."""

from __future__ import annotations

import copy
import math
import threading
from typing import ClassVar

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.autograd import forward_ad
from torchvision.models.vgg import cfgs, make_layers

import reluscope as rs
from reluscope.batchnorm_folding import foldable_norms
from reluscope.errors import NotFiniteError, QuantizationError
from reluscope.lab import Lab
from reluscope_plugins import architectures, number_systems

LAB = Lab(plugins=[architectures, number_systems])
# Rounding in double precision: 2^-53 for each of the some 10^5 operations that one output hangs on, times the size of
# the numbers between relative to the output, for which 100 is allowed.
DOUBLE = {"rtol": 1e-9, "atol": 1e-9}


class Exact:
    """The weights as they are."""

    bits = 64
    stochastic = False
    operations: ClassVar = {"multiply_add": 1}

    def encode(self, weight: Tensor) -> Tensor:
        return weight

    decode = mean = encode

    def variance(self, encoded: Tensor, samples: int) -> Tensor:
        return torch.zeros_like(encoded)

    def draw(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return encoded


def stirred(network: nn.Module) -> nn.Module:
    """In double precision and eval mode, with norms that have seen something."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None:
            module.running_mean.normal_(generator=generator).mul_(0.1)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
                nn.init.normal_(module.bias, std=0.1, generator=generator)
    return network.double().eval()


def deconvolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2),
        nn.BatchNorm2d(6, affine=False),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 2, 2, bias=False),
        nn.BatchNorm2d(2),
    )


NETWORKS = {
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=7), (2, 3, 40, 40), 20),
    "vgg11_bn": (lambda: make_layers(cfgs["A"], batch_norm=True), (1, 3, 32, 32), 8),
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=7), (2, 3, 40, 40), 52),
    "googlenet": (
        lambda: torchvision.models.googlenet(num_classes=7, init_weights=False),
        (1, 3, 64, 64),
        57,
    ),  # two more are called in training only
    "r3d_18": (lambda: torchvision.models.video.r3d_18(num_classes=7), (1, 3, 4, 24, 24), 20),
    "resnet": (lambda: LAB.architectures["resnet"].build(seed=0), (2, 3, 16, 16), 19),
    "m5": (lambda: LAB.architectures["m5"].build(seed=0), (1, 1, 8000), 4),
    "deconvolution": (deconvolution, (2, 2, 6, 6), 3),
    "linear": (lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU()), (3, 5), 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_folded_network_is_the_same_function(name: str) -> None:
    make, shape, norms = NETWORKS[name]
    torch.manual_seed(0)
    network, x = stirred(make()), torch.randn(shape, dtype=torch.float64)
    kinds = [type(module) for module in network.modules()]
    with torch.no_grad():
        expected = network(x)
        report = rs.quantize_(network, Exact(), activations=None)
        torch.testing.assert_close(network(x), expected, **DOUBLE)
        folded = report.skipped.str.startswith("folded into")
        missing = report.layer.values[(report.skipped.str.startswith("not folded")).values].tolist()
        assert int(folded.sum()) == norms, missing
        rs.restore_(network)
        assert [type(module) for module in network.modules()] == kinds
        assert torch.equal(network(x), expected)


class Branching(nn.Module):
    """Norms of all kinds that cannot be folded, beside one that can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.ModuleList([nn.Conv1d(2, 2, 1) for _ in range(6)])
        self.norm = nn.ModuleList([nn.BatchNorm1d(2) for _ in range(6)])
        self.norm[4] = nn.BatchNorm1d(2, track_running_stats=False)
        self.early = nn.BatchNorm1d(2)
        self.unused = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.early(x)
        y = self.conv[0](x)
        x = self.norm[0](y) + y
        x = self.norm[1](self.conv[1](self.conv[1](x)))
        x = self.norm[2](self.norm[2](self.conv[2](x)))
        x = self.norm[3](torch.relu(self.conv[3](x)))
        return self.norm[5](self.conv[5](self.norm[4](self.conv[4](x))))


def test_what_cannot_be_folded_says_why() -> None:
    folded, refused = foldable_norms(Branching())
    assert folded == {"conv.5": "norm.5"}
    words = {
        "norm.0": "used elsewhere",
        "norm.1": "called 2 times",
        "norm.2": "called 2 times",
        "norm.3": "follows relu",
        "norm.4": "no running statistics",
        "early": "follows x",
        "unused": "called 0 times",
    }
    assert {name: why for name, why in words.items() if why not in refused[name]} == {}
    assert set(words) == set(refused)


def test_branches_stay_the_same_function() -> None:
    network, x = stirred(Branching()), torch.randn(4, 2, 5, dtype=torch.float64)
    expected = network(x)
    rs.quantize_(network, Exact(), activations=None)
    torch.testing.assert_close(network(x), expected, **DOUBLE)


def test_hooks_between_are_respected() -> None:
    network = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3))
    network[0].register_forward_hook(lambda module, args, output: output + 1)
    assert "hook" in foldable_norms(network)[1]["1"]


def test_a_network_that_cannot_be_traced_is_not_folded() -> None:
    class Chooses(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > 0 else x

    network = Chooses(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)).train()
    state = torch.get_rng_state()
    report = rs.quantize_(network, Exact(), activations=None)
    assert "cannot be traced (TraceError" in str(report.skipped.sel(layer="1").values)
    assert all(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)


def test_only_norms_of_converted_layers_are_folded() -> None:
    network = stirred(nn.Sequential(nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2), nn.Conv1d(2, 2, 1), nn.BatchNorm1d(2)))
    x = torch.randn(3, 2, 4, dtype=torch.float64)
    expected = network(x)
    report = rs.quantize_(network, Exact(), activations=None, filter=lambda name, module: name == "2")
    assert report.folded.values.tolist() == ["", "", "3", ""]
    torch.testing.assert_close(network(x), expected, **DOUBLE)


def test_a_norm_that_takes_statistics_does_its_own_work() -> None:
    torch.manual_seed(0)
    network = stirred(deconvolution()).train()
    other = stirred(deconvolution()).train()
    other.load_state_dict(network.state_dict())
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    rs.quantize_(network, Exact(), activations=None)
    for frozen in (False, True):
        # Also where one norm is frozen, as in fine-tuning.
        for one in (network, other):
            one.train()
            one[1].train(not frozen)
            one.zero_grad()
        first, second = network(x), other(x)
        torch.testing.assert_close(first, second, **DOUBLE)
        first.square().sum().backward()
        second.square().sum().backward()
        for (name, parameter), like in zip(network.named_parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, like.grad, **DOUBLE, msg=name)
        for buffer, like in zip(network.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(buffer, like)


def test_a_norm_over_another_dim_is_refused() -> None:
    network = stirred(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)))
    rs.quantize_(network, Exact(), activations=None)
    with pytest.raises(QuantizationError, match="fold_batchnorm=False"):
        network(torch.randn(2, 3, 4, dtype=torch.float64))


def test_a_norm_does_its_own_work_where_the_layer_before_it_does_not() -> None:
    """Restored by itself, or replaced."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double().eval()
    model[1].running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plain = model(x)
    rs.quantize_(model, "float32", activations=None)
    torch.testing.assert_close(model(x), plain)
    rs.restore_(model[0])
    assert torch.equal(model(x), plain)
    rs.restore_(model)
    assert type(model[1]) is nn.BatchNorm2d
    assert "folded" not in vars(model[1])


@pytest.mark.parametrize("name", ["1.weight", "1.bias", "1.running_mean", "1.running_var"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_folded_norm_that_is_not_finite_is_refused_by_name(name: str, value: float) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).eval()
    model.state_dict()[name][2] = value
    with pytest.raises(NotFiniteError, match=name):
        rs.quantize_(model, "float32")
    assert type(model[0]) is nn.Linear


def test_threads_and_replicas_do_not_share_what_is_done() -> None:
    """A layer tells the norm behind it that its work is done: that one, in that thread."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()).eval()
    with torch.no_grad():
        network[1].running_mean.fill_(0.3)
        network[1].running_var.fill_(4.0)
    rs.quantize_(network, "float32", activations=None, lab=LAB)
    x = torch.randn(2, 3, 8, 8)
    replica = copy.copy(network)
    replica._modules = {name: copy.copy(module) for name, module in network._modules.items()}
    with torch.no_grad():
        expected = network(x)
        assert torch.equal(replica(x), expected)
        first = network[0](x)
        seen: list[Tensor] = []
        other = threading.Thread(target=lambda: seen.append(network[1](first).detach()))
        other.start()
        other.join()
        assert not torch.equal(seen[0], first)  # no layer ran in that thread: the norm does its own work
        assert torch.equal(network[1](first), first)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own forward mode
@pytest.mark.parametrize("activations", ["fixed16", None])
def test_transforms_are_refused(activations: str | None) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU())
    rs.quantize_(network, "psb", activations=activations, lab=LAB)
    x = torch.randn(2, 4)
    with pytest.raises(QuantizationError, match=r"layer '0' runs in a number system under a transform of torch.func"):
        torch.func.vmap(network)(x)
    with pytest.raises(QuantizationError, match="transform"):
        torch.func.grad(lambda z: network(z).sum())(x)
    with forward_ad.dual_level(), pytest.raises(QuantizationError, match="forward-mode"):
        network(forward_ad.make_dual(x, torch.ones_like(x)))
