"""NaN and infinity: one reduction a tensor tells that something is wrong, a closer look tells where."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from reluscope.errors import NotFiniteError

if TYPE_CHECKING:
    from reluscope.recorder import Capture


def total(tensor: torch.Tensor) -> torch.Tensor:
    """Sum a tensor, so that one number tells whether a value is not finite.

    Args:
        tensor: Floating point, any shape.

    Returns:
        A float32 scalar, without waiting for the device. It may overflow where all values are finite, so a closer look
        decides.
    """
    detached = tensor.detach()
    return detached.sum() if detached.dtype == torch.float32 else detached.sum(dtype=torch.float32)


def trouble(tensor: torch.Tensor) -> str:
    """Say what in a tensor is not finite.

    Args:
        tensor: Of any dtype.

    Returns:
        Such as `"2 NaN among 6 values"`; empty where all is finite, or not floating point.

    Example:
        >>> trouble(torch.tensor([1.0, float("inf")]))
        '1 Inf among 2 values'
    """
    if not tensor.is_floating_point() or nn.parameter.is_lazy(tensor):
        return ""
    nan, infinite = int(tensor.isnan().sum()), int(tensor.isinf().sum())
    parts = [f"{nan} NaN"] * bool(nan) + [f"{infinite} Inf"] * bool(infinite)
    return f"{' and '.join(parts)} among {tensor.numel()} values" if parts else ""


def suspicious(totals: Iterable[torch.Tensor]) -> bool:
    """Say whether one of many sums is not finite, with one wait a device.

    Args:
        totals: Float scalars.

    Returns:
        Whether a closer look is due.
    """
    devices: dict[torch.device, list[torch.Tensor]] = {}
    for total in totals:
        devices.setdefault(total.device, []).append(total)
    return any(not bool(torch.stack(group).isfinite().all()) for group in devices.values())


def check_finite(
    model: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    captures: Sequence[Capture],
    outputs: Sequence[torch.Tensor],
) -> None:
    """Look closely: name the input, the parameter or the site that holds NaN or infinity.

    Args:
        model: The network.
        inputs: Name to tensor, the data first; those after it may hold minus infinity, as masks do.
        captures: What was seen at the sites.
        outputs: Tensors of the output; infinity there may be meant (a masked logit), NaN never is.

    Raises:
        NotFiniteError: If anything is not finite; names the cause rather than where it shows.
    """
    site = next((capture.name for capture in captures if _captured(capture)), None)
    nan = any(tensor.isnan().any() for tensor in outputs if tensor.is_floating_point())
    for number, (name, tensor) in enumerate(inputs.items()):
        what = trouble(tensor)
        # Minus infinity beside the data is how torch writes an additive attention mask, unless it did harm.
        if what and (number == 0 or site or nan or "NaN" in what or tensor.isposinf().any()):
            raise NotFiniteError(f"{name} holds {what}; expected finite values; clean the data")
    for name, tensor in model.named_parameters():
        what = trouble(tensor)
        if what:
            raise NotFiniteError(
                f"parameter {name!r} holds {what}; expected finite values; training may have diverged: go back to an "
                "earlier state"
            )
    for name, tensor in model.named_buffers():
        what = trouble(tensor)
        # Infinity in a buffer may be meant (a mask), unless it did harm.
        if what and (site or nan or "NaN" in what):
            raise NotFiniteError(
                f"buffer {name!r} holds {what}; expected finite values; reset it or go back to an earlier state"
            )
    for capture in captures:
        what = _captured(capture)
        if what:
            raise NotFiniteError(
                f"site {capture.name!r}: the pre-activation holds {what} although input and "
                "parameters are finite; expected finite values; look for an overflow before it, or use a wider dtype"
            )
    if nan:
        raise NotFiniteError(
            "the output holds NaN although input, parameters and all sites are finite; expected finite values; look at "
            "what comes after the last site"
        )


def _captured(capture: Capture) -> str:
    if capture.raw is None:
        return capture.trouble
    what = trouble(capture.raw)
    return f"{what} ({capture.raw.dtype})" if what else ""
