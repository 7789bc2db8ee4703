"""What systems share whose numbers are a few integers times one scale a tensor."""

from __future__ import annotations

import dataclasses

import torch

from reluscope_plugins.number_systems.deterministic import Deterministic


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
        return self.codes.to(self.scale.dtype) / self.levels * self.scale


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


def shares(value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Divide by the greatest magnitude, where that is not zero.

    Args:
        value: Floating point, any shape.

    Returns:
        Numbers from -1 to 1, and the greatest magnitude.

    Example:
        >>> shares(torch.tensor([1.0, -2.0]))
        (tensor([ 0.5000, -1.0000]), tensor(2.))
    """
    most = largest(value)
    return value / torch.where(most == 0, 1.0, most), most
