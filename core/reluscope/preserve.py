"""Leave a model, and the random state of the process, as they were found."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from reluscope import random_state

_REGISTRIES = (
    "_parameters",
    "_buffers",
    "_modules",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_is_full_backward_hook",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
    "_non_persistent_buffers_set",
)
"""Where a module keeps its tensors, its children and its hooks."""

_inside: ContextVar[frozenset[int]] = ContextVar("reluscope_preserved", default=frozenset())


def is_preserved(model: nn.Module) -> bool:
    """Say whether a model is within `preserved` already, so that another snapshot would be a waste.

    Args:
        model: A model, or a part of one.

    Returns:
        Whether some caller restores this model later.
    """
    return id(model) in _inside.get()


@contextlib.contextmanager
def preserved(model: nn.Module, training: bool | None = None) -> Iterator[None]:
    """Restore a model on exit, also on error: whatever runs within leaves no trace.

    Parameters and buffers (values, storage and identity), gradients, `requires_grad`, train or eval mode of each
    module, hooks and submodules are on exit as on entry; so is the random state of torch (CPU, and CUDA or MPS if in
    use), of Python and of NumPy. Plain attributes of a module are its own affair.

    Args:
        model: The model.
        training: Mode within: True for train, False for eval, None leaves it.

    Yields:
        Nothing.

    Example:
        >>> norm = nn.BatchNorm1d(3)
        >>> with preserved(norm, training=True):
        ...     _ = norm(torch.randn(8, 3))
        >>> norm.running_mean
        tensor([0., 0., 0.])
    """
    modules = list(model.modules())
    state = [_Module(module) for module in modules]
    tensors: dict[int, _Tensor] = {}
    for module in state:
        for tensor in module.tensors():
            if id(tensor) not in tensors:
                tensors[id(tensor)] = _Tensor(tensor)
    randomness = random_state.capture()
    token = _inside.set(_inside.get() | {id(module) for module in modules})
    try:
        if training is not None:
            model.train(training)
        yield
    finally:
        _inside.reset(token)
        for module in state:
            module.restore()
        for saved in tensors.values():
            saved.restore()
        random_state.restore(randomness)


class _Module:
    """Mode, hooks and the names of tensors of one module."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = module.training
        self.registries: list[tuple[str, Any, Any]] = []
        for name in _REGISTRIES:
            registry = module.__dict__.get(name)
            if isinstance(registry, dict | set):
                self.registries.append((name, registry, registry.copy()))
            elif name in module.__dict__:
                self.registries.append((name, registry, None))

    def tensors(self) -> Iterator[torch.Tensor]:
        for name, registry, _ in self.registries:
            if name in ("_parameters", "_buffers") and isinstance(registry, dict):
                yield from (tensor for tensor in registry.values() if tensor is not None)

    def restore(self) -> None:
        for name, registry, copy in self.registries:
            if self.module.__dict__.get(name) is not registry:
                self.module.__dict__[name] = registry
            if copy is not None and not _same(registry, copy):
                registry.clear()
                registry.update(copy)
        if self.module.training is not self.training:
            self.module.training = self.training


class _Tensor:
    """Storage, values and gradient of one parameter or buffer."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor
        self.requires_grad = tensor.requires_grad
        self.lazy = nn.parameter.is_lazy(tensor)
        if self.lazy:
            return
        with torch.no_grad():
            # `.data` shares the storage but not the version counter, so that restoring does not invalidate a graph
            # that the caller has recorded through this tensor.
            self.storage = tensor.data
            self.values = tensor.detach().clone()
            self.grad = tensor.grad if tensor.is_leaf else None
            self.grad_values = None if self.grad is None else self.grad.detach().clone()

    def restore(self) -> None:
        tensor = self.tensor
        if self.lazy:
            return
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            if not _aliases(tensor, self.storage):
                tensor.data = self.storage
            self.storage.copy_(self.values)
            if tensor.is_leaf:
                if tensor.requires_grad is not self.requires_grad:
                    tensor.requires_grad_(self.requires_grad)
                if tensor.grad is not self.grad:
                    tensor.grad = self.grad
                if self.grad is not None and self.grad_values is not None:
                    self.grad.data.copy_(self.grad_values)


def _aliases(tensor: torch.Tensor, storage: torch.Tensor) -> bool:
    if tensor.layout is not torch.strided:
        return True
    return (
        tensor.device == storage.device
        and tensor.dtype == storage.dtype
        and tensor.shape == storage.shape
        and tensor.stride() == storage.stride()
        and tensor.data_ptr() == storage.data_ptr()
    )


def _same(registry: Any, copy: Any) -> bool:
    if isinstance(copy, set):
        return bool(registry == copy)
    # By identity: comparing tensors by value would be elementwise.
    return len(registry) == len(copy) and all(
        key == other and value is old for (key, value), (other, old) in zip(registry.items(), copy.items(), strict=True)
    )
