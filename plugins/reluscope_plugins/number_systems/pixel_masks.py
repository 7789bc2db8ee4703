"""Masks of pixels: chosen, widened, shuffled, and carried to other layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def above_mean(values: Tensor) -> Tensor:
    """Choose the pixels of an image that are above its mean.

    Args:
        values: `(sample, y, x)`.

    Returns:
        Boolean, `(sample, y, x)`; nothing of an image whose pixels are all equal.

    References:
        Hartmann 2025, section 4.2.5.

    Example:
        >>> above_mean(torch.tensor([[[1.0, 2.0, 6.0]]]))
        tensor([[[False, False,  True]]])
    """
    wide = values.double()
    return wide > wide.mean((1, 2), keepdim=True)


def widened(mask: Tensor, margin: int) -> Tensor:
    """Add the pixels around those of a mask.

    Args:
        mask: Boolean, `(sample, y, x)`.
        margin: How many pixels in all directions, diagonal ones too.

    Returns:
        Boolean, `(sample, y, x)`.

    Example:
        >>> widened(torch.tensor([[[True, False, False]]]), 1)
        tensor([[[ True,  True, False]]])
    """
    if margin == 0:
        return mask
    # More than the size of the image changes nothing.
    reach = min(margin, max(mask.shape[1:]))
    return F.max_pool2d(mask.float().unsqueeze(1), 2 * reach + 1, 1, reach).squeeze(1) > 0


def shuffled(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Choose in each image as many pixels, all sets of them alike.

    Args:
        mask: Boolean, `(sample, y, x)`.
        generator: Where chance comes from; on the CPU.

    Returns:
        Boolean, `(sample, y, x)`.

    Example:
        >>> mask = torch.tensor([[[True, True, False], [False, False, False]]])
        >>> shuffled(mask, torch.Generator().manual_seed(0)).sum().item()
        2
    """
    number = mask.flatten(1).sum(1, keepdim=True)
    keys = torch.rand(len(mask), mask[0].numel(), generator=generator, dtype=torch.float64)
    ranks = keys.argsort(1).argsort(1).to(mask.device)
    return (ranks < number).reshape(mask.shape)


def carried(mask: Tensor, field: Tensor) -> Tensor:
    """Carry a mask back to a layer.

    Args:
        mask: Of the last feature map, `(sample, y, x)`.
        field: Which positions of the layer each of its pixels depends on, `(pixel, *positions)`.

    Returns:
        Boolean, `(sample, *positions)`: what one of the mask's pixels depends on.

    Example:
        >>> field = torch.tensor([[True, True, False], [False, True, True]])
        >>> carried(torch.tensor([[[False, True]]]), field)
        tensor([[False,  True,  True]])
    """
    reached = mask.flatten(1).float() @ field.flatten(1).float()
    return (reached > 0).reshape(len(mask), *field.shape[1:])


def enlarged(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Change the size of a mask: a pixel is in it where it overlaps one that is.

    Args:
        mask: Boolean, `(sample, y, x)`.
        size: Height and width.

    Returns:
        Boolean, `(sample, y, x)`.

    Example:
        >>> enlarged(torch.tensor([[[True, False]]]), (1, 4))
        tensor([[[ True,  True, False, False]]])
    """
    return F.adaptive_max_pool2d(mask.float().unsqueeze(1), size).squeeze(1) > 0
