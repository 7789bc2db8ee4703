"""Which places of a plane each window of a max-pool looks at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reluscope.errors import ObservationError
from reluscope.sites import Pool, argument

OUTSIDE = -1
"""A place of a window that lies beyond the edge of the plane."""


def windows(
    pool: Pool, args: Sequence[Any], kwargs: Mapping[str, Any], plane: Sequence[int], pooled: Sequence[int]
) -> torch.Tensor:
    """List the places of each window of one call.

    Args:
        pool: The max-pool.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.
        plane: Sizes of the position dims of what it took.
        pooled: Sizes of the position dims of what it gave.

    Returns:
        Indices into the flattened plane, int64 `(window, place)`; `OUTSIDE` beyond its edge.

    Raises:
        ObservationError: If windows are drawn at random, as a fractional max-pool's.

    Example:
        >>> from torch.nn import functional
        >>> from reluscope.sites import POOLS
        >>> windows(POOLS[functional.max_pool1d], (None, 2), {}, [4], [2])
        tensor([[0, 1],
                [2, 3]])
    """
    if pool.name.startswith("fractional"):
        raise ObservationError(
            f"{pool.name} draws its windows at random, expected a max-pool with windows of its own; use a plain or an "
            "adaptive max-pool"
        )
    if pool.name.startswith("adaptive"):
        along = [_adaptive(size, count) for size, count in zip(plane, pooled, strict=True)]
    else:
        kernel, stride, padding, dilation = (
            _for_each(argument(args, kwargs, position, name, default), len(plane))
            for position, name, default in (
                (1, "kernel_size", 1),
                (2, "stride", None),
                (3, "padding", 0),
                (4, "dilation", 1),
            )
        )
        along = [
            _strided(size, count, kernel[d], stride[d] or kernel[d], padding[d], dilation[d])
            for d, (size, count) in enumerate(zip(plane, pooled, strict=True))
        ]
    places = along[0]
    for size, more in zip(plane[1:], along[1:], strict=True):
        outside = (places[:, None, :, None] == OUTSIDE) | (more[None, :, None, :] == OUTSIDE)
        joined = places[:, None, :, None] * size + more[None, :, None, :]
        places = joined.masked_fill(outside, OUTSIDE).flatten(2).flatten(0, 1)
    return places


def _strided(size: int, count: int, kernel: int, stride: int, padding: int, dilation: int) -> torch.Tensor:
    places = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel)[None] * dilation
    return places.masked_fill((places < 0) | (places >= size), OUTSIDE)


def _adaptive(size: int, count: int) -> torch.Tensor:
    starts = [window * size // count for window in range(count)]
    ends = [math.ceil((window + 1) * size / count) for window in range(count)]
    longest = max(end - start for start, end in zip(starts, ends, strict=True))
    places = torch.tensor(starts)[:, None] + torch.arange(longest)[None]
    return places.masked_fill(places >= torch.tensor(ends)[:, None], OUTSIDE)


def _for_each(value: Any, dims: int) -> list[Any]:
    if value is None or isinstance(value, int):
        return [value] * dims
    values = list(value)
    return (values or [None]) * dims if len(values) < 2 else values
