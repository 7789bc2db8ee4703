"""Fixed point with 16 bits: what intermediate results are rounded to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from reluscope.errors import RecipeError
from reluscope.quantization_arguments import whole_number
from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.deterministic import Deterministic
from reluscope_plugins.number_systems.grid_rounding import nearest_on_grid
from reluscope_plugins.number_systems.layer_parts import parts

LEAST, MOST = -(1 << 15), (1 << 15) - 1


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    """Values on a grid of fixed width.

    Attributes:
        value: The represented numbers, float32 or float64.
        fraction_bits: Bits after the point: the grid's width is 2^-fraction_bits.
        saturated: How many values lay beyond the grid and became its end.
    """

    value: torch.Tensor
    fraction_bits: int
    saturated: int

    @property
    def codes(self) -> torch.Tensor:
        """The integers that are stored, int16."""
        return (self.value * 2.0**self.fraction_bits).to(torch.int16)


class Fixed16(Deterministic):
    """Sixteen bits, some of them after the point.

    The number is k 2^-f with an integer k from -2^15 to 2^15 - 1: the nearest one, at half the even one, and beyond the
    grid its end.

    Args:
        fraction_bits: f, from 0 to 15.

    Example:
        >>> encoded = Fixed16().encode(torch.tensor([0.1, 500.0]))
        >>> encoded.codes, encoded.saturated
        (tensor([   26, 32767], dtype=torch.int16), 1)

    References:
        Hartmann 2025, section 4.2.1: intermediate results are quantized to 16-bit integers.
    """

    bits = 16
    operations: Mapping[str, float] = {"multiply_add": 1}

    def __init__(self, fraction_bits: int = 8) -> None:
        self.fraction_bits = whole_number("fraction_bits", fraction_bits, 0, 15, error=RecipeError)

    def encode(self, weight: torch.Tensor) -> FixedPoint:
        """Round to the grid.

        Args:
            weight: Or intermediate results: floating point, any shape, finite.

        Returns:
            The code; half precision in float32.

        Raises:
            NotFiniteError: If a value is not finite.
        """
        if weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64):
            return self._on_grid(weight, None)
        weight, step = finite_weight(weight), 2.0**-self.fraction_bits
        if not weight.numel():
            return FixedPoint(weight, self.fraction_bits, 0)
        # nearest, half to even, then the ends: in one pass, and exact as the step is a power of two
        value = torch.fake_quantize_per_tensor_affine(weight, step, 0, LEAST, MOST)
        low, high = torch.aminmax(weight)
        saturated = 0
        if low < (LEAST - 0.5) * step or high >= (MOST + 0.5) * step:
            saturated = int(((weight < (LEAST - 0.5) * step) | (weight >= (MOST + 0.5) * step)).sum())
        return FixedPoint(value, self.fraction_bits, saturated)

    def encode_into(self, weight: torch.Tensor, out: torch.Tensor) -> FixedPoint:
        """Round to the grid, in memory that is there.

        Args:
            weight: As for `encode`.
            out: Of the shape, dtype and device of `weight`, laid out alike; overwritten with the represented numbers.

        Returns:
            The code, whose value is `out`.

        Raises:
            NotFiniteError: If a value is not finite.
        """
        if weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.float64):
            return self._on_grid(weight, out)
        encoded = self.encode(weight)
        return dataclasses.replace(encoded, value=out.copy_(encoded.value))

    def encode_over(self, weight: torch.Tensor) -> FixedPoint:
        """Encode as `encode` does, in the memory of the weight, which is lost.

        Args:
            weight: As for `encode`.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a value is not finite.
        """
        value, saturated = finite_weight(weight), 0
        if not value.is_contiguous():
            return self.encode(value)
        for part in parts(value):
            encoded = self.encode(part)
            part.copy_(encoded.value)
            saturated += encoded.saturated
        return FixedPoint(value, self.fraction_bits, saturated)

    def _on_grid(self, weight: torch.Tensor, out: torch.Tensor | None) -> FixedPoint:
        value, saturated, finite = nearest_on_grid(weight, self.fraction_bits, LEAST, MOST, out)
        if not finite:
            finite_weight(weight)
        return FixedPoint(value, self.fraction_bits, saturated)

    def decode(self, encoded: FixedPoint) -> torch.Tensor:
        """Return the numbers on the grid.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64, exact.
        """
        return encoded.value
