"""What a model is given: wrappers taken off, the input taken apart, and both checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from reluscope.errors import ObservationError

Input = torch.Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]


def unwrap(model: nn.Module) -> nn.Module:
    """Take off the wrappers that would hide a network's sites: data-parallel ones and those of `torch.compile`.

    Args:
        model: The model as the user has it.

    Returns:
        The network inside, whose module paths name the sites.

    Raises:
        ObservationError: If it is no module, is compiled to TorchScript, or was never initialised.
    """
    if not isinstance(model, nn.Module):
        raise ObservationError(
            f"model: got {type(model).__name__}, expected a torch.nn.Module; of a compiled or exported function, pass "
            "the module it was made from"
        )
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(getattr(model, "_orig_mod", None), nn.Module):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            break
    for path, module in model.named_modules():
        where = f"module {path!r}" if path else "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise ObservationError(
                f"{where} is a TorchScript {type(module).__name__}, which hides its activations; pass the nn.Module "
                "that it was scripted or traced from"
            )
        if isinstance(module, nn.DataParallel) and len(module.device_ids or ()) > 1:
            raise ObservationError(
                f"{where} is a DataParallel over {len(module.device_ids)} devices, whose threads hide its activations; "
                "replace it by its .module"
            )
        for name, parameter in [*module._parameters.items(), *module._buffers.items()]:
            if parameter is not None and nn.parameter.is_lazy(parameter):
                raise ObservationError(
                    f"parameter {f'{path}.{name}' if path else name!r} of a lazy module has no shape yet; call the "
                    "model once on a batch, then observe it"
                )
    return model


@dataclasses.dataclass
class Arguments:
    """The input of a model, taken apart.

    Attributes:
        args: Positional arguments.
        kwargs: Keyword arguments.
        tensors: Name, for messages, to tensor.
        samples: Number of samples in the batch.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    samples: int

    @classmethod
    def of(cls, x: Input) -> Arguments:
        """Take an input apart.

        Args:
            x: A tensor, a tuple of positional arguments, or a mapping of keyword arguments.

        Returns:
            The parts.

        Raises:
            ObservationError: If there is no tensor in it, or no sample.
        """
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(x, torch.Tensor):
            args, named = (x,), {"input": x}
        elif isinstance(x, Mapping):
            kwargs, named = dict(x), {f"input[{key!r}]": value for key, value in x.items()}
        elif isinstance(x, tuple | list):
            args, named = tuple(x), {f"input[{position}]": value for position, value in enumerate(x)}
        else:
            raise ObservationError(
                f"input: got {type(x).__name__}, expected a tensor, a tuple of positional arguments or a dict of "
                "keyword arguments; convert it, as in torch.as_tensor(x)"
            )
        tensors = {name: value for name, value in named.items() if isinstance(value, torch.Tensor)}
        if not tensors:
            raise ObservationError(f"input: got a {type(x).__name__} without a tensor, expected at least one; add it")
        name, first = next(iter(tensors.items()))
        if first.ndim == 0:
            raise ObservationError(
                f"{name}: got a scalar, expected a batch (sample, ...); add a dim, as in x.unsqueeze(0)"
            )
        if first.shape[0] == 0:
            raise ObservationError(
                f"{name}: got an empty batch of shape {tuple(first.shape)}, expected at least one sample; skip it"
            )
        return cls(args, kwargs, tensors, first.shape[0])

    def moved(self, places: Sequence[torch.Tensor]) -> Arguments:
        """Put other values in the place of the floating tensors.

        Args:
            places: One for each, in the order in which `copied` lists the leaves.

        Returns:
            The arguments there.
        """
        rest = iter(places)

        def move(value: Any) -> Any:
            return next(rest) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

        args = tuple(map(move, self.args))
        return dataclasses.replace(self, args=args, kwargs={key: move(value) for key, value in self.kwargs.items()})

    def copied(self, *, graph: bool) -> tuple[tuple[Any, ...], dict[str, Any], list[torch.Tensor]]:
        """Copy the tensors, so that a model that writes into its input leaves the caller's alone.

        Args:
            graph: Whether floating tensors start a graph.

        Returns:
            Positional arguments, keyword arguments, and the leaves of the graph.
        """
        leaves: list[torch.Tensor] = []

        def copy(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            value = value.detach().clone()
            if not graph or not value.is_floating_point():
                return value
            leaves.append(value.requires_grad_())
            # A leaf that requires a gradient must not be written into; its copy may.
            return value.clone()

        return tuple(map(copy, self.args)), {key: copy(value) for key, value in self.kwargs.items()}, leaves
