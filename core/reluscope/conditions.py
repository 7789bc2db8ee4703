"""How torch is set up for one observed pass."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator

import torch
from torch import nn

from reluscope.errors import ObservationError


@contextlib.contextmanager
def conditions(network: nn.Module, *, graph: bool) -> Iterator[None]:
    """Set up torch for one pass: uncompiled, and with a graph of the input only or with none.

    Args:
        network: The network that will run.
        graph: Whether to record a graph.

    Yields:
        Nothing.

    Raises:
        ObservationError: If a graph is wanted of a network that takes part in none.
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
            _check_tensors(network)
            # What a network asks of a value of its own (`float(h.max()) > 1`) is its affair.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True to a scalar", UserWarning)
            stack.enter_context(_input_only(network))
        yield


def _check_tensors(network: nn.Module) -> None:
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_inference():
            raise ObservationError(
                f"{name!r} was made under torch.inference_mode(), expected a tensor that may take part in a graph, "
                "which the affine map takes; make or load the model outside of it, or pass copy.deepcopy(model)"
            )


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
