"""Functions that bend a network, or choose its path, at places that are no sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree

_BENDING = frozenset(
    "abs absolute amax amin aminmax argmax argmin argsort bucketize ceil cummax cummin dist eq equal floor fmax fmin "
    "fmod frac ge greater greater_equal gt heaviside isclose isposinf kthvalue le less less_equal lt max maximum "
    "median min minimum mode msort nanmedian ne nonzero not_equal quantile remainder round searchsorted sgn sign "
    "signbit sort topk trunc unique where".split()
)
"""Names of torch functions that are piecewise linear, or constant on pieces, and not smooth."""

_BOUNDED = frozenset("clamp clip clamp_min clamp_max threshold".split())
"""Functions that are sites, with thresholds."""


def bends(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Say whether a call within a graph bends along walls that no site knows of.

    Args:
        function: The torch function.
        args: Positional arguments of the call.
        kwargs: Keyword arguments of the call.

    Returns:
        Whether it does: it compares or sorts values that hang on the input, or bounds them by such.

    Example:
        >>> x = torch.ones(2, requires_grad=True)
        >>> bends(torch.abs, (x,), {}), bends(torch.relu, (x,), {}), bends(torch.clamp, (x,), {"min": 2 * x})
        (True, False, True)
    """
    name = getattr(function, "__name__", "").strip("_")
    if name not in _BENDING and name not in _BOUNDED:
        return False
    given = [value for value in _pytree.tree_leaves((args, dict(kwargs))) if isinstance(value, torch.Tensor)]
    return any(value.requires_grad for value in (given[1:] if name in _BOUNDED else given))
