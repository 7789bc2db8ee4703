"""Which dim of a tensor counts units, and which count positions: followed from one torch function to the next.

A convolution's output is (sample, channel, *position), a linear layer's is (sample, *position, feature), and shapes
alone do not tell them apart. So the function that made a tensor says, and what only moves or reshapes it passes it on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.weak import WeakTensorKeyDictionary

_LAST = frozenset(
    "linear layer_norm rms_norm embedding matmul rmatmul mm bmm addmm baddbmm bilinear scaled_dot_product_attention "
    "multi_head_attention_forward".split()
)
"""Functions whose result has its units in the last dim."""

_CHANNEL = {
    **{f"conv{n}d": n for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": n for n in (1, 2, 3)},
    **dict.fromkeys(("batch_norm", "group_norm", "instance_norm", "local_response_norm"), None),
}
"""Functions whose result has its units in the channel dim: name to number of position dims, None where any."""


def rows(tensor: torch.Tensor, channel: int) -> torch.Tensor:
    """Lay a tensor out as (row, unit), sample-major.

    Args:
        tensor: A tensor with at least two dims.
        channel: The dim that counts units.

    Returns:
        A matrix; a view where the layout permits.
    """
    return tensor.movedim(channel, -1).reshape(-1, tensor.shape[channel])


class Layout:
    """Keeps the unit dim of tensors while they live."""

    def __init__(self) -> None:
        # Only what departs from the usual is kept, so that plain image networks and perceptrons cost next to nothing.
        self._channel: WeakTensorKeyDictionary = WeakTensorKeyDictionary()

    def channel(self, tensor: torch.Tensor) -> int:
        """Return the dim that counts the units of a tensor.

        Args:
            tensor: A tensor with at least two dims.

        Returns:
            A dim, counted from the front.
        """
        if tensor.ndim >= 3 and len(self._channel):
            known = self._channel.get(tensor)  # type: ignore[no-untyped-call]
            if known is not None:
                return int(known)
        return _usual(tensor.ndim)

    def follow(self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Note what a function did to the layout.

        Args:
            function: The torch function that was called.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            result: What it returned.
        """
        results = (result,) if isinstance(result, torch.Tensor) else result if isinstance(result, tuple | list) else ()
        name = getattr(function, "__name__", "").strip("_")
        for tensor in results:
            if isinstance(tensor, torch.Tensor) and tensor.ndim >= 3 and name not in ("get", "set"):
                channel = self._after(name, args, kwargs, tensor)
                if channel != self.channel(tensor):
                    self._channel[tensor] = channel

    def _after(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: torch.Tensor) -> int:
        if name in _LAST and not (name == "layer_norm" and len(_normalized(args, kwargs)) > 1):
            return result.ndim - 1
        if name in _CHANNEL:
            positions = _CHANNEL[name]
            return 1 if positions is None else max(result.ndim - positions - 1, 0)
        sources = [source for source in _tensors((*args, *kwargs.values())) if source.ndim >= 2]
        if not sources:
            return _usual(result.ndim)
        alike = [source for source in sources if source.ndim == result.ndim] or sources
        # A bias that broadcasts against an activation knows nothing; the activation does.
        source = next((one for one in alike if self.channel(one) != _usual(one.ndim)), alike[0])
        return _moved(name, args[1:], kwargs, source, self.channel(source), result)


def _moved(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], source: torch.Tensor, channel: int, result: torch.Tensor
) -> int:
    dims = [*args, *kwargs.values()]
    if len(dims) == 1 and isinstance(dims[0], tuple | list):
        dims = list(dims[0])
    if name == "permute":
        return [dim % source.ndim for dim in dims].index(channel)
    if name in ("transpose", "swapaxes", "swapdims"):
        first, second = (dim % source.ndim for dim in dims)
        return int({first: second, second: first}.get(channel, channel))
    if name in ("movedim", "moveaxis"):
        return _movedim(source.ndim, *dims).index(channel)
    if source.ndim == result.ndim:
        kept = name not in ("view", "reshape") or source.shape[channel] == result.shape[channel]
        return channel if kept else _usual(result.ndim)
    if channel == source.ndim - 1 and source.shape[-1] == result.shape[-1]:
        return result.ndim - 1
    if channel == 1 and source.shape[1] == result.shape[1]:
        return 1
    return _usual(result.ndim)


def _movedim(ndim: int, start: Any, end: Any) -> list[int]:
    starts = [dim % ndim for dim in ([start] if isinstance(start, int) else start)]
    ends = [dim % ndim for dim in ([end] if isinstance(end, int) else end)]
    placed = dict(zip(ends, starts, strict=True))
    rest = iter([dim for dim in range(ndim) if dim not in starts])
    return [placed[place] if place in placed else next(rest) for place in range(ndim)]


def _usual(ndim: int) -> int:
    # A matrix and a sequence hold their units last, an image holds them in dim 1.
    return ndim - 1 if ndim <= 3 else 1


def _normalized(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Sequence[int]:
    shape: Sequence[int] = args[1] if len(args) > 1 else kwargs.get("normalized_shape", ())
    return shape


def _tensors(values: Sequence[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from (item for item in value if isinstance(item, torch.Tensor))
