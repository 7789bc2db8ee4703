"""One layer of a network put back to an earlier state, all others left as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from reluscope.errors import ObservationError, nearest
from reluscope.preserve import preserved
from reluscope_plugins.arrangements.layer_inputs import filter_layers

Snapshot = Mapping[str, list[dict[str, Tensor]]]
"""Layer to what is stored in each of the modules that share its weight, by name."""


def resettable_layers(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Find the convolutions and linear layers of a network.

    Args:
        model: The network.

    Returns:
        Name of the weight, such as `"features.0.weight"`, to the module; layers that share a weight are one, under the
        name that comes first.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(2, 3, 5), nn.BatchNorm2d(3), nn.Linear(3, 1))
        >>> list(resettable_layers(model))
        ['0.weight', '2.weight']
    """
    found: dict[str, list[nn.Module]] = {}
    owner: dict[int, str] = {}
    for name, module in filter_layers(model).items():
        if ".parametrizations." in f".{name}":
            continue
        weights = [id(parameter) for key, parameter in module.named_parameters() if "bias" not in key]
        layer = next((owner[one] for one in weights if one in owner), name)
        owner |= dict.fromkeys(weights, layer)
        found.setdefault(layer, []).append(module)
    return found


def snapshot(model: nn.Module) -> dict[str, list[dict[str, Tensor]]]:
    """Copy what the convolutions and linear layers of a network store: weights, biases, and their parametrisations.

    Args:
        model: The network.

    Returns:
        The copies, in the memory of the CPU.

    Example:
        >>> [list(one) for one in snapshot(nn.Sequential(nn.Linear(2, 1)))["0.weight"]]
        [['weight', 'bias']]
    """
    return {
        layer: [{name: value.to("cpu", copy=True) for name, value in module.state_dict().items()} for module in modules]
        for layer, modules in resettable_layers(model).items()
    }


@contextmanager
def layer_reset(model: nn.Module, layer: str, earlier: Snapshot) -> Iterator[None]:
    """Put one layer back to what it was; on exit the network is as it was found.

    Weight, bias, and what a parametrisation stores (weight norm, spectral norm, pruning) go back; normalisation layers
    and their statistics do not. Within, the network is in evaluation mode.

    Args:
        model: The network.
        layer: Name of the layer's weight.
        earlier: What `snapshot` gave.

    Yields:
        Nothing.

    Raises:
        ObservationError: If there is no such layer, or the snapshot is of another network.

    Example:
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
        >>> before, _ = snapshot(model), nn.init.constant_(model[0].weight, 2.0)
        >>> with layer_reset(model, "0.weight", before):
        ...     torch.equal(model[0].weight.detach(), before["0.weight"][0]["weight"])
        True
        >>> model[0].weight.item()
        2.0
    """
    layers = resettable_layers(model)
    if layer not in layers:
        raise ObservationError(
            f"layer: the network has no convolution or linear layer {layer!r}. {nearest(layer, layers)}"
        )
    stored, kept = [module.state_dict() for module in layers[layer]], list(earlier.get(layer, []))
    got, expected = (
        [{name: tuple(value.shape) for name, value in one.items()} for one in all_] for all_ in (kept, stored)
    )
    if got != expected:
        raise ObservationError(
            f"earlier: holds {got} of layer {layer!r}, expected {expected}; pass a snapshot of the same network"
        )
    with preserved(model, training=False):
        with torch.no_grad():
            for values, before in zip(stored, kept, strict=True):
                for name, value in values.items():
                    value.copy_(before[name])
        yield
