"""Which modules of a network can multiply in a number system, and what their weights are."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from reluscope.errors import NotFiniteError, QuantizationError
from reluscope.finite import total, trouble
from reluscope.kernels import Array
from reluscope.quantized_layers import LAYERS, torch_layer

_DIGIT = 16
"""Bits of a magnitude that are found in one go."""
_PART = 1 << 18
"""Weights that are looked at in one go."""


def refusals(model: nn.Module, filter: Callable[[str, nn.Module], bool] | None) -> dict[str, str]:
    """Say of each module with parameters why it cannot be converted.

    Args:
        model: The network, not quantised.
        filter: `(name, module) -> bool`, which layers to convert; None converts all.

    Returns:
        Name to reason, empty where it can be converted, in the order of the model's modules.

    Raises:
        QuantizationError: If the filter is no function.

    Example:
        >>> refusals(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3)), None)
        {'0': '', '1': 'LayerNorm is no linear or convolution layer'}
    """
    if filter is not None and not callable(filter):
        raise QuantizationError(
            f"filter: got {type(filter).__name__}, expected a function (name, module) -> bool, or None"
        )
    fused: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.MultiheadAttention):
            fused[id(module.out_proj)] = "MultiheadAttention multiplies within one fused call"
        if isinstance(module, nn.TransformerEncoderLayer):
            for part in (module.linear1, module.linear2):
                fused[id(part)] = "TransformerEncoderLayer may multiply within one fused call"
        if ".parametrizations." in f".{name}.":
            continue
        own = any(parameter is not None for parameter in module._parameters.values())
        if own or parametrize.is_parametrized(module) or torch_layer(type(module)):
            found[name] = fused.get(id(module)) or _unfit(module)
            if filter is not None and not found[name] and not filter(name, module):
                found[name] = "left out by the filter"
    return found


def _unfit(module: nn.Module) -> str:
    kind = type(module).__name__
    weight = module._parameters.get("weight")
    if parametrize.is_parametrized(module) or (torch_layer(type(module)) and weight is None):
        return "its weight is computed before each pass (a parametrisation, weight or spectral norm, or pruning)"
    if isinstance(module, nn.modules.lazy.LazyModuleMixin) and module.has_uninitialized_params():
        return f"{kind} has no shape yet; pass it a batch first"
    if torch_layer(type(module)) is None:
        derived = isinstance(module, tuple(LAYERS))
        return f"{kind} has methods of its own" if derived else f"{kind} is no linear or convolution layer"
    if weight is None or not weight.is_floating_point():
        return f"{kind} has weights of type {str(getattr(weight, 'dtype', None)).removeprefix('torch.')}"
    if not weight.numel() or weight.is_meta:
        return f"{kind} has an empty weight: shape {tuple(weight.shape)}"
    return ""


def check_finite_weights(layers: Mapping[str, nn.Module]) -> None:
    """See to it that all weights, biases and running statistics are finite.

    Args:
        layers: Name to layer or batch norm.

    Raises:
        NotFiniteError: If one holds NaN or infinity; names it.
    """
    for name, layer in layers.items():
        own = (layer.named_parameters(prefix=name, recurse=False), layer.named_buffers(prefix=name, recurse=False))
        for key, tensor in itertools.chain(*own):
            if math.isfinite(float(total(tensor.detach()))):
                continue
            what = trouble(tensor.detach())
            if what:
                raise NotFiniteError(
                    f"parameter {key!r} holds {what}; expected finite values; training may have diverged: go back to "
                    "an earlier state"
                )


def magnitude_below(layers: Mapping[str, nn.Module], share: float) -> float:
    """Find the magnitude up to which a share of all weights lies.

    Args:
        layers: Name to layer; a weight that several have counts once.
        share: Of all their weights together, from 0 to below 1; of their number times the share the nearest whole
            number counts, at half the even one.

    Returns:
        The greatest magnitude among that share; -1 where the share holds no weight.

    Example:
        >>> layer = nn.Linear(4, 1)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.1, -0.25, 0.5, -2.0]]))
        >>> magnitude_below({"0": layer}, 0.5), magnitude_below({"0": layer}, 0.0)
        (0.25, -1.0)
    """
    weights = {id(layer.weight): layer.get_parameter("weight") for layer in layers.values()}
    kept = round(share * sum(weight.numel() for weight in weights.values()))
    if not kept:
        return -1.0
    wide = any(weight.dtype == torch.float64 for weight in weights.values())
    kind, bits = (torch.float64, 64) if wide else (torch.float32, 32)
    # Magnitudes are ordered as their bits: found from the highest digits down, without a second copy of the weights.
    below, found, left = kept - 1, 0, bits
    while left:
        left -= _DIGIT
        counts = np.zeros(1 << _DIGIT, np.int64)
        for codes in _magnitudes(weights.values(), kind):
            here = codes if left + _DIGIT == bits else codes[codes >> (left + _DIGIT) == found]
            counts += np.bincount((here >> left) & ((1 << _DIGIT) - 1), minlength=len(counts))
        upto = np.cumsum(counts)
        digit = int(np.searchsorted(upto, below, side="right"))
        below -= int(upto[digit] - counts[digit])
        found = found << _DIGIT | digit
    return float(np.array([found], np.int64 if wide else np.int32).view(np.float64 if wide else np.float32)[0])


def _magnitudes(weights: Iterable[torch.Tensor], kind: torch.dtype) -> Iterator[Array]:
    # Of one part after the other: the bits of the magnitudes, which have no sign.
    for weight in weights:
        flat = weight.detach().flatten()
        for first in range(0, len(flat), _PART):
            magnitude = flat[first : first + _PART].abs().to("cpu", kind)
            yield magnitude.view(torch.int64 if kind == torch.float64 else torch.int32).numpy()
