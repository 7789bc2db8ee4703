"""From the modules of a sequential network to the steps of an integer network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reluscope.errors import NotFiniteError, ReluscopeError
from reluscope.finite import trouble
from reluscope_plugins.architectures.mlp import FlattenFeatures
from reluscope_plugins.number_systems.integer_layers import Precision, Weights
from reluscope_plugins.number_systems.integer_steps import Elementwise, Pooling, Product, Step, check_averaged
from reluscope_plugins.number_systems.psb import PSB

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
IDLE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d)
SUPPORTED = (
    "Linear, Conv2d, ReLU, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d(1), Flatten, Identity, Dropout, and BatchNorm "
    "behind a Linear or Conv2d, in nn.Sequential, nested or not"
)
SAFE = 2.0**31 * (1 - 2.0**-20)
"""Bounds below this fit 32 bits, whatever they lost to rounding."""


def guard_bits_without_overflow(weight: Tensor, bias: Tensor, samples: int, input_bits: int) -> int:
    """Find how far the inputs of a layer can be shifted to the left such that no input and no draw can overflow.

    The greatest G with n sum over the inputs of max(2^(15 + e + 1 + G), 1) < 2^31 for each output, and with room for
    the bias; but no more than lose nothing at all: log2 n - e for the least exponent e.

    Args:
        weight: `(output, ...)`, float64.
        bias: `(output,)`, float64.
        samples: n, a power of two.
        input_bits: Fraction bits of the inputs.

    Returns:
        G; negative where large weights force it.

    Raises:
        ReluscopeError: If there is none.

    Example:
        >>> one = torch.ones(1, dtype=torch.float64)
        >>> guard_bits_without_overflow(one[:, None] / 8, 0 * one, 16, 8)  # 4 - (-3): then nothing is lost
        7
        >>> guard_bits_without_overflow(one[:, None] * 8, 0 * one, 1024, 8)  # 2^10 * 2^15 * 2^4 * 2^1 = 2^30
        1
    """
    rows = weight.flatten(1)
    exponent = rows.frexp().exponent - 1
    used = exponent[rows != 0]
    most = samples.bit_length() - 1 - int(used.min()) if used.numel() else 0
    # a shift to the right rounds down: of a negative number -1 is left
    for guard in range(min(most, 32 - int(used.max()) if used.numel() else 0), -64, -1):
        terms = torch.where(rows != 0, 2.0 ** (16 + guard + exponent).double().clamp(0, 64), 0.0)
        sums = samples * terms.sum(1)
        means = sums / samples + 2 + bias.abs() * 2.0 ** (input_bits + guard)
        if max(sums.max().item(), means.max().item()) < SAFE:
            return guard
    raise ReluscopeError(
        f"{rows.shape[1]} inputs with {samples} samples may overflow 32 bits however they are shifted; give fewer "
        "samples, or guard_bits, and overflows will be counted"
    )


def convert(
    model: nn.Sequential,
    *,
    samples: int,
    fraction_bits: int,
    guard_bits: int | Mapping[str, int] | None,
    own: bool,
    system: PSB,
) -> list[Step]:
    """Convert a network module by module.

    Args:
        model: As `integer_network` takes it.
        samples: Of each product.
        fraction_bits: Of inputs and outputs of every layer.
        guard_bits: Of all layers with weights, or by name; None where they are to be found.
        own: Whether each product has draws of its own.
        system: Encodes and draws the weights.

    Returns:
        The steps, in order.

    Raises:
        ReluscopeError: If a module is not supported, or guard bits are given for a layer that does not exist.
        NotFiniteError: If a parameter is not finite.
    """
    found: list[Step] = []
    modules = [(name, module) for name, module in _leaves(model, "") if type(module) not in IDLE]
    for number, (name, module) in enumerate(modules):
        if type(module) in NORMS:
            continue
        if type(module) not in (nn.Linear, nn.Conv2d):
            found.append(_other(name, module))
            continue
        weight, bias = _folded(name, module, modules[number + 1 : number + 2])
        guard = guard_bits.get(name) if isinstance(guard_bits, Mapping) else guard_bits
        encoded = system.encode(weight)
        try:
            if guard is None:
                guard = guard_bits_without_overflow(encoded.value, bias, samples, fraction_bits)
            integers = _fixed(bias, fraction_bits + guard)
        except ReluscopeError as error:
            raise ReluscopeError(f"layer {name!r}: {error}") from error
        at = Precision(samples, fraction_bits, guard, fraction_bits)
        weights = Weights(encoded.sign, encoded.exponent, integers)
        biased = module.bias is not None or bool(bias.any())
        found.append(Product(name, system, encoded, weights, biased, at, own, _convolution(name, module)))
    _check_norms(modules)
    if isinstance(guard_bits, Mapping):
        named = [step.name for step in found if isinstance(step, Product)]
        for name in guard_bits:
            if name not in named:
                raise ReluscopeError(f"guard_bits: there is no layer {name!r} with weights, expected among {named}")
    return found


def _leaves(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    if type(module) is not nn.Sequential:
        yield path, module
        return
    for name, child in module._modules.items():  # named_children leaves out a module's second place
        if child is not None:
            yield from _leaves(child, f"{path}.{name}" if path else name)


def _folded(name: str, module: Any, behind: list[tuple[str, nn.Module]]) -> tuple[Tensor, Tensor]:
    # weight and bias in float64, with the batch normalisation behind the layer if there is one
    tensors = {f"{name}.{key}": value for key, value in module.named_parameters()}
    norm: Any = behind[0][1] if behind and _fits(module, behind[0][1]) else None
    if norm is not None:
        tensors |= {f"{behind[0][0]}.{key}": value for key, value in norm.state_dict().items()}
    for key, value in tensors.items():
        if value.is_floating_point() and (what := trouble(value)):
            raise NotFiniteError(f"parameter {key!r} holds {what}; expected finite values; train anew, or go back")
    weight = module.weight.detach().cpu().double()
    outputs = len(weight)
    bias = weight.new_zeros(outputs) if module.bias is None else module.bias.detach().cpu().double()
    if norm is None:
        return weight, bias
    scale = (norm.running_var.cpu().double() + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach().cpu().double()
    bias = (bias - norm.running_mean.cpu().double()) * scale
    if norm.affine:
        bias = bias + norm.bias.detach().cpu().double()
    return weight * scale.reshape(-1, *[1] * (weight.dim() - 1)), bias


def _fits(module: nn.Module, norm: nn.Module) -> bool:
    kind = {nn.Linear: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d}.get(type(module))
    return type(norm) is kind and getattr(norm, "running_mean", None) is not None


def _check_norms(modules: list[tuple[str, nn.Module]]) -> None:
    for number, (name, module) in enumerate(modules):
        if type(module) in NORMS and not (number and _fits(modules[number - 1][1], module)):
            raise ReluscopeError(
                f"layer {name!r}: {type(module).__name__} can only be folded into a Linear or Conv2d of its dimension "
                "directly before it, and with running statistics; put it there"
            )


def _fixed(bias: Tensor, bits: int) -> Tensor:
    scaled = torch.round(bias * 2.0**bits)
    if (scaled.abs() >= 2.0**31).any():
        raise ReluscopeError(
            f"a bias of {bias.abs().max().item():.3g} does not fit 32 bits of which {bits} lie behind the point; give "
            "fewer guard bits or fraction bits"
        )
    return scaled.to(torch.int32)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _convolution(name: str, module: Any) -> dict[str, tuple[int, int] | int] | None:
    if isinstance(module, nn.Linear):
        return None
    if module.padding_mode != "zeros":
        raise ReluscopeError(f"layer {name!r}: got padding_mode {module.padding_mode!r}, expected 'zeros'")
    padding = module.padding
    if padding == "same":
        reach = [distance * (size - 1) for distance, size in zip(module.dilation, module.kernel_size, strict=True)]
        if any(each % 2 for each in reach):
            raise ReluscopeError(
                f"layer {name!r}: padding 'same' of a window {module.kernel_size} is not the same on both sides, "
                "expected an odd window; give the padding in numbers"
            )
        padding = (reach[0] // 2, reach[1] // 2)
    elif padding == "valid":
        padding = (0, 0)
    return {
        "stride": _pair(module.stride),
        "padding": _pair(padding),
        "dilation": _pair(module.dilation),
        "groups": module.groups,
    }


def _other(name: str, module: nn.Module) -> Step:
    make = MAKERS.get(type(module))
    if make is None:
        raise ReluscopeError(
            f"layer {name!r}: there is no integer arithmetic for {type(module).__name__}, expected {SUPPORTED}; leave "
            "it out, or build the network of these"
        )
    return make(name, module)


def _max_pool(name: str, module: Any) -> Step:
    _refuse_ceil_mode(name, module)
    if module.return_indices:
        raise ReluscopeError(f"layer {name!r}: got return_indices, expected a pooling that returns only the values")
    stride, padding, dilation = _pair(module.stride), _pair(module.padding), _pair(module.dilation)
    return Pooling(name, _pair(module.kernel_size), stride, padding, dilation, mean=False)


def _average_pool(name: str, module: Any) -> Step:
    _refuse_ceil_mode(name, module)
    padding, kernel = _pair(module.padding), _pair(module.kernel_size)
    if (any(padding) and not module.count_include_pad) or module.divisor_override is not None:
        raise ReluscopeError(
            f"layer {name!r}: got count_include_pad=False or a divisor_override, expected a mean over all of each "
            "window, which a shift divides"
        )
    check_averaged(name, kernel)
    return Pooling(name, kernel, _pair(module.stride), padding, (1, 1), mean=True)


def _refuse_ceil_mode(name: str, module: Any) -> None:
    if module.ceil_mode:
        raise ReluscopeError(
            f"layer {name!r}: got ceil_mode=True, expected windows within the padded image; leave it out"
        )


def _global_pool(name: str, module: Any) -> Step:
    if module.output_size not in (1, (1, 1)):
        raise ReluscopeError(
            f"layer {name!r}: got output size {module.output_size}, expected 1; use AvgPool2d for others"
        )
    return Pooling(name, None, (1, 1), (0, 0), (1, 1), mean=True)


MAKERS: Mapping[type[nn.Module], Callable[[str, Any], Step]] = {
    nn.ReLU: lambda name, module: Elementwise(name, lambda x: x.clamp(min=0)),
    nn.Flatten: lambda name, module: Elementwise(name, lambda x: x.flatten(module.start_dim, module.end_dim)),
    FlattenFeatures: lambda name, module: Elementwise(name, lambda x: x.flatten(1)),
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: _global_pool,
}
"""Module to what becomes of it, for those without weights."""
