"""Integers of a few bits times one scale a tensor."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope.errors import RecipeError
from reluscope.quantization_arguments import whole_number
from reluscope_plugins.number_systems.checks import finite_weight
from reluscope_plugins.number_systems.layer_parts import by_parts
from reluscope_plugins.number_systems.scaled import Scaled, ScaledSystem, largest, shares


class Uniform(ScaledSystem):
    """Equally spaced numbers, as many above zero as below.

    With L = 2^(bits - 1) - 1 levels on either side the number is k max|w| / L with an integer k from -L to L: the
    nearest one. So zero and the largest weight are exact, and one of the 2^bits codes is not used.

    Args:
        bits: From 2 to 16.

    Example:
        >>> Uniform(bits=3).encode(torch.tensor([0.3, -0.9, 0.1])).codes
        tensor([ 1, -3,  0], dtype=torch.int8)
    """

    operations: Mapping[str, float] = {"multiply_add": 1}

    def __init__(self, bits: int = 8) -> None:
        self.bits = whole_number("bits", bits, 2, 16, error=RecipeError)

    def encode(self, weight: torch.Tensor) -> Scaled:
        """Round to the levels.

        Args:
            weight: Floating point, any shape, finite.

        Returns:
            The code.

        Raises:
            NotFiniteError: If a weight is not finite.
        """
        value = finite_weight(weight)
        most, levels = largest(value), 2 ** (self.bits - 1) - 1
        room = torch.empty_like(value, dtype=torch.int8 if self.bits <= 8 else torch.int16)
        return Scaled(by_parts(value, lambda part: (shares(part, most) * levels).round(), room), levels, most)
