"""One scale a tensor, with a sign or nothing for each weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.scaled import Scaled, ScaledSystem, shares

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
        share, most = shares(finite_weight(weight))
        magnitude = share.abs()
        kept = magnitude > THRESHOLD * magnitude.sum(dtype=torch.float64) / max(magnitude.numel(), 1)
        scale = (magnitude * kept).sum(dtype=torch.float64) / kept.sum().clamp_min(1)
        return Scaled((share.sign() * kept).to(torch.int8), 1, scale.to(share.dtype) * most)
