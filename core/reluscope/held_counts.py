"""Draws of a weight that are kept, and refined: as numbers of successes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_PART = 1 << 16
"""Weights that are looked at in one go, so that wide integers of them take no memory to speak of."""


class HeldCounts:
    """Counts of successes that a layer keeps from call to call.

    Attributes:
        counts: Successes of each weight, in the smallest integer type; None before the first call.
        samples: Of how many draws.
        mark: Tells whether the weight is still that which was drawn.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None
        self.samples = 0
        self.mark = 0

    def left(self, value: Tensor, samples: int) -> int:
        """Say how many of the draws can be kept.

        Args:
            value: The weight.
            samples: How many draws are wanted in all.

        Returns:
            Those that there are; 0 where they are more than wanted, or of another weight.
        """
        return self.samples if self.samples <= samples and (not self.samples or _mark(value) == self.mark) else 0

    def draw(self, system: Any, encoded: Any, value: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        """Draw what is missing, and return the mean of all draws.

        Args:
            system: The number system.
            encoded: The weight.
            value: The weight as a tensor.
            samples: How many draws in all; fewer than before start anew, and so does another weight.
            generator: Where draws come from.

        Returns:
            The drawn weight.
        """
        left = self.left(value, samples)
        if self.counts is None or samples > left:
            counts = system.counts(encoded, samples - left, generator).to(_smallest(samples))
            if self.counts is not None and left:
                counts += self.counts.to(counts)
            self.counts, self.samples, self.mark = counts, samples, _mark(value)
        assert self.counts is not None
        drawn: Tensor = system.from_counts(encoded, self.counts.to(value.device), samples)
        return drawn


def _smallest(samples: int) -> torch.dtype:
    kinds = (torch.uint8, torch.int16, torch.int32)
    return next((kind for kind in kinds if samples <= torch.iinfo(kind).max), torch.int64)


def _mark(value: Tensor) -> int:
    # Sum of the bits times odd numbers, modulo 2^64: any one weight that changes changes it, and so does a swap.
    words = {2: torch.int16, 4: torch.int32, 8: torch.int64}[value.element_size()]
    bits, total = value.contiguous().view(words).flatten(), 0
    for first in range(0, len(bits), _PART):
        part = bits[first : first + _PART]
        odd = torch.arange(2 * first + 1, 2 * (first + len(part)) + 1, 2, device=bits.device)
        total += int(odd.mul_(part).sum())
    return total % 2**64
