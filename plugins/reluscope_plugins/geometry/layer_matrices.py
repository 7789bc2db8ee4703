"""The weight of each layer of a network as a matrix, or why a layer has none."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from reluscope.errors import NotFiniteError
from reluscope.finite import suspicious, total, trouble
from reluscope.preserve import preserved

_SPATIAL = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class LayerMatrix(NamedTuple):
    """The weight of one layer.

    Attributes:
        layer: Name of the weight, such as `"features.0.weight"`.
        matrix: `(group, row, column)`, the blocks of a block-diagonal matrix, detached; None where it was skipped.
        skipped: Why it was skipped, empty where it was not.
    """

    layer: str
    matrix: Tensor | None
    skipped: str


def layer_matrices(model: nn.Module) -> list[LayerMatrix]:
    """Look at the weight of each layer; the model is left as found.

    - Linear, embedding, recurrent and attention layers, and any other module's parameter with two dims: as it is.
    - Convolutions: the kernel matrix, `(out, in times kernel)`, which maps what lies below the kernel to the outputs at
      one position. Transposed ones: `(in, out times kernel)`. Of several groups each has a block.
    - Bilinear layers: `(out, in1 times in2)`.
    - Parametrised weights (spectral norm, weight norm, pruning, own ones): as they take effect in evaluation mode. No
      power iteration is made.

    Biases are no layers. Every other parameter is listed with the reason why it was skipped; so is a weight that
    another name has already listed.

    Args:
        model: The network.

    Returns:
        All layers, in the order of the model's modules.

    Raises:
        NotFiniteError: If a weight holds NaN or infinity.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(2, 3, 5), nn.BatchNorm2d(3))
        >>> [(found.layer, found.matrix is not None, found.skipped) for found in layer_matrices(model)]
        [('0.weight', True, ''), ('1.weight', False, 'BatchNorm2d applies no matrix: shape (3,)')]
    """
    found: list[LayerMatrix] = []
    seen: dict[int, str] = {}
    for path, module in model.named_modules():
        if ".parametrizations." in f".{path}.":
            continue
        for name, sources, weight in _weights(module):
            layer = f"{path}.{name}" if path else name
            keys = {id(source) for source in sources}
            tied = next((seen[key] for key in keys if key in seen), "")
            seen.update({key: seen.get(key, layer) for key in keys})
            why = f"tied to {tied}" if tied else _unfit(module, weight)
            if why:
                found.append(LayerMatrix(layer, None, why))
                continue
            if suspicious([total(weight)]) and trouble(weight):
                raise NotFiniteError(
                    f"layer {layer!r} holds NaN or infinity, expected finite weights; load good weights, or stop the "
                    "training before they diverge"
                )
            groups = module.groups if isinstance(module, _SPATIAL) else 1
            found.append(LayerMatrix(layer, weight.detach().reshape(groups, weight.shape[0] // groups, -1), ""))
    return found


def _unfit(module: nn.Module, weight: Tensor) -> str:
    kind = type(module).__name__
    if nn.parameter.is_lazy(weight):
        return f"{kind} has no shape yet"
    if not weight.is_floating_point():
        return f"{kind} has weights of type {str(weight.dtype).removeprefix('torch.')}"
    if weight.layout is not torch.strided:
        return f"{kind} has weights in the layout {str(weight.layout).removeprefix('torch.')}"
    if not weight.numel():
        return f"{kind} has an empty weight: shape {tuple(weight.shape)}"
    if weight.ndim != 2 and not isinstance(module, (*_SPATIAL, nn.Bilinear)):
        return f"{kind} applies no matrix: shape {tuple(weight.shape)}"
    return ""


def _weights(module: nn.Module) -> Iterator[tuple[str, list[Tensor], Tensor]]:
    # Name, the tensors that are stored, the weight that takes effect.
    stored: set[str] = set()
    for hook in module._forward_pre_hooks.values():
        name = _reparametrised(hook)
        if name:
            sources = {key: value for key, value in module._parameters.items() if key.startswith(f"{name}_")}
            stored |= set(sources)
            yield name, [source for source in sources.values() if source is not None], _recomputed(hook, module)
    parametrised = getattr(module, "parametrizations", {}) if parametrize.is_parametrized(module) else {}
    for name, parametrization in parametrised.items():
        if "bias" not in name:
            with preserved(parametrization, training=False), torch.no_grad():
                weight = parametrization().detach()
            yield name, list(parametrization.parameters()), weight
    for name, parameter in module._parameters.items():
        if parameter is not None and name not in stored and "bias" not in name:
            yield name, [parameter], parameter


# The hooks with which torch.nn.utils.weight_norm, spectral_norm and prune set a weight before each pass.
def _reparametrised(hook: Any) -> str:
    if hasattr(hook, "compute_weight"):
        return str(hook.name)
    if hasattr(hook, "apply_mask") and "bias" not in hook._tensor_name:
        return str(hook._tensor_name)
    return ""


def _recomputed(hook: Any, module: nn.Module) -> Tensor:
    with torch.no_grad():
        if hasattr(hook, "apply_mask"):
            return hook.apply_mask(module).detach()
        arguments = {"do_power_iteration": False} if hasattr(hook, "n_power_iterations") else {}
        return hook.compute_weight(module, **arguments).detach()
