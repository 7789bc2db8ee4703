"""Training images that are moved and mirrored at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reluscope.errors import RecipeError

_IMAGES = 4


def black(data: Any) -> tuple[float, ...]:
    """Return what a black pixel, 0 before normalisation, is in the inputs of a data set.

    Args:
        data: Any data set.

    Returns:
        `-mean / std` of its attributes `mean` and `std`, as many numbers as they have, one for each channel or one for
        all; a single 0 where it has none.

    Example:
        >>> from types import SimpleNamespace
        >>> black(SimpleNamespace(mean=(0.5, 0.25), std=(0.5, 0.25))), black(SimpleNamespace())
        ((-1.0, -1.0), (0.0,))
    """
    pairs = zip(getattr(data, "mean", ()), getattr(data, "std", ()), strict=True)
    return tuple((0.0 - float(mean)) / float(std) for mean, std in pairs) or (0.0,)


def augment(images: Tensor, *, shift: int = 0, flip: bool = False, fill: Sequence[float] = (0.0,), seed: int) -> Tensor:
    """Move and mirror each image of a batch, each by draws of its own.

    An image is mirrored left-right with probability 1/2, then moved down and to the right by numbers of pixels that are
    drawn uniformly and independently from `-shift .. shift`; what comes in is `fill`.

    Args:
        images: `(sample, channel, y, x)`; left as they are.
        shift: Greatest number of pixels.
        flip: Whether images are mirrored.
        fill: One number for each channel, or one for all.
        seed: Seed of the draws, which do not depend on the device.

    Returns:
        The images `(sample, channel, y, x)`, on the same device.

    Raises:
        RecipeError: If these are not images, or nothing of one might be left, or `fill` has other channels.

    References:
        Gamba et al. 2020, section A.1: shifts of 4 pixels in each direction and random horizontal flipping.

    Example:
        >>> augment(torch.ones(1, 1, 2, 3), shift=1, seed=4)
        tensor([[[[1., 1., 0.],
                  [1., 1., 0.]]]])
    """
    if not shift and not flip:
        return images
    if images.ndim != _IMAGES:
        raise RecipeError(
            f"shift = {shift}, flip = {str(flip).lower()}: a sample has shape {tuple(images.shape[1:])}, expected an "
            "image (channel, y, x); leave both out"
        )
    samples, channels, height, width = images.shape
    if shift >= min(height, width):
        raise RecipeError(
            f"shift = {shift}: an image has {height} x {width} pixels, expected a number below {min(height, width)}"
        )
    if len(fill) not in (1, channels):
        raise RecipeError(
            f"fill: got {len(fill)} numbers for images of {channels} channels, expected one for each channel, or one "
            "for all; the data set's mean and std say it"
        )
    generator = torch.Generator().manual_seed(seed)
    down, right = torch.randint(-shift, shift + 1, (2, samples, 1), generator=generator)
    mirrored = torch.randint(2, (samples, 1), generator=generator).bool() & flip
    rows = torch.arange(height) - down + shift
    columns = torch.arange(width) - right
    columns = torch.where(mirrored, width - 1 - columns, columns) + shift
    padded = images.new_empty(samples, channels, height + 2 * shift, width + 2 * shift)
    padded[:] = images.new_tensor(fill).reshape(-1, 1, 1)
    padded[:, :, shift : shift + height, shift : shift + width] = images
    rows, columns = rows.to(images.device), columns.to(images.device)
    moved = padded.gather(2, rows[:, None, :, None].expand(-1, padded.shape[1], -1, padded.shape[3]))
    return moved.gather(3, columns[:, None, None, :].expand(-1, moved.shape[1], moved.shape[2], -1))
