"""What torch's graph shows by itself, against what the second derivative says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from reluscope.linear_nodes import shows_affine
from reluscope.observation import affine, observe

WEIGHT = torch.randn(4, 4, generator=torch.Generator().manual_seed(1))

BENT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "square": lambda x: x * x,
    "outer": lambda x: x.unsqueeze(2) @ x.unsqueeze(1),
    "matrix of itself": lambda x: x @ (x.t() @ x),
    "quotient": lambda x: 1 / (2 + x),
    "share": lambda x: x / x.sum(1, keepdim=True),
    "softmax": lambda x: torch.softmax(x, 1),
    "gelu": F.gelu,
    "batch norm in training": lambda x: F.batch_norm(x, None, None, training=True),
    "layer norm": lambda x: F.layer_norm(x, (4,)),
    "filters from the input": lambda x: F.conv1d(x.unsqueeze(1), x.view(-1, 1, 4)),
    "slope from the input": lambda x: F.prelu(x, x.mean().abs().view(1)),
    "standard deviation": lambda x: x.std(1),
    "norm": lambda x: x.norm(dim=1),
    "power": lambda x: x**3,
    "selected by itself": lambda x: torch.where(x > 0, x, x.exp()),
}
STRAIGHT: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "dense": lambda x: torch.relu(x @ WEIGHT + 1) @ WEIGHT,
    "scaled": lambda x: (3 * x - x / 2).flip(1).mean(1),
    "leaky": lambda x: F.leaky_relu(x) + F.prelu(x, torch.ones(1)),
    "pools": lambda x: F.max_pool1d(F.avg_pool2d(x.view(-1, 1, 2, 2), 1).flatten(2), 2),
    "norm": lambda x: F.batch_norm(x, torch.zeros(4), torch.ones(4), WEIGHT[0], WEIGHT[1]),
    "clamped": lambda x: F.relu6(x) + F.hardtanh(x),
    "joined": lambda x: torch.cat([x[:, :2], x[:, 2:]], 1).unsqueeze(1).expand(-1, 2, -1).sum(1),
}


def start() -> torch.Tensor:
    return torch.randn(5, 4, generator=torch.Generator().manual_seed(2)).requires_grad_()


@pytest.mark.parametrize("name", BENT)
def test_what_bends_is_not_taken_for_straight(name: str) -> None:
    x = start()
    output = BENT[name](x)
    (pulled,) = torch.autograd.grad(output, x, torch.randn_like(output), create_graph=True)
    (curvature,) = torch.autograd.grad(pulled, x, torch.randn_like(pulled))
    assert curvature.abs().max() > 1e-6
    assert not shows_affine([output])
    assert not shows_affine([x.sum(), output])


@pytest.mark.parametrize("name", STRAIGHT)
def test_what_is_straight_is_seen_to_be(name: str) -> None:
    x = start()
    assert shows_affine([STRAIGHT[name](x)])


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "squeezenet1_1"])
def test_torchvision(name: str) -> None:
    model = getattr(torchvision.models, name)(num_classes=3).eval().requires_grad_(False)
    x = torch.randn(1, 3, 64, 64, requires_grad=True)
    assert shows_affine([model(x)])
    assert not shows_affine([torch.softmax(model(x), 1)])


def test_channels_last() -> None:
    model = torchvision.models.resnet18(num_classes=3).eval().requires_grad_(False)
    model = model.to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64).contiguous(memory_format=torch.channels_last).requires_grad_()
    assert shows_affine([model(x)])
    assert not shows_affine([torch.softmax(model(x), 1)])


def test_the_double_graph_is_made_only_when_asked_for() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    formed = affine(model, start().detach(), check=False)
    assert formed.weight.shape == (5, 2, 4)
    assert "pull" not in vars(formed._derivative)
    torch.testing.assert_close(formed.bias + (formed.weight @ start().unsqueeze(-1)).squeeze(-1), model(start()))
    assert "pull" not in vars(formed._derivative)
    walls = observe(model, start().detach(), affine=True).walls()
    walls.map.matvec(torch.ones(5, 4))
    assert "pull" in vars(walls.map._derivative)
