"""Independent draws of a weight for every multiplication, as a circuit would have them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from reluscope.weight_draws import LayerWeights, straight_through

_CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
_TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def noise(layer: Any, weights: LayerWeights, x: Tensor, weight: Tensor, mean: Tensor, *sizes: Any) -> Tensor:
    r"""Draw by how much a layer's output differs from its mean if every multiplication draws its own weight.

    $\sum_i x_i (\tilde W_i - W_i)$ for each output. Up to `Arithmetic.exact_products` multiplications each
    $\tilde W_i$ is drawn. Beyond, the sum of many independent terms is taken as normal, of the variance
    $\sum_i x_i^2 \operatorname{Var} \tilde W_i$.

    Args:
        layer: The layer.
        weights: What it multiplies with.
        x: Its input, rounded.
        weight: Its folded weight, within the graph.
        mean: Its output with the mean of the weights.
        *sizes: Output size that a transposed convolution was asked for, if any.

    Returns:
        As `mean`. The gradient of an exact sum is that with the drawn weights; a normal one has none.
    """
    arithmetic = weights.arithmetic
    transposed = getattr(layer, "transposed", False)
    rows = x.numel() // layer.in_channels if transposed else mean.numel() // max(1, _outputs(layer))
    if rows * weight.numel() > arithmetic.exact_products:
        return _normal(layer, weights, x, weight, *sizes)
    system = arithmetic.system
    with torch.inference_mode(False), torch.no_grad():
        _, value = weights.encoded(layer, weight)
        copies = value.expand(rows, *value.shape).contiguous()
        encoded = system.encode(copies)
        drawn = system.draw(encoded, weights.samples, arithmetic.generator_on(value.device)).to(weight.dtype)
        expected = system.mean(encoded).to(weight.dtype)
    deviation = straight_through(weight.expand_as(drawn), drawn) - straight_through(weight.expand_as(drawn), expected)
    if not hasattr(layer, "kernel_size"):
        return torch.einsum("roi,ri->ro", deviation, x.reshape(rows, -1)).reshape(mean.shape)
    return (_scattered if transposed else _gathered)(layer, x, deviation, *sizes).reshape(mean.shape)


def _outputs(layer: Any) -> int:
    return int(layer.out_channels if hasattr(layer, "out_channels") else layer.out_features)


def output_variance(layer: Any, weights: LayerWeights, x: Tensor, weight: Tensor, *sizes: Any) -> Tensor:
    r"""Return the variance of a layer's outputs if every multiplication draws its own weight.

    $\sum_i x_i^2 \operatorname{Var} \tilde W_i$ for each output.

    Args:
        layer: The layer.
        weights: What it multiplies with.
        x: Its input, rounded.
        weight: Its folded weight.
        *sizes: Output size that a transposed convolution was asked for, if any.

    Returns:
        As the layer's output; float32 where that is of half precision, which has no room for squares.
    """
    wide = torch.promote_types(weight.dtype, torch.float32)
    encoded, _ = weights.encoded(layer, weight.to(wide))
    variance = weights.arithmetic.system.variance(encoded, weights.samples)
    total: Tensor = layer.product(x.to(wide) ** 2, variance, None, *sizes)
    return total.clamp_(min=0)


def _normal(layer: Any, weights: LayerWeights, x: Tensor, weight: Tensor, *sizes: Any) -> Tensor:
    with torch.no_grad():
        total = output_variance(layer, weights, x, weight, *sizes)
        generator = weights.arithmetic.generator_on(total.device)
        normal = torch.randn(total.shape, generator=generator, device=total.device, dtype=total.dtype)
        return normal.mul_(total.sqrt_()).to(weight.dtype)


def _unit(layer: Any, channels: int, like: Tensor) -> Tensor:
    # Of each channel one output for each place of the kernel.
    places = math.prod(layer.kernel_size)
    unit = torch.eye(places, dtype=like.dtype, device=like.device).reshape(places, 1, *layer.kernel_size)
    return unit.repeat(channels, *[1] * (unit.ndim - 1))


def _gathered(layer: Any, x: Tensor, deviation: Tensor) -> Tensor:
    # deviation: (sample and position, out, in of a group, *kernel)
    dims = len(layer.kernel_size)
    x, padding = x.reshape(-1, *x.shape[-dims - 1 :]), layer.padding
    if layer.padding_mode != "zeros":
        x, padding = F.pad(x, layer._reversed_padding_repeated_twice, mode=layer.padding_mode), 0
    convolve: Any = _CONVOLUTIONS[dims - 1]
    channels = layer.in_channels
    patches = convolve(x, _unit(layer, channels, x), None, layer.stride, padding, layer.dilation, channels)
    patches = patches.reshape(len(x), layer.groups, -1, math.prod(patches.shape[2:]))
    blocks = deviation.reshape(len(x), patches.shape[-1], layer.groups, layer.out_channels // layer.groups, -1)
    return torch.einsum("ngip,npgoi->ngop", patches, blocks)


def _scattered(layer: Any, x: Tensor, deviation: Tensor, output_size: Any = None) -> Tensor:
    # deviation: (sample and position, in, out of a group, *kernel)
    dims = len(layer.kernel_size)
    x = x.reshape(-1, *x.shape[-dims - 1 :])
    positions, outputs = math.prod(x.shape[2:]), layer.out_channels
    blocks = deviation.reshape(len(x), positions, layer.groups, layer.in_channels // layer.groups, -1)
    products = torch.einsum("ngip,npgik->ngkp", x.reshape(len(x), layer.groups, -1, positions), blocks)
    scatter: Any = _TRANSPOSED[dims - 1]
    return torch.as_tensor(
        scatter(
            products.reshape(len(x), -1, *x.shape[2:]),
            _unit(layer, outputs, x),
            None,
            layer.stride,
            layer.padding,
            layer.padded(x, output_size),
            outputs,
            layer.dilation,
        )
    )
