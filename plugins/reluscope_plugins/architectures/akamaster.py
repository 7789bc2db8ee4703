"""Checkpoints of the trained CIFAR-10 ResNets of akamaster/pytorch_resnet_cifar10, under the names used here."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from reluscope.errors import RecipeError
from reluscope_plugins.architectures.residual import STAGES, check_blocks

_COUNTER = "num_batches_tracked"


def _names(blocks: int) -> dict[str, str]:
    layers = {"conv1": "stem.conv", "bn1": "stem.norm", "linear": "head"}
    for stage in range(1, STAGES + 1):
        for block in range(blocks):
            for number in (1, 2):
                here = f"stage{stage}.block{block + 1}"
                layers[f"layer{stage}.{block}.conv{number}"] = f"{here}.conv{number}"
                layers[f"layer{stage}.{block}.bn{number}"] = f"{here}.norm{number}"
    values = {
        "conv": ("weight",),
        "norm": ("weight", "bias", "running_mean", "running_var", _COUNTER),
        "head": ("weight", "bias"),
    }
    return {
        f"{theirs}.{value}": f"{ours}.{value}"
        for theirs, ours in layers.items()
        for value in values[ours.rpartition(".")[2].rstrip("12")]
    }


def from_akamaster(state_dict: Mapping[str, torch.Tensor], depth: int = 20) -> dict[str, torch.Tensor]:
    """Rename the weights of a checkpoint for `resnet(depth, version=1)` with its default parameters.

    | there (after `module.`, which may be missing) | here                       |
    |-----------------------------------------------|----------------------------|
    | `conv1`, `bn1`                                | `stem.conv`, `stem.norm`   |
    | `layer2.0.conv1`, `layer2.0.bn1`              | `stage2.block1.conv1`, `stage2.block1.norm1` |
    | `linear`                                      | `head`                     |

    Files from before torch counted the batches of a normalisation lack `num_batches_tracked`; it is then 0, and without
    effect at torch's default momentum.

    Args:
        state_dict: What stands under the key `state_dict` of their file, read with
            `torch.load(path, map_location="cpu", weights_only=True)`.
        depth: Number of layers, 6 n + 2.

    Returns:
        What `load_state_dict` of the network takes; the tensors themselves, no copies.

    Raises:
        RecipeError: If a name is missing or superfluous.

    References:
        Idelbayev 2018, Proper ResNet implementation for CIFAR10/CIFAR100 in PyTorch, akamaster/pytorch_resnet_cifar10.

    Example:
        >>> from reluscope_plugins.architectures.resnet import resnet
        >>> checkpoint = torch.load("resnet20-12fca82f.th", "cpu", weights_only=True)  # doctest: +SKIP
        >>> resnet(20).load_state_dict(from_akamaster(checkpoint["state_dict"]))  # doctest: +SKIP
        <All keys matched successfully>
    """
    names = _names(check_blocks("resnet", depth, None))
    found = {name.removeprefix("module."): value for name, value in state_dict.items()}
    missing = [name for name in names if name not in found and not name.endswith(_COUNTER)]
    superfluous = [name for name in found if name not in names]
    for what, wrong in (("missing", missing), ("superfluous", superfluous)):
        if wrong:
            raise RecipeError(
                f"checkpoint of resnet depth {depth}: {len(wrong)} weights are {what}, the first is {wrong[0]!r}; "
                "expected what stands under 'state_dict' in a file of akamaster/pytorch_resnet_cifar10 of this depth"
            )
    return {ours: found.get(theirs, torch.tensor(0)) for theirs, ours in names.items()}
