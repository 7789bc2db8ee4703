"""Trained weights from a file, for a network that is built by name."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from reluscope.errors import RecipeError, ReluscopeError, nearest
from reluscope_plugins.architectures.akamaster import from_akamaster
from reluscope_plugins.datasets.folder import VARIABLE

UNREADABLE = (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError)


def load_weights(model: nn.Module, path: str, root: str | Path | None = None) -> None:
    """Load trained weights into a network, in place; only tensors and plain types are unpickled.

    The file holds a state dict, or has one under the key `state_dict`. The prefix `module.`, which data-parallel
    training leaves, is dropped, and the names of akamaster/pytorch_resnet_cifar10 are those of `resnet` here.

    Args:
        model: The network.
        path: The file, relative to the root.
        root: Folder of the data; None takes that which RELUSCOPE_DATA names, else the working folder.

    Raises:
        ReluscopeError: If the file is missing or damaged.
        RecipeError: If its weights are not those of the network.
    """
    file = Path(root or os.environ.get(VARIABLE) or ".").expanduser() / path
    if not file.is_file():
        raise ReluscopeError(
            f"weights = {path!r}: there is no file {file}; put it there, or set the environment variable {VARIABLE} to "
            "the folder that holds it"
        )
    try:
        found: Any = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise ReluscopeError(f"weights = {path!r}: {file} cannot be read: {str(error).splitlines()[0]}") from error
    held = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(held, Mapping) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise RecipeError(
            f"weights = {path!r}: {file} holds no weights; expected what torch.save(model.state_dict(), file) writes"
        )
    values = {str(name).removeprefix("module."): value for name, value in held.items()}
    own = model.state_dict()
    blocks = {int(name.split(".")[1]) for name in values if re.match(r"layer1\.\d+\.", name)}
    if values.keys() != own.keys() and blocks and "linear.weight" in values:
        values = from_akamaster(values, 6 * (max(blocks) + 1) + 2)
    for name in (*values, *own):
        if name not in own:
            raise RecipeError(f"weights = {path!r}: the network has no {name!r}. {nearest(name, own)}")
        if name not in values:
            raise RecipeError(
                f"weights = {path!r}: {name!r} of the network is not in {file.name}; choose its architecture"
            )
        if values[name].shape != own[name].shape:
            raise RecipeError(
                f"weights = {path!r}: {name!r} has shape {tuple(values[name].shape)}, expected "
                f"{tuple(own[name].shape)}; choose the architecture with its parameters"
            )
    model.load_state_dict(values)
