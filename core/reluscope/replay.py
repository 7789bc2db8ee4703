"""Apply an activation or a max-pool with the pattern that it had at another input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch


def activated(
    earlier: torch.Tensor, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Apply an activation as the linear piece of an earlier pre-activation has it.

    Args:
        earlier: The pre-activation that decides on the piece.
        function: The activation.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Returns:
        a(z_0) + a'(z_0) (z - z_0), for the earlier z_0; what the function gives where shapes differ.
    """
    name = next((key for key in ("input", "self") if not args and key in kwargs), None)
    z: torch.Tensor = kwargs[name] if name else args[0]
    if z.shape != earlier.shape:
        return function(*args, **kwargs)
    with torch.inference_mode(False), torch.enable_grad():
        start = earlier.detach().clone().requires_grad_()
        # An activation in place must not be given a leaf.
        given = start.clone()
        value = function(**{**kwargs, name: given}) if name else function(given, *args[1:], **kwargs)
        (slope,) = torch.autograd.grad(value.sum(), start)
    result = value.detach() + slope * (z - start.detach())
    return z.copy_(result) if value is given else result


def pooled(z: torch.Tensor, winners: torch.Tensor, spatial: int) -> torch.Tensor | None:
    """Pool with given winners.

    Args:
        z: `(..., *position)`.
        winners: Indices into the flattened plane, `(..., *window)`.
        spatial: Number of position dims.

    Returns:
        The values there, shaped as the winners; None where shapes do not fit.
    """
    if z.shape[:-spatial] != winners.shape[:-spatial]:
        return None
    return z.flatten(-spatial).gather(-1, winners.flatten(-spatial)).view(winners.shape)
