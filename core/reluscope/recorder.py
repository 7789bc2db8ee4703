"""Listen to one forward pass: a torch function mode hears every activation, hooks tell in which module."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from reluscope.bends import bends
from reluscope.cuts import Cuts
from reluscope.errors import ObservationError
from reluscope.finite import total, trouble
from reluscope.layout import Layout
from reluscope.packing import pack
from reluscope.replay import activated, pooled
from reluscope.sites import HARDSIGMOID, POOLS, Activation, Bound, Pool, activation_of, argument, called
from reluscope.suspects import Suspect, suspect_of


@dataclasses.dataclass
class Capture:
    """What was seen at one site.

    Attributes:
        name: The site's name.
        shape: Shape of the pre-activation, or of a max-pool's winners, as the network has it.
        raw: A copy of the pre-activation, or the winners, in that shape; within the graph if one is recorded. None
            where only its pattern is kept.
        channel: The dim of `raw` that counts units.
        activation: What bends here; None for a max-pool.
        pool: The max-pool; None for an activation.
        lower: Lower threshold.
        upper: Upper threshold.
        order: Number of the call among all torch calls of the pass.
        cut: What cut the pre-activation off from the input, None if nothing did.
        total: Sum of all values: not finite if any is not, so one number tells whether to look closer. None where only
            the pattern is kept.
        packed: The pattern as bits `(row, byte)`, where only it is kept.
        trouble: What was not finite, where only the pattern is kept.
        after: Path of the module with parameters of its own that was the last to finish before.
        taken: Of a max-pool within a graph: a copy of what it took.
        call: Arguments of a max-pool's call, positional and by name.
        node: Node in the graph of what the call gave, None without a graph.
    """

    name: str
    shape: torch.Size
    raw: torch.Tensor | None
    channel: int
    activation: Activation | None = None
    pool: Pool | None = None
    lower: Bound = None
    upper: Bound = None
    order: int = 0
    cut: Suspect | None = None
    total: torch.Tensor | None = None
    packed: torch.Tensor | None = None
    trouble: str = ""
    after: str = ""
    taken: torch.Tensor | None = None
    call: tuple[Sequence[Any], Mapping[str, Any]] = ((), {})
    node: Any = None

    @property
    def values(self) -> torch.Tensor:
        """The tensor in `raw`, for whoever knows that it was kept."""
        assert self.raw is not None
        return self.raw

    @property
    def function(self) -> str:
        """Name of the activation or the max-pool."""
        called = self.activation or self.pool
        return called.name if called else ""


class Recorder(TorchFunctionMode):
    """Captures the sites of one forward pass, between `with recorder.listening(model)` and its end.

    A function called from within another torch function is not heard, so nothing is counted twice.

    Args:
        graph: Whether to keep captured pre-activations within the graph, and note what may keep the network from being
            affine on a piece.
        replay: What an earlier pass captured, whose patterns hold in this pass as well; None for this pass's own.
        patterns_only: Whether to keep patterns as bits and let go of pre-activations: less memory, less time.

    Attributes:
        captures: What was seen at the sites, in the order of the calls.
        suspects: Calls that may keep the network from being affine on a piece.
        cuts: What is cut off from the input; empty without a graph.
        blind: Module that holds ReLUs within one fused call, None if no module does.
        bend: The first call that bends the network and is no site, within a graph; None if there is none.
        calls: Number of torch calls so far.
        raised: An error, and the innermost module that let it pass, by path and itself.
        graph: As given.
    """

    def __init__(
        self, *, graph: bool = False, replay: Sequence[Capture] | None = None, patterns_only: bool = False
    ) -> None:
        super().__init__()
        self.captures: list[Capture] = []
        self.suspects: list[Suspect] = []
        self.cuts = Cuts()
        self.blind: str | None = None
        self.bend: str | None = None
        self.calls = 0
        self.raised: tuple[BaseException, str, nn.Module] | None = None
        self.graph = graph
        self._patterns_only = patterns_only
        self._replay: Mapping[str, Capture] = {capture.name: capture for capture in replay or ()}
        self._layout = Layout()
        self._numbers: Counter[str] = Counter()
        self._stack: list[tuple[str, nn.Module]] = []
        self._last = ""

    @property
    def path(self) -> str:
        """Path of the module whose forward runs, empty for the root."""
        return self._stack[-1][0] if self._stack else ""

    @contextlib.contextmanager
    def listening(self, model: nn.Module) -> Iterator[None]:
        """Listen to what runs within.

        Args:
            model: The root; its modules are hooked for as long as it takes.

        Yields:
            Nothing.
        """
        handles = []
        try:
            for path, module in model.named_modules():
                # torch.compile wraps a module in another one; names should not depend on that.
                name = (
                    ".".join(part for part in path.split(".") if part != "_orig_mod") if "_orig_mod" in path else path
                )
                handles.append(module.register_forward_pre_hook(self._entering(name), prepend=True))
                handles.append(module.register_forward_hook(self._leaving, always_call=True))
            with self:
                yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.calls += 1
        capture = None
        activation = activation_of(func)
        pool = POOLS.get(func) if activation is None else None
        if activation is not None or pool is not None:
            self._check_vmap(func, args, kwargs)
        if activation is not None:
            capture = self._activation(activation, args, kwargs)
        elif getattr(func, "__name__", "") == "batch_norm":
            self._check_batch(args, kwargs)
        elif getattr(func, "__name__", "") in ("rnn_relu", "rnn_relu_cell") and self.blind is None:
            self.blind = self._place()
        if pool is not None:
            result = self._pool(pool, func, args, kwargs)
        elif capture is not None and activation is not None and capture.name in self._replay and not activation.smooth:
            result = activated(self._replay[capture.name].values, func, args, kwargs)
        elif self.graph and capture is not None and capture.activation == HARDSIGMOID:
            result = _hardsigmoid(func, args, kwargs)
        else:
            result = func(*args, **kwargs)
        if self.graph and capture is not None:
            capture.node = result.grad_fn
        self._layout.follow(func, args, kwargs, result)
        if self.graph:
            if self.bend is None and bends(func, args, kwargs):
                self.bend = f"{getattr(func, '__name__', 'a function')!r} in {self._place()}"
            self.cuts.follow(func, args, kwargs, result, where=self.path, order=self.calls)
            suspect = suspect_of(func, args, kwargs, result, capture.activation if capture else None)
            if suspect is not None:
                where = capture.name if capture else self.path
                self.suspects.append(dataclasses.replace(suspect, where=where, order=self.calls))
        return result

    def _place(self) -> str:
        return repr(self.path) if self.path else "the root module"

    def _activation(self, activation: Activation, args: Sequence[Any], kwargs: dict[str, Any]) -> Capture | None:
        z = args[0] if args else kwargs.get("input", kwargs.get("self"))
        activation, lower, upper = called(activation, args, kwargs)
        if not isinstance(z, torch.Tensor) or not z.is_floating_point() or (lower is None and upper is None):
            return None
        if isinstance(z, nn.Parameter):
            # Bounds on a weight bend nothing in the input.
            return None
        capture = Capture(
            name=self._name(activation.name),
            shape=z.shape,
            raw=None,
            channel=self._layout.channel(z) if z.ndim >= 2 else 0,
            activation=activation,
            lower=_copied(lower),
            upper=_copied(upper),
            order=self.calls,
            cut=self.cuts.of(z) if self.graph else None,
            after=self._last,
        )
        if self._patterns_only and z.ndim >= 2:
            capture.packed, finite = pack(z, capture.channel, lower, upper, outer=activation.outer)
            what = "" if finite else trouble(z.detach())
            capture.trouble = f"{what} ({z.dtype})" if what else ""
        else:
            capture.total = total(z)
            # A copy: an activation in place, here or later, would overwrite what a reference shows.
            capture.raw = z.clone() if self.graph else z.detach().clone()
        self.captures.append(capture)
        return capture

    def _pool(self, pool: Pool, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        z = argument(args, kwargs, 0, "input")
        taken = z.clone() if self.graph else None
        values, winners = (pool.indexed or func)(*args, **kwargs)
        channel = max(winners.ndim - pool.spatial - 1, 0)
        name = self._name(pool.name)
        self.captures.append(
            Capture(
                name=name,
                shape=winners.shape,
                raw=winners,
                channel=channel,
                pool=pool,
                order=self.calls,
                cut=self.cuts.of(z) if self.graph else None,
                after=self._last,
                taken=taken,
                call=((None, *args[1:]), {key: value for key, value in kwargs.items() if key != "input"}),
            )
        )
        if name in self._replay:
            winners = self._replay[name].values
            replayed = pooled(z, winners, pool.spatial)
            values = values if replayed is None else replayed
        if self.graph:
            self.captures[-1].node = values.grad_fn
        # The caller may get the winners too (to unpool), and may change them.
        return values if pool.indexed is not None else (values, winners.clone())

    def _name(self, function: str) -> str:
        label = self.path or function
        number = self._numbers[label]
        self._numbers[label] += 1
        return f"{label}#{number}"

    def _check_vmap(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        z = args[0] if args else kwargs.get("input", kwargs.get("self"))
        if isinstance(z, torch.Tensor) and torch._C._functorch.is_batchedtensor(z):
            where = repr(self.path) if self.path else "the root module"
            raise ObservationError(
                f"{getattr(func, '__name__', 'an activation')!r} in {where} runs within torch.vmap, which hides the "
                "samples; expected a model that takes a batch as it is; write it without torch.vmap"
            )

    def _check_batch(self, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        x = argument(args, kwargs, 0, "input")
        if not argument(args, kwargs, 5, "training", False) or not isinstance(x, torch.Tensor) or x.ndim < 2:
            return
        if math.prod(x.shape) == x.shape[1]:
            where = repr(self.path) if self.path else "in the root module"
            raise ObservationError(
                f"batch norm {where} is in train mode and got one value a channel (input shape {tuple(x.shape)}), "
                "expected at least two to take statistics; call model.eval() or pass a larger batch"
            )

    def _entering(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any) -> None:
            self._stack.append((name, module))

        return enter

    def _leaving(self, module: nn.Module, args: Any, output: Any) -> None:
        # The hook is also called when the module raised; the innermost module hears of it first.
        error = sys.exception()
        if error is not None and (self.raised is None or self.raised[0] is not error):
            self.raised = (error, self.path, module)
        # Someone else's hook may have raised before `enter` was called.
        if self._stack and self._stack[-1][1] is module:
            path, _ = self._stack.pop()
            if any(parameter is not None for parameter in module._parameters.values()):
                self._last = path


def _copied(bound: Bound) -> Bound:
    return bound.detach().clone() if isinstance(bound, torch.Tensor) else bound


def _hardsigmoid(function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.Tensor:
    # Torch cannot differentiate its own hardsigmoid twice, which the test of the curvature takes.
    z: torch.Tensor = args[0] if args else kwargs["input"]
    result = torch.nn.functional.hardtanh(z + 3, 0.0, 6.0) / 6
    in_place = argument(args, kwargs, 1, "inplace", False) or getattr(function, "__name__", "").endswith("_")
    return z.copy_(result) if in_place else result
