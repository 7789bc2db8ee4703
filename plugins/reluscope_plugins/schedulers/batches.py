"""The part of a batch that is looked at, and what is said where the network cannot be run on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch

from reluscope.errors import ObservationError, ReluscopeError


def first_samples(batch: Any, samples: int) -> Any:
    """Take the first samples of a batch.

    Args:
        batch: A tensor, samples first, or tensors in tuples, lists, other sequences and mappings, nested at will.
        samples: How many.

    Returns:
        The same, with each tensor cut; what is no tensor is left as it is. Mappings become dicts.

    Raises:
        ObservationError: If a sequence of its own class cannot be made anew from its parts.

    Example:
        >>> x, y = first_samples((torch.zeros(5, 2), [torch.zeros(5), "weighted"]), 3)
        >>> x.shape, y[0].shape, y[1]
        (torch.Size([3, 2]), torch.Size([3]), 'weighted')
    """
    if isinstance(batch, torch.Tensor):
        return batch[:samples] if batch.ndim else batch
    if isinstance(batch, Mapping):
        return {key: first_samples(one, samples) for key, one in batch.items()}
    if not isinstance(batch, Sequence) or isinstance(batch, str | bytes | range):
        return batch
    parts = [first_samples(one, samples) for one in batch]
    if all(map(is_, parts, batch)):
        return batch
    # a namedtuple takes its fields one by one, a plain tuple or list takes them as one, any other class does either
    kind: Callable[..., Any] = type(batch)
    for make in (kind, lambda fields: kind(*fields)):
        try:
            made = make(parts)
        except TypeError:
            continue
        if isinstance(made, Sequence) and len(made) == len(parts) and all(map(is_, made, parts)):
            return made
    raise ObservationError(
        f"input: got a {type(batch).__name__} that can be made anew neither from a list of its {len(parts)} parts nor "
        "from the parts one by one, expected a tuple, a list or a namedtuple; pass a tuple"
    )


@contextmanager
def running_the_network() -> Iterator[None]:
    """Say what `step` takes where a forward pass ends in an error of torch, as on a batch of a wrong shape.

    Yields:
        Nothing.

    Raises:
        ObservationError: If anything but an error of reluscope, or a lack of memory, comes out of it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ReluscopeError | torch.OutOfMemoryError):
            raise
        raise ObservationError(
            f"ActCooLR: the network cannot be run on the batch ({type(error).__name__}: {error}), expected what it was "
            "given for the loss; call scheduler.step(x) with the x of model(x), a tuple of positional or a dict of "
            "keyword arguments"
        ) from error
