"""What an instance of a number system offers: weights are written down, read again, and drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch

__all__ = ["Counted", "System"]


@runtime_checkable
class System(Protocol):
    """A way to represent weights, at the parameters that it was built with.

    What `encode` returns is the system's own affair: it is only handed back. Tensors come back in the shape of the
    weight, and in its dtype or, for half precision, in float32.

    One for activations may have `encode_into(weight, out)` too, which writes the represented numbers into a tensor that
    is there; and its codes the attribute `saturated`: how many numbers lay beyond what it represents. One whose codes
    depend on the dtype may have `bits_of(dtype)`, and one with a limit `most_samples`.

    To save memory one may have `encode_over(weight)` and `draw_over(encoded, samples, generator)`: `encode` and `draw`
    in the memory of what they are given, which is lost. Codes then have a `value`, the represented numbers.
    """

    @property
    def bits(self) -> float:
        """Bits that one weight takes."""

    @property
    def operations(self) -> Mapping[str, float]:
        """Operations that one product takes with one sample, by name, such as 1 for `"add"`."""

    @property
    def stochastic(self) -> bool:
        """Whether weights are drawn at random."""

    def encode(self, weight: torch.Tensor) -> Any:
        """Write a weight down.

        Args:
            weight: Floating point, any shape, finite; is left as it is.

        Returns:
            Its code.
        """

    def decode(self, encoded: Any) -> torch.Tensor:
        """Return the numbers that a code stands for.

        Args:
            encoded: What `encode` returned.

        Returns:
            Floating point, in the shape of the weight.
        """

    def mean(self, encoded: Any) -> torch.Tensor:
        """Return the mean of what is drawn.

        Args:
            encoded: What `encode` returned.

        Returns:
            Likewise.
        """

    def variance(self, encoded: Any, samples: int) -> torch.Tensor:
        """Return the variance of what is drawn.

        Args:
            encoded: What `encode` returned.
            samples: Number of samples whose mean is drawn.

        Returns:
            Likewise; zero in a system without chance.
        """

    def draw(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw the mean of some samples of each weight.

        Args:
            encoded: What `encode` returned.
            samples: Number of samples, at least 1.
            generator: Where chance comes from; untouched by a system without chance.

        Returns:
            Likewise; all weights independent of each other and of other calls.
        """


@runtime_checkable
class Counted(System, Protocol):
    """A system whose draws are made from counts, so that samples can be added to those that there are.

    `draw` is `from_counts` of `counts`.
    """

    def counts(self, encoded: Any, samples: int, generator: torch.Generator) -> torch.Tensor:
        """Draw how many of some samples of each weight are successes.

        Args:
            encoded: What `encode` returned.
            samples: Number of samples, at least 1.
            generator: Where chance comes from.

        Returns:
            Integers from 0 to `samples`, in the smallest type that holds them and in the shape of the weight.
        """

    def from_counts(self, encoded: Any, counts: torch.Tensor, samples: int) -> torch.Tensor:
        """Return the weight that belongs to a number of successes.

        Args:
            encoded: What `encode` returned.
            counts: Successes, integers.
            samples: Among how many samples.

        Returns:
            Floating point, in the shape of the weight.
        """
