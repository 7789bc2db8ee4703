"""The weights between the sites of a network that is a chain of dense layers, read off its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from reluscope.errors import ObservationError
from reluscope.recorder import Capture

_RESHAPES = frozenset(("ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0"))


def dense_chain(
    captures: Sequence[Capture], leaves: Sequence[torch.Tensor], samples: int, output: torch.Tensor | None = None
) -> list[torch.Tensor] | None:
    """Return the weights of a network in which each ReLU's pre-activation is a dense layer of the one before.

    Batch norm in eval mode is part of the layer before it.

    Args:
        captures: What was seen at the sites, within the graph, in their order.
        leaves: The inputs at the start of the graph.
        samples: Number of samples.
        output: What the network gives, within the graph; None to leave out what comes after the last site.

    Returns:
        For each site `(unit, unit before)`, the first `(unit, in)`, and for the output `(out, unit)`; None where the
        network is something else.
    """
    if len(leaves) != 1 or not captures:
        return None
    weights, before = [], None
    for capture in captures:
        relu = capture.activation is not None and capture.activation.name == "relu"
        if not relu or capture.shape[:1] != (samples,) or len(capture.shape) != 2 or capture.cut is not None:
            return None
        node = _next(capture.values.grad_fn)  # before it comes the copy
        layer = _layer(node)
        if layer is None:
            return None
        weight, source = layer
        if not (_is_leaf(source, leaves[0]) if before is None else _is_relu_of(source, before)):
            return None
        weights.append(weight)
        before = node
    if output is None:
        return weights
    if _is_relu_of(output.grad_fn, before):
        return [*weights, torch.eye(output.shape[1], dtype=output.dtype, device=output.device)]
    layer = _layer(output.grad_fn)
    if layer is None or not _is_relu_of(layer[1], before):
        return None
    return [*weights, layer[0]]


def _layer(node: Any) -> tuple[torch.Tensor, Any] | None:
    # The weight of a dense layer, and the node that it takes its input from.
    scale = None
    if _name(node) == "NativeBatchNormBackward0" and not node._saved_training and _only(node, 0):
        scale = (node._saved_running_var + node._saved_eps).rsqrt()
        if node._saved_weight is not None:
            scale = scale * node._saved_weight
        node = _next(node)
    if _name(node) == "AddmmBackward0" and node._saved_alpha == 1 and _only(node, 1):
        source = node.next_functions[1][0]
    elif _name(node) == "MmBackward0" and _only(node, 0):
        source = node.next_functions[0][0]
    else:
        return None
    try:
        matrix = node._saved_mat2
    except RuntimeError as error:
        raise ObservationError(
            "the weights were changed after the observation, so its graph is lost; ask before the optimizer steps, or "
            "observe again"
        ) from error
    if matrix is None:
        return None
    weight = matrix.detach().t()
    return (weight if scale is None else weight * scale.detach().unsqueeze(1)), source


def _only(node: Any, position: int) -> bool:
    # Whether nothing else than the argument at a position hangs on the input.
    return all(number == position or edge is None for number, (edge, _) in enumerate(node.next_functions))


def _is_leaf(node: Any, leaf: torch.Tensor) -> bool:
    while _name(node) in _RESHAPES:
        node = _next(node)
    if _name(node) == "CloneBackward0":
        node = _next(node)
    return _name(node).endswith("AccumulateGrad") and node.variable is leaf


def _is_relu_of(node: Any, preactivation: Any) -> bool:
    return _name(node) == "ReluBackward0" and _next(node) is preactivation


def _next(node: Any) -> Any:
    return node.next_functions[0][0] if node is not None and node.next_functions else None


def _name(node: Any) -> str:
    return "" if node is None else str(node.name())
