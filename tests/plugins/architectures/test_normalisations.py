"""Normalisation layers by name."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.normalisations import NORMALISATIONS, make_normalisation


@pytest.mark.parametrize(("name", "groups"), [("batch", None), ("group", 2), ("group", 3), ("layer", 1)])
def test_values_are_those_of_the_loops(
    name: str, groups: int | None, dense: SimpleNamespace, scrambled: Callable[..., dict[str, np.ndarray]]
) -> None:
    layer = make_normalisation("resnet", name, 6, groups=groups or 8).double().eval()
    p = {f"norm.{key}": value for key, value in scrambled(layer).items()}
    x = torch.randn(3, 6, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = [dense.normalise(image, p, "norm", groups) for image in x.numpy()]
    assert np.allclose(layer(x).detach().numpy(), np.array(expected), atol=1e-12)


def test_batch_statistics_are_taken_in_training() -> None:
    x = torch.randn(5, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 1
    y = make_normalisation("resnet", "batch", 2).double()(x)
    expected = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(y, expected, atol=1e-12)


def test_none_hands_on() -> None:
    x = torch.ones(1, 3, 2, 2)
    layer = make_normalisation("resnet", "none", 3)
    assert layer(x) is x
    assert not layer.state_dict()


@pytest.mark.parametrize(
    ("name", "groups", "message"),
    [
        ("bach", 8, "architecture 'resnet': unknown normalisation 'bach'. Did you mean 'batch'?"),
        (None, 8, "normalisation is None, expected one of 'batch', 'group', 'layer', 'none'"),
        (["batch"], 8, "normalisation is ['batch']"),
        ("group", 5, "groups is 5, expected a divisor of each layer's number of channels (here 16)"),
        ("group", 32, "groups is 32"),
        ("batch", 0, "groups is 0"),
    ],
)
def test_bad_values_are_named(name: Any, groups: int, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make_normalisation("resnet", name, 16, groups=groups)
    assert message in str(caught.value)


def test_names() -> None:
    assert sorted(NORMALISATIONS) == ["batch", "group", "layer", "none"]
