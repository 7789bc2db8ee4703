"""How torch is set up for one observed pass."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch import nn


@contextlib.contextmanager
def conditions(network: nn.Module, *, graph: bool) -> Iterator[None]:
    """Set up torch for one pass: uncompiled, and with a graph of the input only or with none.

    Args:
        network: The network that will run.
        graph: Whether to record a graph.

    Yields:
        Nothing.
    """
    with contextlib.ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        # Within the caller's autocast, a weight cast here without a graph must not be reused by the caller's training
        # step, which would then miss its gradient; not every version of torch sees to that by itself.
        stack.callback(torch.set_autocast_cache_enabled, torch.is_autocast_cache_enabled())
        torch.set_autocast_cache_enabled(False)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(graph))
        if graph:
            stack.enter_context(_input_only(network))
        yield


@contextlib.contextmanager
def _input_only(network: nn.Module) -> Iterator[None]:
    # Parameters stay out of the graph, and the user's backward hooks out of the way.
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    hooks = []
    for module in network.modules():
        for registry in (module._backward_hooks, module._backward_pre_hooks):
            if registry:
                hooks.append((registry, registry.copy()))
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        for registry, _ in hooks:
            registry.clear()
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for registry, copy in hooks:
            registry.update(copy)
