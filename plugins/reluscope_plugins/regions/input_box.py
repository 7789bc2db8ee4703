"""A box in a network's input space, as a cube."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.inputs import unwrap
from reluscope.observation import Observation
from reluscope_plugins.regions.fitting_inputs import observed_at

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


class Box:
    """A box in a network's input space, with the network in float64.

    Inside, the box is the cube $[-1, 1]^d$, so that numbers have one size whatever the sides.

    Args:
        model: The network; it is copied, in float64 and in eval mode.
        low: Least value of each feature, of the shape of one input.
        high: Greatest value of each, of the same shape.

    Attributes:
        network: The copy.
        low: Float64.
        high: Float64.

    Raises:
        ObservationError: If the sides are not finite and above zero.
    """

    def __init__(self, model: nn.Module, low: torch.Tensor, high: torch.Tensor) -> None:
        if not (isinstance(low, torch.Tensor) and isinstance(high, torch.Tensor)) or low.shape != high.shape:
            got = [tuple(side.shape) if isinstance(side, torch.Tensor) else type(side).__name__ for side in (low, high)]
            raise ObservationError(
                f"low and high: got {got[0]} and {got[1]}, expected two tensors of the shape of one input, without a "
                "sample dim"
            )
        self.low, self.high = low.detach().double(), high.detach().double()
        sides = self.high - self.low
        if low.numel() == 0 or not bool((sides.isfinite() & (sides > 0)).all()):
            raise ObservationError(
                "low and high: expected finite values, low below high for every feature; of a feature that is to stay "
                "as it is, build a network that has it fixed"
            )
        self.network = copy.deepcopy(unwrap(model)).double().eval()

    @property
    def inputs(self) -> int:
        """Number of features."""
        return self.low.numel()

    @property
    def half_sides(self) -> Floats:
        """Half the length of each side, `(feature,)`."""
        return ((self.high - self.low) / 2).flatten().cpu().numpy()

    def at(self, points: Floats) -> torch.Tensor:
        """Return inputs at points of the cube.

        Args:
            points: `(point, feature)`.

        Returns:
            `(point, feature...)`.
        """
        share = torch.from_numpy(points).to(self.low.device).reshape(len(points), *self.low.shape)
        return (self.low + self.high) / 2 + share * ((self.high - self.low) / 2)

    def observed(self, points: Floats) -> Observation:
        """Observe the network there, with its affine map.

        Args:
            points: `(point, feature)` in the cube.

        Returns:
            The observation.
        """
        return observed_at(self.network, self.at(points), given="low and high")

    def faces(self) -> Floats:
        """Return the cube as half-spaces.

        Returns:
            `(half-space, feature + 1)`, normals that point inwards, then offsets.
        """
        one = np.eye(self.inputs)
        return np.hstack([np.vstack([one, -one]), np.ones((2 * self.inputs, 1))])
