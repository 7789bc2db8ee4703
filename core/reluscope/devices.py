"""Where torch computes, by name."""

from __future__ import annotations

import torch

from reluscope.errors import RecipeError


def find_device(name: str) -> torch.device:
    """Find a device.

    Args:
        name: `"cpu"`, `"cuda"`, `"cuda:1"`, ..., or `"auto"`, which takes a GPU where there is one.

    Returns:
        The device, which is there.

    Raises:
        RecipeError: If this machine has no such device.

    Example:
        >>> find_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        reason = str(error).split("\n")[0]
        raise RecipeError(
            f"device = {name!r}: expected 'auto', 'cpu', or a device that this machine has ({reason})"
        ) from error
