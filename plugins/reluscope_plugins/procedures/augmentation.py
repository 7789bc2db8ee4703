"""Training images that are moved and mirrored at random."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reluscope.errors import RecipeError

_IMAGES = 4


def augment(images: Tensor, *, shift: int = 0, flip: bool = False, seed: int) -> Tensor:
    """Move and mirror each image of a batch, each by draws of its own.

    An image is mirrored left-right with probability 1/2, then moved down and to the right by numbers of pixels that are
    drawn uniformly and independently from `-shift .. shift`; where nothing is left, it is zero.

    Args:
        images: `(sample, channel, y, x)`; left as they are.
        shift: Greatest number of pixels.
        flip: Whether images are mirrored.
        seed: Seed of the draws, which do not depend on the device.

    Returns:
        The images `(sample, channel, y, x)`, on the same device.

    Raises:
        RecipeError: If these are not images, or nothing of one might be left.

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
    samples, _, height, width = images.shape
    if shift >= min(height, width):
        raise RecipeError(
            f"shift = {shift}: an image has {height} x {width} pixels, expected a number below {min(height, width)}"
        )
    generator = torch.Generator().manual_seed(seed)
    down, right = torch.randint(-shift, shift + 1, (2, samples, 1), generator=generator)
    mirrored = torch.randint(2, (samples, 1), generator=generator).bool() & flip
    rows = torch.arange(height) - down + shift
    columns = torch.arange(width) - right
    columns = torch.where(mirrored, width - 1 - columns, columns) + shift
    padded = F.pad(images, (shift,) * 4)
    rows, columns = rows.to(images.device), columns.to(images.device)
    moved = padded.gather(2, rows[:, None, :, None].expand(-1, padded.shape[1], -1, padded.shape[3]))
    return moved.gather(3, columns[:, None, None, :].expand(-1, moved.shape[1], moved.shape[2], -1))
