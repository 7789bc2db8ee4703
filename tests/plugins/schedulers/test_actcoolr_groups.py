"""Parameter groups with a rate of their own, and which sites belong to them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.temperature.distance import pattern_distances


def test_parameter_groups_keep_their_ratio(nets: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = nets.Tied()
    optimizer = torch.optim.SGD(nets.groups_of(model, 0.03))
    scheduler = ActCooLR(optimizer, model, 20, t_start=1.0)
    for step in range(19):
        nets.take(model, optimizer, scheduler, step)
        first, second = scheduler.get_last_lr()
        assert second == pytest.approx(first / 3, rel=1e-12)


class Uneven(nn.Module):
    """Two branches, of which one is a thousand times as sensitive, for its weights are as small as its rate is not."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.small, self.last = nn.Linear(8, 64), nn.Linear(8, 64), nn.Linear(128, 3)
        with torch.no_grad():
            self.small.weight.mul_(1e-3)
            self.small.bias.mul_(1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([torch.relu(self.plain(x)), 1e3 * torch.relu(self.small(x))], 1))


def test_each_group_gets_its_own_rate(nets: SimpleNamespace) -> None:
    def worst(per_group: bool) -> float:
        torch.manual_seed(0)
        model = Uneven()
        optimizer = torch.optim.SGD(
            [{"params": list(part.parameters())} for part in (model.plain, model.last, model.small)], lr=1e-4
        )
        scheduler = ActCooLR(optimizer, model, 60, t_start=1.0, per_group=per_group, width=0, max_step=math.inf)
        off = []
        for step in range(60):
            x, y = nets.batch_of(step)
            nets.backward(model, x, y)
            taken = rs.OptimizerStep(optimizer)
            shares = pattern_distances(model, x, taken, [taken.rate])[0].values
            optimizer.step()
            if step:
                off.append(np.abs(shares - scheduler.target(step)).max())
            scheduler.step(x)
            rates = scheduler.get_last_lr()
            if per_group and step < 59:
                assert rates[1] == pytest.approx(math.sqrt(rates[0] * rates[2]), rel=1e-9)
                assert math.isnan(scheduler.measured[1])
        return float(np.mean(off))

    one, own = worst(False), worst(True)
    assert own < 0.5 * one
    assert own < 0.15


def test_no_site_of_any_group(nets: SimpleNamespace) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = ActCooLR(optimizer, model, 5, per_group=True)
    with pytest.raises(ObservationError, match="no activation site comes right after"):
        nets.take(model, optimizer, scheduler, 0)


def after_of(model: nn.Module, x: torch.Tensor) -> dict[str, str]:
    observation = rs.observe(model.eval(), x, patterns_only=True)
    return {name: observation.site[name].after for name in (*observation.sites, *observation.pools)}


def test_sites_know_the_module_that_they_come_after() -> None:
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 4), nn.Dropout(), nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU())
    assert after_of(model, torch.randn(3, 4)) == {"0#0": "", "3#0": "1", "5#0": "4"}


def test_functional_calls_know_the_module_that_they_come_after(nets: SimpleNamespace) -> None:
    assert after_of(nets.Tied(), torch.randn(3, 8)) == {
        "relu#0": "norm",
        "relu#1": "second",
        "relu#2": "third",
        "relu#3": "fourth",
    }


def test_sites_of_a_resnet18_come_after_their_norm() -> None:
    model = rs.Lab().architectures["torchvision"].build(model="resnet18", num_classes=3)
    after = after_of(model, torch.randn(2, 3, 32, 32))
    assert after["relu#0"] == "bn1"
    assert after["maxpool#0"] == "bn1"
    assert after["layer1.0.relu#0"] == "layer1.0.bn1"
    assert after["layer1.0.relu#1"] == "layer1.0.bn2"
    assert after["layer2.0.relu#1"] == "layer2.0.downsample.1"
    assert len(after) == 18


def test_a_norm_without_parameters_owns_no_site() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5, affine=False), nn.ReLU(), nn.Linear(5, 2))
    assert rs.observe(model, torch.randn(6, 3)).site["2#0"].after == "0"
