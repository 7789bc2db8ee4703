"""What systems without chance share: each draw is the represented number."""

from __future__ import annotations

from typing import Any

import torch


class Deterministic:
    """A number system without chance; a subclass has `encode` and `decode`."""

    stochastic = False

    def decode(self, encoded: Any) -> torch.Tensor:
        """Return the numbers that a code stands for.

        Args:
            encoded: What `encode` returned.

        Returns:
            Floating point, in the shape of the weight.
        """
        raise NotImplementedError

    def mean(self, encoded: Any) -> torch.Tensor:
        """Return the numbers that a code stands for.

        Args:
            encoded: What `encode` returned.

        Returns:
            As `decode`.
        """
        return self.decode(encoded)

    def variance(self, encoded: Any, samples: int) -> torch.Tensor:
        """Return zero.

        Args:
            encoded: What `encode` returned.
            samples: Makes no difference.

        Returns:
            Zeros in the shape of the weight.
        """
        return torch.zeros_like(self.decode(encoded))

    def draw(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Return the numbers that a code stands for.

        Args:
            encoded: What `encode` returned.
            samples: Makes no difference.
            generator: Untouched.

        Returns:
            As `decode`.
        """
        return self.decode(encoded)
