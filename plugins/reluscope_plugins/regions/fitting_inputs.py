"""Observe a network at inputs that may not fit it."""

from __future__ import annotations

import torch
from torch import nn

from reluscope.errors import ObservationError, ReluscopeError
from reluscope.observation import Observation, observe


def observed_at(network: nn.Module, inputs: torch.Tensor, *, given: str) -> Observation:
    """Observe a network with its affine map, or say that it does not take such inputs.

    Args:
        network: The network.
        inputs: A batch, `(sample, feature...)`.
        given: What the inputs were made of, for the error, such as `"the points of a line"`.

    Returns:
        The observation.

    Raises:
        ObservationError: If the network cannot be run on the inputs, or cannot be observed.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
        >>> observed_at(model, torch.zeros(1, 2), given="the points of a line")
        Traceback (most recent call last):
            ...
        reluscope.errors.ObservationError: the network cannot be run on a batch of shape (1, 2) ...
    """
    try:
        return observe(network, inputs, affine=True)
    except Exception as error:
        if isinstance(error, ReluscopeError | torch.OutOfMemoryError):
            raise
        reason = " ".join(str(error).split())
        raise ObservationError(
            f"the network cannot be run on a batch of shape {tuple(inputs.shape)} ({type(error).__name__}: {reason}), "
            f"expected inputs that it takes; {given} must have the shape of one of them, without a sample dim, not "
            f"{tuple(inputs.shape[1:])}"
        ) from error
