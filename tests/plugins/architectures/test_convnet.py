"""The residual network without its shortcuts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

LAB = Lab(plugins=[architectures])
CONVNET, RESNET = LAB.architectures["convnet"], LAB.architectures["resnet"]


@pytest.mark.parametrize("params", [{}, {"depth": 32}, {"blocks_per_stage": 2, "width": 8, "normalisation": "group"}])
def test_it_is_the_resnet_without_residuals(params: dict[str, Any]) -> None:
    mine, theirs = CONVNET.build(seed=0, **params), RESNET.build(seed=0, residual=False, **params)
    assert list(mine.state_dict()) == list(theirs.state_dict())
    x = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mine(x), theirs(x))


def test_it_differs_from_the_resnet_by_the_shortcuts_alone() -> None:
    plain, residual = CONVNET.build(seed=0).eval(), RESNET.build(seed=0).eval()
    assert {name: value.shape for name, value in plain.state_dict().items()} == {
        name: value.shape for name, value in residual.state_dict().items()
    }
    x = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(plain(x), residual(x))
    # He et al. 2016, table 6: plain networks have as many parameters as residual ones, 0.27 million at depth 20.
    assert sum(parameter.numel() for parameter in plain.parameters()) == 269_722


def test_sites_are_named() -> None:
    observation = rs.observe(CONVNET.build(depth=8, seed=0).eval(), torch.zeros(1, 3, 8, 8))
    assert list(observation.sites) == [
        "stem.relu#0",
        *(f"stage{stage}.block1.relu{number}#0" for stage in (1, 2, 3) for number in (1, 2)),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"depth": 19}, "architecture 'convnet': depth is 19"),
        ({"residual": True}, "unknown parameter 'residual'"),
        ({"width": -1}, "architecture 'convnet': width is -1"),
        ({"normalisation": "group", "groups": 5}, "architecture 'convnet': groups is 5"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        CONVNET.build(**params)
    assert message in str(caught.value)
