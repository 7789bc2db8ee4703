"""Inputs that are rounded in memory that is used again: nobody sees the difference."""

from __future__ import annotations

import copy
import threading
from typing import Any

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

import reluscope as rs
from reluscope.quantization import quantized_layers
from reluscope.quantization_report import input_saturation
from reluscope_plugins.number_systems.grid_rounding import nearest_on_grid


def network(**conversion: Any) -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 3), nn.Flatten(), nn.Linear(72, 5), nn.Linear(5, 4)
    ).eval()
    rs.quantize_(model, "float32", **conversion)
    return model


def batch(size: int = 7) -> torch.Tensor:
    return 50 * torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def by_hand(model: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    plain = copy.deepcopy(model)
    rs.restore_(plain)
    for layer in plain:
        if hasattr(layer, "weight"):
            x = (x * 256).round().clamp(-(2**15), 2**15 - 1) / 256
        x = layer(x)
    return x


def test_outputs_are_those_of_inputs_rounded_in_memory_of_their_own() -> None:
    model, x = network(), batch()
    before = x.clone()
    with torch.no_grad():
        expected = by_hand(model, x)
        assert torch.equal(model(x), expected)
        assert torch.equal(model(x[:3]), by_hand(model, x[:3]))
    assert torch.equal(x, before)
    assert torch.equal(model(x).detach(), expected)


def test_layers_use_the_memory_again_and_the_last_one_frees_it(monkeypatch: Any) -> None:
    from reluscope import rounded_inputs

    asked: list[int] = []
    empty = torch.empty

    def counted(size: int, **kwargs: Any) -> torch.Tensor:
        asked.append(size)
        return empty(size, **kwargs)

    model = network()
    monkeypatch.setattr(rounded_inputs.torch, "empty", counted)
    with torch.no_grad():
        model(batch())
    # the second layer's input is larger than the first's, the others' are smaller
    assert [size for size in asked if isinstance(size, int)] == [7 * 3 * 64, 7 * 6 * 64]
    scratch = model[0].quantization.arithmetic.scratch
    assert scratch._spare == []
    scratch._spare.append(torch.ones(9))
    assert copy.deepcopy(model)[0].quantization.arithmetic.scratch._spare == []


def test_who_listens_may_keep_what_it_sees() -> None:
    class Keep(TorchFunctionMode):
        def __init__(self) -> None:
            self.kept: list[tuple[torch.Tensor, torch.Tensor]] = []

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.conv2d, torch.nn.functional.conv2d):
                self.kept.append((args[0], args[0].clone()))
            return func(*args, **(kwargs or {}))

    keep = Keep()
    with torch.no_grad(), keep:
        network()(batch())
    assert len(keep.kept) == 2
    assert all(torch.equal(seen, copied) for seen, copied in keep.kept)


def test_gradients_are_those_of_rounded_inputs() -> None:
    model, x = network(), batch()
    first = model[0].weight
    (got,) = torch.autograd.grad(model(x).square().sum(), first)
    rounded = ((x * 256).round().clamp(-(2**15), 2**15 - 1) / 256).detach()
    inner = nn.Sequential(*model[1:])
    output = inner(nn.functional.conv2d(rounded, first, model[0].bias, padding=1))
    (expected,) = torch.autograd.grad(output.square().sum(), first)
    assert torch.equal(got, expected)


def test_threads_do_not_share_it() -> None:
    model = network()
    inputs = [batch(size) for size in (4, 5, 6, 7)]
    with torch.no_grad():
        expected = [model(x) for x in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        with torch.no_grad():
            for _ in range(50):
                if not torch.equal(model(inputs[index]), expected[index]):
                    wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_saturated_inputs_are_counted() -> None:
    model, x = network(), batch()
    with torch.no_grad():
        model(x)
        model(x)
    expected, value = [], x
    plain = copy.deepcopy(model)
    rs.restore_(plain)
    for layer in plain:
        if hasattr(layer, "weight"):
            scaled = value * 256
            expected.append(2 * int(((scaled < -(2**15) - 0.5) | (scaled >= 2**15 - 0.5)).sum()))
            value = scaled.round().clamp(-(2**15), 2**15 - 1) / 256
        value = layer(value)
    found = input_saturation(quantized_layers(model))
    assert found.saturated.values.tolist() == expected
    assert expected[0] > 0
    assert found.inputs.values.tolist() == [2 * 7 * 192, 2 * 7 * 384, 2 * 7 * 72, 2 * 7 * 5]


def test_memory_of_inference_mode_is_lent_outside_of_it() -> None:
    network = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).bfloat16()
    rs.quantize_(network, "float32")
    x = torch.randn(2, 4).bfloat16()
    with torch.inference_mode():
        network[:2](x)
        expected = network(x).clone()
        network[:2](x)  # ends ahead of the layer that frees the memory
    with torch.no_grad():
        assert torch.equal(network(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_keep_their_layout_in_memory(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).to(dtype)
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    rs.quantize_(network, "float32")
    seen: list[bool] = []
    with torch.no_grad():
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        product = network[2].product
        network[2].product = lambda value, *rest: (
            seen.append(value.is_contiguous(memory_format=torch.channels_last)) or product(value, *rest)
        )
        found = network(x.to(memory_format=torch.channels_last))
    assert seen == [True]
    torch.testing.assert_close(found, expected)
    for laid in (x.transpose(1, 3), x[:, ::2], x[:1, :1], x.expand(2, 3, 8, 8)[:, :, 1:, ::3]):
        rounded, _, finite = nearest_on_grid(laid, 4, -100, 100)
        assert finite
        assert torch.equal(rounded, nearest_on_grid(laid.contiguous(), 4, -100, 100)[0])
