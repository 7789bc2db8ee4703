"""What systems share whose numbers are a few integers times one scale a tensor."""

from __future__ import annotations

import dataclasses

import torch

from reluscope_plugins.number_systems.deterministic import Deterministic
from reluscope_plugins.number_systems.layer_parts import by_parts


@dataclasses.dataclass(frozen=True)
class Scaled:
    """Integers times one scale.

    Attributes:
        codes: The integers, from -levels to levels.
        levels: The greatest integer.
        scale: What the greatest integer stands for: a scalar, float32 or float64.
    """

    codes: torch.Tensor
    levels: int
    scale: torch.Tensor

    @property
    def value(self) -> torch.Tensor:
        """The represented numbers: scale codes / levels."""
        room = torch.empty_like(self.codes, dtype=self.scale.dtype)
        return by_parts(self.codes, lambda part: part.to(self.scale.dtype) / self.levels * self.scale, room)


class ScaledSystem(Deterministic):
    """A number system whose `encode` returns `Scaled`."""

    def decode(self, encoded: Scaled) -> torch.Tensor:
        """Return the represented numbers.

        Args:
            encoded: What `encode` returned.

        Returns:
            float32 or float64.
        """
        return encoded.value


def largest(value: torch.Tensor) -> torch.Tensor:
    """Return the greatest magnitude.

    Args:
        value: Floating point, any shape.

    Returns:
        A scalar; 0 of no values.

    Example:
        >>> largest(torch.tensor([1.0, -3.0]))
        tensor(3.)
    """
    if not value.numel():
        return value.new_zeros(())
    least, most = value.aminmax()
    return torch.maximum(least.abs(), most.abs())


def shares(value: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Divide by the greatest magnitude, where that is not zero.

    Args:
        value: Floating point, any shape.
        most: The greatest magnitude, a scalar.

    Returns:
        Numbers from -1 to 1.

    Example:
        >>> shares(torch.tensor([1.0, -2.0]), torch.tensor(2.0))
        tensor([ 0.5000, -1.0000])
    """
    return value / torch.where(most == 0, 1.0, most)
