"""Sites through which everything passes on its way from the input to the output."""

from __future__ import annotations

from collections import Counter
from typing import Any

from reluscope.observation import Observation

Edge = tuple[Any, int]
"""A result in the graph: what computed it, and which of its results it is."""


def bottlenecks(observation: Observation) -> tuple[str, ...]:
    """Find the sites and max-pools through which every path from the input to the output passes.

    In a chain of layers all of them; in a residual network those between the blocks, not those within one. A site whose
    pre-activation something else takes as well is left out, since what is taken goes past it.

    Args:
        observation: What a forward pass showed, with its graph (`affine=True`).

    Returns:
        Their names, in the order of the calls.

    Raises:
        ObservationError: If the observation keeps no graph, or the network is not affine on a piece.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from reluscope import observe
        >>> class Block(nn.Module):
        ...     def forward(self, x):
        ...         return torch.relu(x + torch.relu(-x))
        >>> bottlenecks(observe(Block(), torch.randn(5, 2), affine=True))
        ('relu#1',)
    """
    observation.affine().check()
    leaves = {id(leaf) for leaf in observation._leaves or ()}
    output = getattr(observation._result, "grad_fn", None)
    takers = _takers(output)
    found = []
    for capture in observation._captures.values():
        copy = capture.values if capture.pool is None else capture.taken
        if copy is not None and copy.grad_fn is not None:
            edge = copy.grad_fn.next_functions[0]  # what the site itself took
            if takers[edge] == 1 and not _reaches(output, leaves, edge):
                found.append(capture.name)
    return tuple(found)


# How many nodes on the way to the output take each result.
def _takers(output: Any) -> Counter[Edge]:
    count: Counter[Edge] = Counter()
    seen: set[Any] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node is not None and node not in seen:
            seen.add(node)
            count.update(node.next_functions)
            stack.extend(following for following, _ in node.next_functions)
    return count


def _reaches(output: Any, leaves: set[int], without: Edge) -> bool:
    seen: set[Any] = set()
    stack = [output]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if id(getattr(node, "variable", None)) in leaves:
            return True
        seen.add(node)
        stack.extend(edge[0] for edge in node.next_functions if edge != without)
    return False
