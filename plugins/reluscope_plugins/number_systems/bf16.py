"""The float of 16 bits with the range of single precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.deterministic import Deterministic
from reluscope_plugins.number_systems.layer_parts import by_parts


@dataclasses.dataclass(frozen=True)
class BrainFloat:
    """Weights in bfloat16.

    Attributes:
        value: The represented numbers, float32 or float64.
    """

    value: torch.Tensor

    @property
    def codes(self) -> torch.Tensor:
        """What is stored, bfloat16."""
        return self.value.to(torch.bfloat16)


class BF16(Deterministic):
    """bfloat16: sign, 8 bits of exponent, 7 of mantissa; the nearest one, and beyond the largest that one.

    Example:
        >>> system = BF16()
        >>> system.decode(system.encode(torch.tensor([1 + 2.0**-7, 1 + 2.0**-9]))).tolist()
        [1.0078125, 1.0]
    """

    bits = 16
    operations: Mapping[str, float] = {"multiply_add": 1}

    def encode(self, weight: torch.Tensor) -> BrainFloat:
        """Round to bfloat16.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        return BrainFloat(by_parts(value, _nearest, torch.empty_like(value)))

    def encode_over(self, weight: torch.Tensor) -> BrainFloat:
        """Encode as `encode` does, in the memory of the weight, which is lost.

        Args:
            weight: As for `encode`.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        return BrainFloat(by_parts(value, _nearest, value if value.is_contiguous() else torch.empty_like(value)))

    def decode(self, encoded: BrainFloat) -> torch.Tensor:
        """Return the represented numbers.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64, exact.
        """
        return encoded.value


def _nearest(value: torch.Tensor) -> torch.Tensor:
    limit = torch.finfo(torch.bfloat16).max
    return value.clamp(-limit, limit).to(torch.bfloat16)
