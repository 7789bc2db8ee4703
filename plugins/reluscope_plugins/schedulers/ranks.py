"""What all processes of a data-parallel training measure, so that each of them comes to the same decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from reluscope.errors import ReluscopeError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

Array = np.ndarray[Any, Any]


def over_ranks(model: nn.Module, measure: Callable[[], Array]) -> Array:
    """Measure in all processes among which `DistributedDataParallel` parts the batch.

    Args:
        model: The model as the user has it; where it is not wrapped in `DistributedDataParallel`, there is one process.
        measure: Gives what this process measures, of the same shape in all.

    Returns:
        What each measures `(rank, ...)`, the same in all processes.

    Raises:
        ReluscopeError: Whatever `measure` raises in this process, or in another, so that none waits for it in vain.
    """
    group = _process_group(model)
    if group is None or torch.distributed.get_world_size(group) == 1:
        return measure()[np.newaxis]
    own: Array | ReluscopeError
    try:
        own = measure()
    except ReluscopeError as error:
        own = error
    measured: list[Any] = [None] * torch.distributed.get_world_size(group)
    torch.distributed.all_gather_object(measured, own, group=group)
    if isinstance(own, ReluscopeError):
        raise own
    for rank, one in enumerate(measured):
        if isinstance(one, ReluscopeError):
            raise type(one)(f"in the process of rank {rank}: {one}")
    return np.stack(measured)


def _process_group(model: nn.Module) -> ProcessGroup | None:
    while not isinstance(model, nn.parallel.DistributedDataParallel):
        if not isinstance(getattr(model, "_orig_mod", None), nn.Module):
            return None
        model = model._orig_mod  # type: ignore[assignment]
    group: ProcessGroup = model.process_group
    return group
