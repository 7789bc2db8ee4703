"""Weights as they are: the system that others are compared with."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.deterministic import Deterministic


class Float32(Deterministic):
    """Single precision, the weight as it is; double precision is rounded, and comes back in its dtype.

    Example:
        >>> system = Float32()
        >>> system.decode(system.encode(torch.tensor([0.1])))
        tensor([0.1000])
    """

    bits = 32
    operations: Mapping[str, float] = {"multiply_add": 1}

    def encode(self, weight: torch.Tensor) -> torch.Tensor:
        """Round to single precision.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            Values of single precision in the weight's dtype, or in float32; float32 is not copied.

        Raises:
            NotFiniteError: If a value is not finite, or beyond single precision.
        """
        weight = finite_weight(weight)
        return weight if weight.dtype == torch.float32 else finite_weight(weight.float()).to(weight.dtype)

    def decode(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the values.

        Args:
            encoded: What `encode` returned.

        Returns:
            The same.
        """
        return encoded
