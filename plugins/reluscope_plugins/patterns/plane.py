"""A plane through the input space of a network, and the grid on which it is looked at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from reluscope.errors import ObservationError

DEPENDENT = 1e-12
"""Two directions are taken for parallel where one departs from the other's line by less than this share of itself."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """All inputs `origin + x * first + y * second`, for real x and y.

    Kept on the CPU in float64, so that the inputs at (0, 0), (1, 0) and (0, 1) are exact in float32.

    Attributes:
        origin: The input at (0, 0), of any shape, `(feature, ...)`.
        directions: The steps along x and along y, both of the origin's shape.

    Example:
        >>> plane = Plane.through(torch.zeros(3), torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 2.0, 0.0]))
        >>> plane.at(torch.tensor([0.5]), torch.tensor([2.0]))
        tensor([[0.5000, 4.0000, 0.0000]], dtype=torch.float64)
    """

    origin: torch.Tensor
    directions: tuple[torch.Tensor, torch.Tensor]

    def __post_init__(self) -> None:
        if len(self.directions) != 2:
            raise ObservationError(f"plane: got {len(self.directions)} directions, expected two; give one for x and y")
        names = ("origin", "first direction", "second direction")
        tensors = [_checked(name, value) for name, value in zip(names, (self.origin, *self.directions), strict=True)]
        for name, tensor in zip(names[1:], tensors[1:], strict=True):
            if tensor.shape != tensors[0].shape:
                raise ObservationError(
                    f"plane: the {name} has shape {tuple(tensor.shape)}, expected that of the origin, "
                    f"{tuple(tensors[0].shape)}; the points must be inputs of one shape"
                )
        first, second = (tensor.flatten() for tensor in tensors[1:])
        length = float(first.norm())
        rest = second - first * (first @ second) / length**2 if length else second * 0
        if not length or float(rest.norm()) <= DEPENDENT * float(second.norm()):
            raise ObservationError(
                "plane: the two directions are parallel or zero, expected two that span a plane; of three points that "
                "lie on a line, or are equal, choose another"
            )
        object.__setattr__(self, "origin", tensors[0])
        object.__setattr__(self, "directions", (tensors[1], tensors[2]))

    @classmethod
    def through(cls, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> Plane:
        """Lay a plane through three inputs: the first at (0, 0), the second at (1, 0), the third at (0, 1).

        Args:
            a: An input, of any shape, without a sample dim.
            b: Another, of the same shape.
            c: A third, not on the line through the others.

        Returns:
            The plane.

        Raises:
            ObservationError: If the shapes differ, or the three lie on a line.

        References:
            Hartmann 2025, figure 2.11.
        """
        first, *others = (_checked(name, value) for name, value in zip("abc", (a, b, c), strict=True))
        for name, other in zip("bc", others, strict=True):
            if other.shape != first.shape:
                raise ObservationError(
                    f"plane: the point {name} has shape {tuple(other.shape)}, expected that of a, "
                    f"{tuple(first.shape)}; the points must be inputs of one shape"
                )
        return cls(first, (others[0] - first, others[1] - first))

    @classmethod
    def axes(cls) -> Plane:
        """Return the plane of all inputs of two features, x being the first and y the second.

        Returns:
            The plane.
        """
        return cls(torch.zeros(2), (torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])))

    def at(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the inputs at points of the plane.

        Args:
            x: First coordinate, `(point,)`.
            y: Second coordinate, `(point,)`.

        Returns:
            Inputs in float64, `(point, feature, ...)`.
        """
        shape = (-1, *[1] * self.origin.ndim)
        along_x, along_y = (values.to("cpu", torch.float64).reshape(shape) for values in (x, y))
        return self.origin + along_x * self.directions[0] + along_y * self.directions[1]

    def grid(self, resolution: int = 500, extent: float = 5.0) -> torch.Tensor:
        """Return all inputs of a grid at once; `cells` makes them batch by batch instead.

        Args:
            resolution: Number of points along x, and along y.
            extent: The grid covers -extent to extent along both.

        Returns:
            Inputs in float64, `(y, x, feature, ...)`, both ascending.

        Example:
            >>> Plane.axes().grid(resolution=3, extent=1.0)[0]
            tensor([[-1., -1.],
                    [ 0., -1.],
                    [ 1., -1.]], dtype=torch.float64)
        """
        values = ticks(resolution, extent)
        inputs = self.at(values.repeat(resolution), values.repeat_interleave(resolution))
        return inputs.reshape(resolution, resolution, *self.origin.shape)


def ticks(resolution: int = 500, extent: float = 5.0) -> torch.Tensor:
    """Return the coordinates of a grid along one axis: evenly spaced, both ends included, symmetric about zero.

    Args:
        resolution: How many, at least 2.
        extent: The greatest; the least is its negative.

    Returns:
        Coordinates in float64, ascending, `(point,)`.

    Raises:
        ObservationError: If the grid has less than two points a side, or no extent.
    """
    if isinstance(resolution, bool) or not isinstance(resolution, int) or resolution < 2:
        raise ObservationError(f"resolution: got {resolution!r}, expected a whole number of at least 2 points a side")
    number = isinstance(extent, int | float) and not isinstance(extent, bool)
    if not number or not math.isfinite(extent) or extent <= 0:
        raise ObservationError(f"extent: got {extent!r}, expected a number above 0; the grid covers [-extent, extent]")
    half = torch.linspace(0.0, float(extent), resolution, dtype=torch.float64)
    return half - half.flip(0)


def plane_of(origin: Sequence[Any] | None, directions: Sequence[Any] | None) -> Plane:
    """Make a plane from the numbers of a recipe.

    Args:
        origin: Nested lists of numbers; None for zeros.
        directions: Two of the same shape; None for the axes of an input of two features.

    Returns:
        The plane.
    """
    if directions is None:
        axes = Plane.axes()
        return axes if origin is None else Plane(_numbers("origin", origin), axes.directions)
    first, *others = [_numbers("directions", direction) for direction in directions]
    start = torch.zeros_like(first) if origin is None else _numbers("origin", origin)
    return Plane(start, (first, *others))  # type: ignore[arg-type] # which says how many it expects


def _numbers(name: str, values: Any) -> torch.Tensor:
    try:
        return torch.tensor(values, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ObservationError(f"plane: {name} is {values!r:.60}, expected numbers in lists of equal length") from error


def _checked(name: str, value: torch.Tensor) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.dtype.is_complex:
        got = value.dtype if isinstance(value, torch.Tensor) else type(value).__name__
        raise ObservationError(f"plane: {name} is {got}, expected a tensor of real numbers; use torch.as_tensor")
    tensor = value.detach().to("cpu", torch.float64)
    if not bool(torch.isfinite(tensor).all()):
        raise ObservationError(f"plane: {name} holds NaN or infinity, expected finite numbers; clean the data first")
    return tensor
