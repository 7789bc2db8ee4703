"""What procedures share that look at a network in a plane of its input space: which plane, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from reluscope.errors import RecipeError
from reluscope_plugins.patterns.plane import Plane, plane_of

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import Dataset

    from reluscope.context import Context

# streams of random draws; that of the weights is the one that `train` has, so that both see the same network
_WEIGHTS, _POINTS = 1, 11


def drawn_epochs(pictures: list[int] | None, epochs: int) -> list[int]:
    """Say at which epochs pictures are drawn.

    Args:
        pictures: What the recipe says; None for the first and the last.
        epochs: The last.

    Returns:
        The epochs.

    Raises:
        RecipeError: If one of them comes after the last.
    """
    drawn = [0, epochs] if pictures is None else pictures
    if any(epoch > epochs for epoch in drawn):
        raise RecipeError(f"pictures = {drawn}: there are {epochs} epochs, expected none after the last; drop it")
    return drawn


def check_place(points: tuple[int, int, int] | None, origin: list[Any] | None, directions: list[Any] | None) -> None:
    """See to it that a recipe places its plane in one way.

    Args:
        points: Training samples that it goes through, or None.
        origin: The input at (0, 0), or None.
        directions: The steps along x and y, or None.

    Raises:
        RecipeError: If it is placed in two ways.
    """
    if points is not None and (origin is not None or directions is not None):
        raise RecipeError("points and origin or directions both say where the plane lies; leave one out")


def untrained(context: Context, place: torch.device) -> tuple[nn.Module, Dataset[Any] | None]:
    """Build the network as it is drawn.

    Args:
        context: The recipe's point.
        place: Where the network is to be.

    Returns:
        The network, and the training samples where the recipe has a data set.
    """
    architecture = context.choice("architecture")
    entry = context.lab.architectures[architecture.name]
    model = entry.build(seed=context.seed(_WEIGHTS), **architecture.parameters).to(place)
    chosen = context.recipe.dataset
    if chosen is None:
        return model, None
    known = context.lab.datasets[chosen.name]
    return model, known.load("train", context.data_root, lab=context.lab, **chosen.parameters)


def chosen_plane(
    context: Context,
    data: Dataset[Any] | None,
    origin: list[Any] | None,
    directions: list[Any] | None,
    points: tuple[int, int, int] | None,
) -> tuple[Plane, bool]:
    """Lay the plane that a recipe asks for.

    Args:
        context: The recipe's point.
        data: The training samples, or None.
        origin: The input at (0, 0), as nested lists; None for zeros.
        directions: The steps along x and y, likewise; None for the axes of an input of two values.
        points: Training samples that lie at (0, 0), (1, 0) and (0, 1); None to draw them by the seed, where the samples
            have more than two values and neither origin nor directions are given.

    Returns:
        The plane, and whether it goes through training samples.

    Raises:
        RecipeError: If there are no such samples.
    """
    axes = origin is not None or directions is not None or data is None or data[0][0].numel() == 2
    if points is not None and data is None:
        raise RecipeError("points are training samples, and there are none: add a [dataset], or leave them out")
    if data is None or (points is None and axes):
        return plane_of(origin, directions), False
    return _through(data, points, context.seed(_POINTS)), True


def _through(data: Dataset[Any], points: tuple[int, int, int] | None, seed: int) -> Plane:
    size = len(data)  # type: ignore[arg-type]
    if points is None:
        drawn = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:3].tolist()
        points = (drawn[0], drawn[1], drawn[2])
    if max(points) >= size:
        raise RecipeError(f"points = {list(points)}: there are {size} training samples, expected indices below that")
    return Plane.through(*(data[index][0] for index in points))
