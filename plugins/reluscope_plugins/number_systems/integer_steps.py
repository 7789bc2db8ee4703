"""The steps of an integer network: each takes int16 and gives int16, and counts what it costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from reluscope.errors import ReluscopeError
from reluscope_plugins.number_systems.integer_kernels import round_shift
from reluscope_plugins.number_systems.integer_layers import (
    Outputs,
    Precision,
    Weights,
    integer_conv2d,
    integer_linear,
    output_size,
    windows,
)
from reluscope_plugins.number_systems.psb import PSB, Binarized

DRAWN_AT_ONCE = 1 << 22
"""Draws of each product's own that are held at a time."""
MOST_AVERAGED = 1 << 16
"""A sum of so many numbers of 16 bits fits 32."""


class Cost(NamedTuple):
    """What a step did to a batch, counted as if each sample of each product were shifted and added on its own.

    Attributes:
        additions: Additions and subtractions.
        shifts: Shifts.
        random_bits: Random choices between two shifts.
        overflows: Additions and shifts to the left that did not fit 32 bits.
        saturations: Outputs that did not fit 16 bits.
    """

    additions: int = 0
    shifts: int = 0
    random_bits: int = 0
    overflows: int = 0
    saturations: int = 0


class Step(Protocol):
    """What is done to a batch between two others."""

    @property
    def name(self) -> str:
        """Path of the module in the model."""

    @property
    def guard_bits(self) -> int:
        """How far inputs are shifted ahead of all shifts."""

    def __call__(self, x: Tensor, generator: torch.Generator, *, simulated: bool) -> tuple[Tensor, Cost]:
        """Do it.

        Args:
            x: int16 `(sample, ...)`.
            generator: Where chance comes from.
            simulated: Whether the same is found in float64.

        Returns:
            int16 `(sample, ...)`, and the cost.
        """


@dataclasses.dataclass(frozen=True)
class Product:
    """A linear layer or a convolution.

    Attributes:
        name: Path of the module in the model.
        system: Draws the weights.
        encoded: The weights.
        weights: The same as integers, and the biases.
        biased: Whether there are biases to be added.
        at: Where the binary points lie.
        own: Whether each product has draws of its own; else all that share a weight share its draws.
        convolution: Stride, padding, dilation and groups; None for a linear layer.
    """

    name: str
    system: PSB
    encoded: Binarized
    weights: Weights
    biased: bool
    at: Precision
    own: bool
    convolution: dict[str, tuple[int, int] | int] | None

    @property
    def guard_bits(self) -> int:
        """How far inputs are shifted ahead of all shifts."""
        return self.at.guard_bits

    def __call__(self, x: Tensor, generator: torch.Generator, *, simulated: bool) -> tuple[Tensor, Cost]:
        """Draw the weights and apply the layer.

        Args:
            x: int16 `(sample, input)` or `(sample, channel, height, width)`.
            generator: Where chance comes from.
            simulated: Whether the same is found in float64.

        Returns:
            int16 `(sample, output, ...)`, and the cost.

        Raises:
            ReluscopeError: If the shape of x does not fit.
        """
        positions = self._positions(x)
        every = int(np.prod(positions, dtype=np.int64)) * self.weights.sign.numel()
        size = max(1, DRAWN_AT_ONCE // max(every, 1)) if self.own else max(1, len(x))
        try:
            parts = [self._apply(part, positions, generator, simulated) for part in x.split(size)]
        except ReluscopeError as error:
            raise ReluscopeError(f"layer {self.name!r}: {error}") from error
        found = Outputs(*(torch.cat(each) for each in zip(*parts, strict=True)))
        outputs, drawn = found.values.numel(), int(self.weights.sign.count_nonzero()) * self.at.samples
        products = len(x) * int(np.prod(positions, dtype=np.int64)) * drawn
        return found.values, Cost(
            additions=products + outputs * self.biased,
            shifts=products + outputs * ((self.at.sample_bits > 0) + (self.at.places != 0)),
            random_bits=products if self.own else drawn,
            overflows=int(found.overflows.sum()),
            saturations=int(found.saturated.sum()),
        )

    def _positions(self, x: Tensor) -> tuple[int, ...]:
        if self.convolution is None:
            return ()
        stride, padding, dilation = (self.convolution[key] for key in ("stride", "padding", "dilation"))
        return tuple(output_size(x.shape[2:], self.weights.sign.shape[2:], stride, padding, dilation))  # type: ignore[arg-type]

    def _apply(self, x: Tensor, positions: tuple[int, ...], generator: torch.Generator, simulated: bool) -> Outputs:
        encoded = self.encoded
        if self.own:
            encoded = Binarized(encoded.value.expand(len(x), *positions, *encoded.value.shape))
        counts = self.system.counts(encoded, self.at.samples, generator)
        if self.convolution is None:
            return integer_linear(x, self.weights, counts, self.at, simulated=simulated)
        return integer_conv2d(x, self.weights, counts, self.at, simulated=simulated, **self.convolution)  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class Pooling:
    """The greatest or the mean of each window, channel by channel.

    The mean is the sum in 32 bits, shifted to the right and rounded half to even: windows of 2^k elements only.

    Attributes:
        name: Path of the module in the model.
        kernel: Height and width of a window; None for all of the image.
        stride: Down and across.
        padding: Above and below, left and right: zeros, or for the greatest what is less than all.
        dilation: Down and across.
        mean: Whether the mean is taken.
        guard_bits: None are needed.
    """

    name: str
    kernel: tuple[int, int] | None
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    mean: bool
    guard_bits: int = 0

    def __call__(self, x: Tensor, generator: torch.Generator, *, simulated: bool) -> tuple[Tensor, Cost]:
        """Pool.

        Args:
            x: int16 `(sample, channel, height, width)`.
            generator: Not asked.
            simulated: Whether the same is found in float64.

        Returns:
            int16 `(sample, channel, height, width)`, and the cost; comparisons are not counted.

        Raises:
            ReluscopeError: If x is no image, is smaller than a window, or a mean is over a number of elements that is
                no power of two.
        """
        if x.dim() != 4:
            raise ReluscopeError(
                f"layer {self.name!r}: got shape {tuple(x.shape)}, expected (sample, channel, height, width)"
            )
        kernel = self.kernel or (x.shape[2], x.shape[3])
        size = kernel[0] * kernel[1]
        if self.mean:
            check_averaged(self.name, kernel)
        height, width = output_size(x.shape[2:], kernel, self.stride, self.padding, self.dilation)
        bits = size.bit_length() - 1
        if simulated and self.mean:
            values = F.avg_pool2d(x.double(), kernel, self.stride, self.padding).round().to(torch.int16)
        elif simulated:
            values = F.max_pool2d(x.double(), kernel, self.stride, self.padding, self.dilation).to(torch.int16)
        else:
            fill = 0 if self.mean else np.iinfo(np.int16).min
            margins = ((0, 0), (0, 0), (self.padding[0],) * 2, (self.padding[1],) * 2)
            padded = np.pad(x.numpy(), margins, constant_values=fill)
            seen = windows(padded, kernel, self.stride, self.dilation)
            if self.mean:
                pooled = round_shift(seen.sum(axis=(4, 5), dtype=np.int32), bits).astype(np.int16)
            else:
                pooled = seen.max(axis=(4, 5))
            values = torch.from_numpy(pooled)
        outputs = x.shape[0] * x.shape[1] * height * width
        return values, Cost(outputs * (size - 1), outputs * (bits > 0)) if self.mean else Cost()


def check_averaged(name: str, kernel: tuple[int, int]) -> None:
    """See to it that a mean is a shift.

    Args:
        name: Of the layer.
        kernel: Height and width of a window.

    Raises:
        ReluscopeError: If the number of elements is no power of two.
    """
    size = kernel[0] * kernel[1]
    if size & (size - 1) or size > MOST_AVERAGED:
        raise ReluscopeError(
            f"layer {name!r}: the mean is over {kernel[0]} x {kernel[1]} = {size} elements, expected a power of two up "
            f"to {MOST_AVERAGED}, by which a shift divides; pool windows of such a size, or take the greatest"
        )


@dataclasses.dataclass(frozen=True)
class Elementwise:
    """What costs neither additions nor shifts: comparisons with zero, and another shape.

    Attributes:
        name: Path of the module in the model.
        function: From int16 to int16.
        guard_bits: None are needed.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    guard_bits: int = 0

    def __call__(self, x: Tensor, generator: torch.Generator, *, simulated: bool) -> tuple[Tensor, Cost]:
        """Apply the function.

        Args:
            x: int16 `(sample, ...)`.
            generator: Not asked.
            simulated: No matter.

        Returns:
            int16 `(sample, ...)`, and no cost.
        """
        return self.function(x), Cost()
