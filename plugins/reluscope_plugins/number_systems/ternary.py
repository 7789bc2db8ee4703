"""One scale a tensor, with a sign or nothing for each weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.layer_parts import by_parts, summed
from reluscope_plugins.number_systems.scaled import Scaled, ScaledSystem, largest, shares

THRESHOLD = 0.7
"""The least magnitude kept, as a share of the mean magnitude."""


class Ternary(ScaledSystem):
    """Three numbers, -a, 0 and a: nearly the closest to the weights in the sense of least squares.

    Weights of magnitude above 0.7 mean|w| are kept, and a is the mean magnitude of those.

    Example:
        >>> system = Ternary()
        >>> system.decode(system.encode(torch.tensor([0.5, -0.25, 0.125])))
        tensor([ 0.3750, -0.3750,  0.0000])

    References:
        F. Li, B. Liu, Ternary weight networks, 2016, equations 5 and 6.
    """

    bits = 2
    operations: Mapping[str, float] = {"add": 1}

    def encode(self, weight: torch.Tensor) -> Scaled:
        """Keep the signs of the larger weights.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        most = largest(value)
        threshold = THRESHOLD * summed(value, lambda part: shares(part, most).abs()) / max(value.numel(), 1)

        def kept(part: torch.Tensor) -> torch.Tensor:
            share = shares(part, most)
            return share * (share.abs() > threshold)

        codes = by_parts(value, lambda part: kept(part).sign(), torch.empty_like(value, dtype=torch.int8))
        scale = summed(value, lambda part: kept(part).abs()) / codes.count_nonzero().clamp_min(1)
        return Scaled(codes, 1, scale.to(value.dtype) * most)
