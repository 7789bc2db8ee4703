"""Linear layers and convolutions with stochastic weights on fixed-point numbers of 16 bits."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from reluscope.errors import ReluscopeError
from reluscope.kernels import shared_out
from reluscope_plugins.number_systems.integer_kernels import Array, accumulate, saturate
from reluscope_plugins.number_systems.integer_simulation import simulate_capacitor, simulate_sums

MOST_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Precision:
    """Where the binary points lie in a layer, and how often each product is sampled.

    An input x stands for x 2^-input_bits, an output y for y 2^-output_bits; in between, the accumulator has
    `input_bits + guard_bits` bits behind the point.

    Attributes:
        samples: Samples of a product, a power of two.
        input_bits: Fraction bits of the inputs.
        guard_bits: How far inputs are shifted to the left ahead of all shifts, so that those to the right lose less.
        output_bits: Fraction bits of the outputs.

    Raises:
        ReluscopeError: If the number of samples is not a power of two, or too large.

    Example:
        >>> Precision(samples=16, input_bits=8, guard_bits=6, output_bits=8).places
        6
        >>> Precision(samples=12, input_bits=8, guard_bits=6, output_bits=8)
        Traceback (most recent call last):
        reluscope.errors.ReluscopeError: samples: got 12, expected a power of two within 1..65536, such as 16, ...
    """

    samples: int
    input_bits: int
    guard_bits: int
    output_bits: int

    def __post_init__(self) -> None:
        known = isinstance(self.samples, numbers.Integral) and not isinstance(self.samples, bool)
        if not known or not 1 <= self.samples <= MOST_SAMPLES or self.samples & (self.samples - 1):
            raise ReluscopeError(
                f"samples: got {self.samples!r}, expected a power of two within 1..{MOST_SAMPLES}, such as 16, "
                "since the mean over the samples is a shift"
            )
        object.__setattr__(self, "samples", int(self.samples))

    @property
    def sample_bits(self) -> int:
        """log2 of the number of samples."""
        return self.samples.bit_length() - 1

    @property
    def places(self) -> int:
        """By how many bits an accumulator is shifted to the right to become an output."""
        return self.input_bits + self.guard_bits - self.output_bits


class Weights(NamedTuple):
    """A layer's weights s 2^e (1 + K / n), apart from K, and its biases.

    Attributes:
        sign: int8, of a layer's weight's shape; 0 where the weight is 0.
        exponent: int16, of the same shape.
        bias: int32 `(output,)`, with as many fraction bits as the accumulator.
    """

    sign: Tensor
    exponent: Tensor
    bias: Tensor


class Outputs(NamedTuple):
    """What a layer gives.

    Attributes:
        values: int16 `(sample, output, ...)`.
        accumulators: int32, of the same shape: the means over the samples with the biases.
        overflows: Of the same shape: how many additions and shifts overflowed on the way (integer arithmetic), or
            whether some did in every order of the additions (simulation).
        possible: Of the same shape, bool: whether some overflow, in some order of the additions.
        saturated: Of the same shape, bool.
    """

    values: Tensor
    accumulators: Tensor
    overflows: Tensor
    possible: Tensor
    saturated: Tensor


def windows(x: Array, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Array:
    """Find the window of each output of a convolution or pooling.

    Args:
        x: `(sample, channel, height, width)`, padded.
        kernel: Height and width of a window.
        stride: From a window to the next.
        dilation: From an element of a window to the next.

    Returns:
        A view `(sample, channel, height, width, kernel height, kernel width)`.
    """
    reach = tuple(distance * (size - 1) + 1 for size, distance in zip(kernel, dilation, strict=True))
    seen = sliding_window_view(x, reach, axis=(2, 3))
    return seen[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def integer_linear(x: Tensor, weights: Weights, counts: Tensor, at: Precision, *, simulated: bool = False) -> Outputs:
    """Apply a linear layer.

    y = saturate(round((((sum over inputs, samples of s (x << (e + B + G))) >> log2 n) + b) 2^-places)), in
    accumulators of 32 bits; shifts to the right round down, the last one half to even.

    Args:
        x: int16 `(sample, input)`.
        weights: Of shape `(output, input)`.
        counts: How many of the samples have B = 1: `(output, input)`, or `(sample, output, input)` for draws of each
            product's own.
        at: Where the binary points lie.
        simulated: Whether the same is found in float64, by matrix products.

    Returns:
        `(sample, output)`.

    Raises:
        ReluscopeError: If types or shapes do not fit.

    References:
        Hartmann 2025, eq. 4.9.

    Example:
        >>> sign, exponent = torch.tensor([[1, -1]], dtype=torch.int8), torch.tensor([[0, -1]], dtype=torch.int16)
        >>> weights = Weights(sign, exponent, torch.zeros(1, dtype=torch.int32))
        >>> x, counts = torch.tensor([[100, 40]], dtype=torch.int16), torch.tensor([[2, 1]])
        >>> at = Precision(samples=4, input_bits=0, guard_bits=4, output_bits=0)
        >>> integer_linear(x, weights, counts, at).values.item()  # 100 * 1.5 - 40 * 0.625
        125
    """
    _check(x, weights, counts, at, (len(x),), ("sample", "input"))
    if x.shape[1] != weights.sign.shape[1]:
        raise ReluscopeError(f"x has {x.shape[1]} inputs, expected the {weights.sign.shape[1]} of the weights")
    grouped = Weights(weights.sign[None], weights.exponent[None], weights.bias[None])
    found = _apply(x[:, None], grouped, counts.reshape(-1, 1, *weights.sign.shape), at, simulated)
    return Outputs(*(each[:, 0] for each in found))


def integer_conv2d(
    x: Tensor,
    weights: Weights,
    counts: Tensor,
    at: Precision,
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    simulated: bool = False,
) -> Outputs:
    """Apply a two-dimensional convolution: `integer_linear` on each window.

    Args:
        x: int16 `(sample, channel, height, width)`.
        weights: Of shape `(output, channel of the group, kernel height, kernel width)`.
        counts: How many of the samples have B = 1: of the weights' shape, or with `(sample, height, width)` of the
            output ahead of it, for draws of each product's own.
        at: Where the binary points lie.
        stride: Down and across.
        padding: Zeros above and below, left and right.
        dilation: Down and across.
        groups: Into so many parts channels are divided, each with outputs of its own.
        simulated: Whether the same is found in float64, by matrix products.

    Returns:
        `(sample, output, height, width)`.

    Raises:
        ReluscopeError: If types or shapes do not fit.

    References:
        Hartmann 2025, eq. 4.9.

    Example:
        >>> sign, exponent = torch.ones(1, 1, 2, 2, dtype=torch.int8), torch.zeros(1, 1, 2, 2, dtype=torch.int16)
        >>> weights = Weights(sign, exponent, torch.zeros(1, dtype=torch.int32))
        >>> x = torch.arange(9, dtype=torch.int16).reshape(1, 1, 3, 3)
        >>> at = Precision(samples=1, input_bits=0, guard_bits=0, output_bits=0)
        >>> integer_conv2d(x, weights, torch.zeros(1, 1, 2, 2, dtype=torch.int64), at).values[0, 0].tolist()
        [[8, 12], [20, 24]]
    """
    height, width = output_size(x.shape[2:], weights.sign.shape[2:], stride, padding, dilation)
    _check(x, weights, counts, at, (len(x), height, width), ("sample", "channel", "height", "width"))
    outputs, channels = weights.sign.shape[:2]
    if x.shape[1] != channels * groups or outputs % groups:
        raise ReluscopeError(
            f"x has {x.shape[1]} channels, expected {channels} for each of {groups} groups; the {outputs} outputs must "
            "be divisible by the groups"
        )
    padded = np.pad(x.cpu().numpy(), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    seen = windows(padded, weights.sign.shape[2:], stride, dilation).transpose(0, 2, 3, 1, 4, 5)
    rows = torch.from_numpy(seen.copy()).to(x.device).reshape(len(x) * height * width, groups, -1)
    shape = (groups, outputs // groups, -1)
    grouped = Weights(weights.sign.reshape(shape), weights.exponent.reshape(shape), weights.bias.reshape(groups, -1))
    found = _apply(rows, grouped, counts.reshape(-1, *grouped.sign.shape), at, simulated)
    return Outputs(*(each.reshape(len(x), height, width, outputs).movedim(3, 1) for each in found))


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Find height and width of what a convolution or pooling gives.

    Args:
        size: Height and width of the input.
        kernel: Of a window.
        stride: Down and across.
        padding: Above and below, left and right.
        dilation: Down and across.

    Returns:
        Height and width.

    Raises:
        ReluscopeError: If the window is larger than the padded input.

    Example:
        >>> output_size([8, 8], [3, 3], [2, 2], [1, 1], [1, 1])
        [4, 4]
    """
    found = [
        (length + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) // stride[axis] + 1
        for axis, length in enumerate(size[:2])
    ]
    if len(size) != 2 or min(found) < 1:
        raise ReluscopeError(
            f"got images of {tuple(size)}, expected height and width that a window {tuple(kernel)} fits"
        )
    return found


def _check(
    x: Tensor, weights: Weights, counts: Tensor, at: Precision, rows: tuple[int, ...], dims: tuple[str, ...]
) -> None:
    if x.dtype != torch.int16 or x.dim() != len(dims):
        raise ReluscopeError(f"x: got {x.dtype} {tuple(x.shape)}, expected torch.int16 ({', '.join(dims)})")
    shape = weights.sign.shape
    expected = ((weights.sign, torch.int8, shape), (weights.exponent, torch.int16, shape))
    for name, (tensor, dtype, size) in zip(
        Weights._fields, (*expected, (weights.bias, torch.int32, shape[:1])), strict=True
    ):
        if tensor.dtype != dtype or tensor.shape != size:
            raise ReluscopeError(f"{name}: got {tensor.dtype} {tuple(tensor.shape)}, expected {dtype} {tuple(size)}")
    if counts.is_floating_point() or counts.shape not in (shape, (*rows, *shape)):
        raise ReluscopeError(
            f"counts: got {counts.dtype} {tuple(counts.shape)}, expected integers {tuple(shape)}, or {(*rows, *shape)} "
            "for draws of each product's own"
        )
    if counts.numel() and not 0 <= int(counts.min()) <= int(counts.max()) <= at.samples:
        raise ReluscopeError(
            f"counts: got {int(counts.min())}..{int(counts.max())}, expected within 0..{at.samples}, the samples"
        )


def _apply(rows: Tensor, weights: Weights, counts: Tensor, at: Precision, simulated: bool) -> tuple[Tensor, ...]:
    # rows (row, group, input), weights (group, output, input), counts (row or 1, group, output, input)
    if simulated:
        sums = simulate_sums(rows, weights.sign, weights.exponent, counts, at.samples, at.guard_bits)
        outputs, capped, final = simulate_capacitor(sums, weights.bias, at.sample_bits, at.places)
        return outputs, final.total.to(torch.int32), final.certain, final.possible, capped
    sign, exponent, bias = (each.cpu().contiguous().numpy() for each in weights)
    drawn = np.broadcast_to(counts.cpu().numpy(), (len(rows), *weights.sign.shape))
    inputs = rows.cpu().contiguous().numpy()
    shape = (len(rows), *sign.shape[:2])
    totals, overflows = np.empty(shape, np.int32), np.empty(shape, np.int64)

    def part(some: slice) -> bool:
        accumulate(inputs[some], sign, exponent, drawn[some], at.samples, at.guard_bits, totals[some], overflows[some])
        return True

    shared_out(len(rows), part, len(rows) * sign.size * at.samples)
    exact = (totals >> np.int32(at.sample_bits)).astype(np.int64) + bias
    accumulators = exact.astype(np.int32)
    overflows += accumulators != exact
    values, saturated = saturate(accumulators, at.places)
    arrays = (values, accumulators, overflows, overflows > 0, saturated)
    return tuple(torch.from_numpy(each).to(rows.device) for each in arrays)
