"""The layers of a network that have filters, and what they are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from reluscope_plugins.arrangements.cosines import Convolution

Visit = Callable[[str, Convolution | nn.Linear, Tensor], None]


def filter_layers(model: nn.Module) -> dict[str, Convolution | nn.Linear]:
    """Find the layers that have filters: convolutions, not transposed, and linear layers.

    Args:
        model: The network.

    Returns:
        Name of the weight to the layer.

    Example:
        >>> list(filter_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 1, 3), nn.Linear(2, 2))))
        ['0.weight', '2.weight']
    """
    return {
        f"{path}.weight" if path else "weight": module
        for path, module in model.named_modules()
        if isinstance(module, Convolution | nn.Linear)
    }


@contextmanager
def visited_inputs(model: nn.Module, visit: Visit) -> Iterator[None]:
    """Call a function with what each of these layers is given, in each of its calls.

    Args:
        model: The network, to be called within; on exit it listens no more.
        visit: Called with the name of the weight, the layer, and its input: `(sample, channel, *size)` of a
            convolution, `(sample, input)` of a linear layer, one sample where the layer is given it without that dim.

    Yields:
        Nothing.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(0), nn.Linear(4, 1))
        >>> with visited_inputs(model, lambda name, layer, x: print(name, tuple(x.shape))):
        ...     _ = model(torch.zeros(1, 4))
        0.weight (1, 1, 4)
        2.weight (1, 4)
    """

    def listening(name: str) -> Callable[..., None]:
        def hook(layer: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            given = (arguments[0] if arguments else named["input"]).detach()
            if isinstance(layer, nn.Linear):
                given = given.reshape(-1, given.shape[-1])
            elif given.ndim < layer.weight.ndim:
                given = given.unsqueeze(0)
            visit(name, layer, given)

        return hook

    hooks = [
        layer.register_forward_pre_hook(listening(name), with_kwargs=True)
        for name, layer in filter_layers(model).items()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
