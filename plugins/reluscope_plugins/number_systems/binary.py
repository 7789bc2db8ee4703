"""One scale a tensor, with a sign for each weight."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.layer_parts import by_parts, summed
from reluscope_plugins.number_systems.scaled import Scaled, ScaledSystem, largest, shares


class Binary(ScaledSystem):
    """Two numbers, -a and a with a = mean|w|: the closest to the weights in the sense of least squares.

    Zero has no code of its own, and becomes a.

    Example:
        >>> system = Binary()
        >>> system.decode(system.encode(torch.tensor([0.5, -0.25, 0.0])))
        tensor([ 0.2500, -0.2500,  0.2500])

    References:
        M. Rastegari, V. Ordonez, J. Redmon, A. Farhadi, XNOR-Net, 2016, equation 6 and section 3.1.
    """

    bits = 1
    operations: Mapping[str, float] = {"add": 1}

    def encode(self, weight: torch.Tensor) -> Scaled:
        """Keep the signs.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        most = largest(value)
        scale = summed(value, lambda part: shares(part, most).abs()) / max(value.numel(), 1)
        room = torch.empty_like(value, dtype=torch.int8)
        codes = by_parts(value, lambda part: torch.where(shares(part, most) >= 0, 1, -1), room)
        return Scaled(codes, 1, scale.to(value.dtype) * most)
