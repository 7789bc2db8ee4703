"""Layers that multiply in a number system: subclasses of torch's, so that a module can be turned into one and back.

A module changes its class, and gets one plain attribute. Its parameters, buffers, hooks and mode are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reluscope.product_draws import noise
from reluscope.weight_draws import Handover, LayerWeights


class Quantized(nn.Module):
    """What the layers share.

    Attributes:
        quantization: What the layer multiplies with.
    """

    quantization: LayerWeights
    product: Any

    def forward(self, input: Tensor, *sizes: Any) -> Tensor:
        """Apply the layer in its number system.

        Args:
            input: As the layer takes it.
            *sizes: Output size, for a transposed convolution.

        Returns:
            As the layer gives it.
        """
        weights, arithmetic = self.quantization, self.quantization.arithmetic
        weights.check(self, input)
        # What is done to the weights and to the precision of the input is none of the network's own calls, for those
        # that listen to them.
        independent = arithmetic.draws == "product" and arithmetic.system.stochastic
        with torch._C.DisableTorchFunction():
            weight, bias = weights.folded(self)
        with weights.rounded(input, weight, bias) as x:
            with torch._C.DisableTorchFunction():
                drawn = weights.expected(self, weight) if independent else weights.drawn(self, weight)
            output: Tensor = self.product(x, drawn, bias, *sizes)
            if independent:
                with torch._C.DisableTorchFunction():
                    difference = noise(self, weights, x, weight, output, *sizes)
                output = output + difference
        if weights.folds():
            weights.handover.done = True
        return output

    def extra_repr(self) -> str:
        """Describe the layer.

        Returns:
            What torch says of it, and in which number system it computes.
        """
        weights = self.quantization
        system = type(weights.arithmetic.system).__name__
        return f"{super().extra_repr()}, system={system}, samples={weights.samples}"


class QuantizedLinear(Quantized, nn.Linear):
    """A linear layer in a number system."""

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Apply the layer with another weight.

        Args:
            x: `(..., in)`.
            weight: `(out, in)`.
            bias: `(out,)`, or None.

        Returns:
            `(..., out)`.
        """
        return F.linear(x, weight, bias)


class _Convolution(Quantized):
    _conv_forward: Any

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        output: Tensor = self._conv_forward(x, weight, bias)
        return output


class QuantizedConv1d(_Convolution, nn.Conv1d):
    """A convolution of sequences in a number system."""


class QuantizedConv2d(_Convolution, nn.Conv2d):
    """A convolution of images in a number system."""


class QuantizedConv3d(_Convolution, nn.Conv3d):
    """A convolution of volumes in a number system."""


class _Transposed(Quantized):
    _function: Any

    def padded(self, x: Tensor, output_size: Any = None) -> list[int]:
        layer: Any = self
        dims = len(layer.kernel_size)
        padding: list[int] = layer._output_padding(
            x, output_size, layer.stride, layer.padding, layer.kernel_size, dims, layer.dilation
        )
        return padding

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        return super().forward(input, output_size)

    def product(self, x: Tensor, weight: Tensor, bias: Tensor | None, output_size: Any = None) -> Tensor:
        layer: Any = self
        extra = self.padded(x, output_size)
        output: Tensor = self._function(
            x, weight, bias, layer.stride, layer.padding, extra, layer.groups, layer.dilation
        )
        return output


class QuantizedConvTranspose1d(_Transposed, nn.ConvTranspose1d):
    """A transposed convolution of sequences in a number system."""

    _function = staticmethod(F.conv_transpose1d)


class QuantizedConvTranspose2d(_Transposed, nn.ConvTranspose2d):
    """A transposed convolution of images in a number system."""

    _function = staticmethod(F.conv_transpose2d)


class QuantizedConvTranspose3d(_Transposed, nn.ConvTranspose3d):
    """A transposed convolution of volumes in a number system."""

    _function = staticmethod(F.conv_transpose3d)


class _Folded(nn.Module):
    handover: Handover

    def forward(self, input: Tensor) -> Tensor:
        done = self.handover.done and not self.training
        self.handover.done = False
        output: Tensor = input if done else super().forward(input)
        return output


class FoldedBatchNorm1d(_Folded, nn.BatchNorm1d):
    """A batch norm that the layer before it does the work of, except in train mode."""


class FoldedBatchNorm2d(_Folded, nn.BatchNorm2d):
    """A batch norm that the layer before it does the work of, except in train mode."""


class FoldedBatchNorm3d(_Folded, nn.BatchNorm3d):
    """A batch norm that the layer before it does the work of, except in train mode."""


LAYERS: Mapping[type[nn.Module], type[Quantized]] = {
    nn.Linear: QuantizedLinear,
    nn.Conv1d: QuantizedConv1d,
    nn.Conv2d: QuantizedConv2d,
    nn.Conv3d: QuantizedConv3d,
    nn.ConvTranspose1d: QuantizedConvTranspose1d,
    nn.ConvTranspose2d: QuantizedConvTranspose2d,
    nn.ConvTranspose3d: QuantizedConvTranspose3d,
}
"""Torch's layer to the same in a number system."""

NORMS: Mapping[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm1d: FoldedBatchNorm1d,
    nn.BatchNorm2d: FoldedBatchNorm2d,
    nn.BatchNorm3d: FoldedBatchNorm3d,
}
"""Torch's batch norm to the folded one."""

PLAIN: Mapping[type[nn.Module], type[nn.Module]] = {new: old for old, new in NORMS.items()}
"""And back."""

_HARMLESS = frozenset(
    "__init__ __module__ __doc__ __qualname__ __annotations__ __firstlineno__ __static_attributes__".split()
)


def torch_layer(kind: type) -> type[nn.Module] | None:
    """Find the layer of torch's that a class is, or is but another constructor of.

    Args:
        kind: Class of a module.

    Returns:
        A key of `LAYERS`; None for what is no such layer, or has methods of its own.

    Example:
        >>> torch_layer(nn.Linear).__name__, torch_layer(nn.Bilinear)
        ('Linear', None)
    """
    for one in kind.__mro__:
        if one in LAYERS:
            return one
        own = {key: value for key, value in vars(one).items() if key not in _HARMLESS}
        if any(not isinstance(value, staticmethod) for value in own.values()):
            return None
    return None
