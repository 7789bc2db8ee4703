"""The sawtooth network: values, slopes, parameters."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

import reluscope as rs
from reluscope.errors import ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures

SAWTOOTH = Lab(plugins=[architectures]).architectures["sawtooth"]


def folded(x: Fraction, times: int) -> Fraction:
    for _ in range(times):
        x = 2 * x if x <= Fraction(1, 2) else 2 * (1 - x)
    return x


@pytest.mark.parametrize("n", range(1, 9))
def test_values_are_those_of_the_mirror_map(n: int) -> None:
    model = SAWTOOTH.build(compositions=n).double()
    fractions = [Fraction(k, 2 ** (n + 2)) for k in range(2 ** (n + 2) + 1)]
    x = torch.tensor([[float(value)] for value in fractions], dtype=torch.float64)
    assert model(x).flatten().tolist() == [float(folded(value, n)) for value in fractions]


def test_it_is_zero_beyond_the_interval() -> None:
    model = SAWTOOTH.build(compositions=3).double()
    assert not model(torch.tensor([[-7.0], [-0.5], [1.5], [40.0]], dtype=torch.float64)).any()


@pytest.mark.parametrize("n", [1, 4, 16])
def test_slopes_alternate(n: int) -> None:
    """In the middle of interval k of 2^n the slope is 2^n (-1)^k, exactly: as many pieces at least."""
    model = SAWTOOTH.build(compositions=n).double().requires_grad_(False)
    x = ((torch.arange(2**n, dtype=torch.float64) + 0.5) / 2**n).unsqueeze(1).requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x)
    assert torch.equal(slope.flatten(), 2.0**n * (1 - 2 * (torch.arange(2**n, dtype=torch.float64) % 2)))


def test_layers_units_and_parameters() -> None:
    model = SAWTOOTH.build(compositions=5, seed=3)
    again = SAWTOOTH.build(compositions=5, seed=4)
    assert [name for name, _ in model.named_children()][:4] == ["linear1", "relu1", "linear2", "relu2"]
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in model.parameters())
    observation = rs.observe(model.double(), torch.rand(2, 1, dtype=torch.float64))
    assert [observation.pattern[site].shape[1] for site in observation.sites] == [2, 1] * 5


@pytest.mark.parametrize("value", [0, -1, 2.5, True, "3"])
def test_bad_values_are_named(value: object) -> None:
    with pytest.raises(ReluscopeError, match=r"compositions is .*, expected an integer of at least 1"):
        SAWTOOTH.build(compositions=value)
