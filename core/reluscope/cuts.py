"""Where a forward pass leaves its own graph: what is cut off from the input, and what the graph cannot vouch for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.utils.weak import WeakTensorKeyDictionary

from reluscope.suspects import Suspect, node_of

_CONSTANT = frozenset(
    "sign sgn floor ceil round fix trunc heaviside floor_divide floordiv rfloordiv histc bincount one_hot empty "
    "zeros ones full fill zero".split()
)
"""Functions that are constant on a piece, so that they lose no derivative."""

_FORM = frozenset("to type_as expand_as view_as reshape_as resize_as copysign".split())
"""Functions that take but shape, dtype, device or sign from all arguments after the first."""

_APART = frozenset("broadcast_tensors meshgrid align_tensors atleast_1d atleast_2d atleast_3d".split())
"""Functions whose results belong to their arguments one by one."""

_ESCAPES = frozenset("numpy array tolist item float dlpack".split())
"""Functions that hand values to code that torch cannot hear."""

_GETTERS = frozenset("data T H mT mH real imag".split())
_SETTERS = frozenset(("setitem", "set"))
_REMEDY = (
    "take the cut away (torch.no_grad(), torch.inference_mode(), .detach(), .data), so that the derivative by the "
    "input is recorded, or ask for the map to a site before it"
)


class Cuts:
    """Follows tensors that hang on the input although the graph does not say so.

    Attributes:
        escapes: Calls that handed values of the input to code outside torch.
    """

    def __init__(self) -> None:
        self.escapes: list[Suspect] = []
        self._cut: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self._custom: dict[Any, str] = {}

    def of(self, tensor: Any) -> Suspect | None:
        """Return what cut a tensor off from the input.

        Args:
            tensor: Anything; only a tensor can be cut off.

        Returns:
            The first cut, None where there is none.
        """
        if not len(self._cut) or not isinstance(tensor, torch.Tensor):
            return None
        cut: Suspect | None = self._cut.get(tensor)  # type: ignore[no-untyped-call]
        node = None if cut is None else node_of(tensor)
        if cut is not None and isinstance(node, BackwardCFunction):
            # The forward of a custom autograd function runs without a graph, which it then states itself.
            self._custom[node] = cut.where
            del self._cut[tensor]
            return None
        return cut

    def follow(
        self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any, *, where: str, order: int
    ) -> None:
        """Note whether a call cut its result off from the input.

        Args:
            function: The torch function that was called.
            args: Its positional arguments.
            kwargs: Its keyword arguments.
            result: What it returned.
            where: Path of the module whose forward made the call.
            order: Number of the call.
        """
        name = getattr(function, "__name__", "").partition(".")[0].strip("_")
        owner = name
        if name in ("get", "set"):
            owner = getattr(getattr(function, "__self__", None), "__name__", "")
            if owner not in _GETTERS:
                return
        if name in _CONSTANT or name.endswith("_like") or name.startswith("new_"):
            return
        given = list(_floating((*args[:1],) if name in _FORM else (*args, *kwargs.values())))
        if not given:
            return
        # Only an in-place call gives back what it was given.
        target = args[0] if name in _SETTERS and args else result
        made = [one for one in _floating((target,)) if one.is_floating_point()]
        if name in _APART and len(made) == len(given):
            for source, one in zip(given, made, strict=True):
                self._judge(owner, [source], one, in_place=False, where=where, order=order)
            return
        if not made and name in _ESCAPES and any(_hangs(one) or self.of(one) for one in given):
            what = f"{owner!r}, which hands values to code outside torch"
            self.escapes.append(Suspect(what, _REMEDY, certain=False, hidden=True, where=where, order=order))
        for one in made:
            in_place = any(one is source for source in given[:1])
            self._judge(owner, given, one, in_place=in_place, where=where, order=order, setter=name == "set")

    def _judge(
        self,
        name: str,
        given: Sequence[torch.Tensor],
        made: torch.Tensor,
        *,
        in_place: bool,
        where: str,
        order: int,
        setter: bool = False,
    ) -> None:
        cut = next((found for found in map(self.of, given) if found is not None), None)
        if cut is None:
            blind = not made.requires_grad or setter or (in_place and not torch.is_grad_enabled())
            if not blind or not any(map(_hangs, given)):
                return
            how = repr(name) if torch.is_grad_enabled() else f"{name!r} under torch.no_grad()"
            what = f"the graph is cut off from the input by {how}"
            cut = Suspect(what, _REMEDY, certain=True, where=where, order=order)
        self._cut[made] = cut
        if in_place and made._base is not None and made._base is not made:
            self._cut[made._base] = cut

    def doubts(self, tensors: Sequence[torch.Tensor]) -> list[Suspect]:
        """List what only a look at the values can judge: custom autograd functions, and values that left torch.

        Args:
            tensors: Ends of the graph.

        Returns:
            Suspects, empty for an ordinary network.
        """
        found = list(self.escapes)
        seen: set[Any] = set()
        stack = [node_of(tensor) for tensor in tensors]
        for tensor in tensors:
            self.of(tensor)
        while stack:
            node = stack.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            stack.extend(following for following, _ in node.next_functions)
            if isinstance(node, BackwardCFunction):
                name = type(node).__name__.removesuffix("Backward")
                found.append(
                    Suspect(
                        f"the custom autograd function {name!r}",
                        "give it the backward that its forward has, or write it with torch's own functions",
                        certain=False,
                        hidden=True,
                        node=node,
                        where=self._custom.get(node, ""),
                    )
                )
        return found


def _hangs(tensor: torch.Tensor) -> bool:
    # On the input: only parameters and the like start a graph without a node.
    if not tensor.requires_grad:
        return False
    try:
        return not tensor.is_leaf
    except RuntimeError:
        # A view made without a graph and written into since: torch refuses to tell its node.
        return True


def _floating(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            if (value.is_floating_point() or value.is_complex()) and not isinstance(value, nn.Parameter):
                yield value
        elif isinstance(value, tuple | list):
            yield from _floating(value)
        elif isinstance(value, dict):
            yield from _floating(value.values())
