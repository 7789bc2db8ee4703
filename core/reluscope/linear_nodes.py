"""Whether torch's graph shows by itself that a network is affine on a piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

_LINEAR = frozenset(
    f"{name}Backward{number}"
    for name in (
        "AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D AdaptiveMaxPool3D Add Alias AsStrided AvgPool2D "
        "AvgPool3D Cat Clone ConstantPadNd Expand Flip Gather Hardtanh Index IndexSelect LeakyRelu "
        "MaxPool2DWithIndices MaxPool3DWithIndices Mean Neg Permute Relu ReshapeAlias Select Slice Split Squeeze "
        "Stack Sub Sum T Threshold ToCopy Transpose UnsafeView Unsqueeze View"
    ).split()
    for number in range(4)
)
"""Nodes that stand for a linear or a piecewise-linear function of all that hangs on the input."""

_FACTORS = {
    "AddmmBackward0": (1, 2),
    "BmmBackward0": (0, 1),
    "ConvolutionBackward0": (0, 1),
    "DivBackward0": (1, 1),
    "MmBackward0": (0, 1),
    "MulBackward0": (0, 1),
    "PreluKernelBackward0": (1, 1),
}
"""Nodes that stand for a product, with the two factors of which one may hang on the input; the same number twice for a
divisor or a slope, which may not."""

_NORM = "NativeBatchNormBackward0"


def shows_affine(outputs: Sequence[torch.Tensor]) -> bool:
    """Say whether all nodes of a graph are known to be affine on a piece.

    Args:
        outputs: The tensors at its end.

    Returns:
        Whether they are; where not, a function may still be affine.

    Example:
        >>> x = torch.ones(2, 3, requires_grad=True)
        >>> shows_affine([torch.relu(2 * x).sum()]), shows_affine([(x * x).sum()])
        (True, False)
    """
    seen: set[Any] = set()
    stack = [output.grad_fn for output in outputs]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if not _is_known(node):
            return False
        stack.extend(following for following, _ in node.next_functions)
    return True


def _is_known(node: Any) -> bool:
    name = node.name()
    if name in _LINEAR or name.endswith("::AccumulateGrad"):
        return True
    edges = [following for following, _ in node.next_functions]
    if name == _NORM:
        return not node._saved_training and all(edge is None for edge in edges[1:])
    if name not in _FACTORS:
        return False
    first, second = _FACTORS[name]
    return edges[second] is None or (first != second and edges[first] is None)
