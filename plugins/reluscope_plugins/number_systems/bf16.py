"""The float of 16 bits with the range of single precision."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.deterministic import Deterministic


@dataclasses.dataclass(frozen=True)
class BrainFloat:
    """Weights in bfloat16.

    Attributes:
        codes: bfloat16.
        dtype: In which the represented numbers come back.
    """

    codes: torch.Tensor
    dtype: torch.dtype


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
        limit = torch.finfo(torch.bfloat16).max
        return BrainFloat(value.clamp(-limit, limit).to(torch.bfloat16), value.dtype)

    def decode(self, encoded: BrainFloat) -> torch.Tensor:
        """Return the represented numbers.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64, exact.
        """
        return encoded.codes.to(encoded.dtype)
