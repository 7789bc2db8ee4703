"""Weights part by part against the whole, in every layout, and codes in the memory of their weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from reluscope.lab import Lab
from reluscope_plugins.number_systems import layer_parts
from reluscope_plugins.number_systems.bf16 import BF16
from reluscope_plugins.number_systems.fixed16 import Fixed16
from reluscope_plugins.number_systems.layer_parts import by_parts, parts, summed
from reluscope_plugins.number_systems.psb import PSB

Layout = Callable[[torch.Tensor], torch.Tensor]
LAYOUTS: dict[str, Layout] = {
    "plain": lambda w: w,
    "channels last": lambda w: w.to(memory_format=torch.channels_last),
    "transposed": lambda w: w.transpose(0, 2),
    "sliced": lambda w: w[::2, 1:, :, ::2],
    "expanded": lambda w: w[:, :1].expand(-1, 3, -1, -1),
    "one wide": lambda w: w[:, :1],
    "stretched": lambda w: w[:1, :1, :1, :1].as_strided((1, 1), (7, 9)),
    "scalar": lambda w: w[0, 0, 0, 0],
    "empty": lambda w: w[:0],
}
NAMES = sorted(Lab().number_systems)


@pytest.fixture(params=LAYOUTS)
def weight(request: pytest.FixtureRequest) -> torch.Tensor:
    """Multiples of 2^-19 up to 2, of which sums are exact in any order."""
    numbers = torch.randint(1 - 2**20, 2**20, (4, 6, 3, 5), generator=torch.Generator().manual_seed(0))
    numbers[0, 0, 0, 0] = numbers[0, 1, 0, 0] = 2**20
    return LAYOUTS[request.param](numbers / 2**19)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_parts, "PART", 7)


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[first.element_size()]
    return first.dtype == second.dtype and torch.equal(first.view(bits), second.view(bits))


def third(weight: torch.Tensor) -> torch.Tensor:
    return weight / 3


@pytest.mark.usefixtures("small")
def test_parts_are_all_of_the_tensor(weight: torch.Tensor) -> None:
    found = parts(weight)
    assert all(len(part) <= 7 for part in found)
    assert torch.equal(torch.cat(found).sort().values, weight.flatten().sort().values)


@pytest.mark.usefixtures("small")
def test_functions_by_parts_are_those_of_the_whole(weight: torch.Tensor) -> None:
    before, expected = weight.clone(), third(weight)
    new = by_parts(weight, third)
    assert same(new, expected)
    assert new.is_contiguous()
    like = by_parts(weight, third, torch.empty_like(weight, dtype=torch.float64))
    assert torch.equal(like, expected.double())
    assert like.stride() == torch.empty_like(weight).stride()
    for wide in (weight, weight.double()):
        assert summed(wide, torch.abs).item() == sum(map(abs, weight.flatten().tolist()))
    assert torch.equal(weight, before)


@pytest.mark.parametrize("name", NAMES)
def test_systems_encode_by_parts_as_the_whole(name: str, weight: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"psb": {"probability_bits": 2, "exponent_bits": 2}}.get(name, {})
    system = Lab().number_systems[name].build(**parameters)
    for wide in (weight, weight.double()):
        whole = system.encode(wide)
        expected = system.decode(whole), system.variance(whole, 3)
        monkeypatch.setattr(layer_parts, "PART", 7)
        coded = system.encode(wide)
        found = system.decode(coded), system.variance(coded, 3)
        monkeypatch.undo()
        assert all(map(same, found, expected))
        assert [one.stride() for one in found] == [one.stride() for one in expected]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "system", [PSB(2, 2), PSB(2), PSB(exponent_bits=2), PSB(), BF16(), Fixed16(15)], ids=lambda one: type(one).__name__
)
def test_encoding_over_the_weight_encodes_the_same(system: PSB | BF16 | Fixed16, weight: torch.Tensor) -> None:
    expected = system.encode(weight.clone())
    place = weight.data_ptr()
    encoded = system.encode_over(weight)
    assert same(encoded.value, expected.value)
    assert encoded.value.data_ptr() == place or not weight.is_contiguous()
    assert getattr(encoded, "saturated", 0) == getattr(expected, "saturated", 0)
