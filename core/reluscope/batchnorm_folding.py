"""Batch norms whose work the layer before them can do: found in the graph of the network's calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx, nn
from torch.nn.utils import parametrize

from reluscope.quantized_layers import NORMS, torch_layer


def foldable_norms(model: nn.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Find the batch norms that take what one layer gives, and nothing else.

    The network's calls are traced with `torch.fx` in eval mode, without looking into modules that hold no norm and no
    such layer; the network is left as found. A batch norm can be
    folded if it keeps running statistics, is called once, right after a linear or convolution layer that is called once
    too, of which nothing else takes the output, and no hook stands between.

    Args:
        model: The network, not quantised.

    Returns:
        Name of the layer to that of its norm, and name of every other batch norm to why it cannot be folded.

    Example:
        >>> foldable_norms(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)))
        ({'0': '1'}, {'3': 'it follows relu, no linear or convolution layer'})
    """
    names = {id(module): name for name, module in model.named_modules()}
    norms = {name: module for name, module in model.named_modules() if type(module) in NORMS}
    if not norms:
        return {}, {}
    try:
        with _in_eval_mode(model):
            graph = _Tracer().trace(model)
    except Exception as error:  # the model's own code ran with stand-ins for tensors, which may raise anything
        what = " ".join(str(error).split())
        return {}, dict.fromkeys(norms, f"the network cannot be traced ({type(error).__name__}: {what:.120})")
    modules = dict(model.named_modules(remove_duplicate=False))
    calls = [node for node in graph.nodes if node.op == "call_module"]
    count = Counter(id(modules[str(node.target)]) for node in calls)
    users = {id(modules[str(node.target)]): node for node in calls}
    folded: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name, norm in norms.items():
        if count[id(norm)] != 1:
            refused[name] = f"it is called {count[id(norm)]} times"
            continue
        source: Any = users[id(norm)].args[0] if users[id(norm)].args else None
        layer = modules[source.target] if isinstance(source, fx.Node) and source.op == "call_module" else None
        why = _unfit(layer, norm, source, 0 if layer is None else count[id(layer)])
        if why or layer is None:
            refused[name] = why
        else:
            folded[names[id(layer)]] = name
    return folded, refused


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # What holds nothing to fold need not be looked into, and may do what cannot be traced.
        if torch_layer(type(m)) or super().is_leaf_module(m, module_qualified_name):
            return True
        return not any(type(part) in NORMS or torch_layer(type(part)) for part in m.modules())


def _unfit(layer: nn.Module | None, norm: nn.Module, source: Any, calls: int) -> str:
    if layer is None or torch_layer(type(layer)) is None:
        what = type(layer).__name__ if layer is not None else getattr(source, "name", "no call")
        return f"it follows {what.lower() if layer is not None else what}, no linear or convolution layer"
    if calls != 1:
        return f"the layer before it is called {calls} times"
    if len(source.users) != 1:
        return "the output of the layer before it is used elsewhere too"
    if not getattr(norm, "track_running_stats", False) or getattr(norm, "running_mean", None) is None:
        return "it keeps no running statistics"
    if getattr(layer, "out_channels", getattr(layer, "out_features", None)) != getattr(norm, "num_features", None):
        return "its number of channels is not that of the layer before it"
    if layer._forward_hooks or norm._forward_pre_hooks:
        return "a hook stands between it and the layer before it"
    if parametrize.is_parametrized(norm):
        return "its parameters are computed before each pass"
    return ""


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    # By the attribute: a model's own train() may do more than that.
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
