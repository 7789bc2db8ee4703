"""Masks of pixels: chosen, widened, shuffled, and carried to other layers."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def above(values: Tensor, threshold: float | Literal["image", "batch"]) -> Tensor:
    """Choose the pixels whose value is above a threshold.

    Args:
        values: `(sample, y, x)`.
        threshold: A number; `"batch"`: the mean of all pixels; `"image"`: for each image the mean of its own.

    Returns:
        Boolean, `(sample, y, x)`; nothing where all pixels are equal and their mean is the threshold.

    References:
        Hartmann 2025, section 4.2.5.

    Example:
        >>> values = torch.tensor([[[1.0, 2.0, 6.0]], [[0.0, 1.0, 2.0]]])
        >>> above(values, "image").int().tolist()
        [[[0, 0, 1]], [[0, 0, 1]]]
        >>> above(values, "batch").int().tolist()
        [[[0, 0, 1]], [[0, 0, 0]]]
    """
    wide = values.double()
    if threshold == "image":
        return wide > wide.mean((1, 2), keepdim=True)
    return wide > (wide.mean() if threshold == "batch" else threshold)


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
    keys = torch.rand(len(mask), mask[0].numel(), generator=generator, dtype=torch.float64, device=generator.device)
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
