"""Sites through which everything passes on its way from the input to the output."""

from __future__ import annotations

from typing import Any

from reluscope.observation import Observation


def bottlenecks(observation: Observation) -> tuple[str, ...]:
    """Find the sites and max-pools through which every path from the input to the output passes.

    In a chain of layers all of them; in a residual network those between the blocks, not those within one.

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
    passed = observation._passed
    leaves = {id(leaf) for leaf in passed.leaves or ()}
    output = getattr(passed.output, "grad_fn", None)
    return tuple(name for name, capture in passed.captures.items() if not _reaches(output, leaves, capture.node))


def _reaches(output: Any, leaves: set[int], without: Any) -> bool:
    seen: set[Any] = {without}
    stack = [output]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        if id(getattr(node, "variable", None)) in leaves:
            return True
        seen.add(node)
        stack.extend(following for following, _ in node.next_functions)
    return False
