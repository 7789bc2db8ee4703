"""One forward pass over one batch, listened to: the network as it is, its input copied, all left as found."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from reluscope.conditions import conditions
from reluscope.errors import ObservationError
from reluscope.finite import check_finite, suspicious, total
from reluscope.inputs import Arguments, Input, unwrap
from reluscope.preserve import is_preserved, preserved
from reluscope.probe import Probe, probed
from reluscope.recorder import Capture, Recorder
from reluscope.site_tensors import sample_rows
from reluscope.suspects import Suspect


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardPass:
    """What one forward pass left behind.

    Attributes:
        network: The model, wrappers taken off.
        output: What it returned, in the graph if there is one.
        samples: Number of input samples.
        captures: Name to what was seen at the site, in the order of the calls.
        leaves: The floating inputs at the start of the graph; None if no graph was kept.
        suspects: Calls that may keep the network from being affine on a piece.
        blind: Module that holds ReLUs within one fused call, None if no module does.
        bend: The first call that bends the network and is no site; None if there is none.
        cut: What cut the output off from the input, None if nothing did.
        probe: Values on both sides of the input, None where the graph alone is relied on.
    """

    network: nn.Module
    output: Any
    samples: int
    captures: Mapping[str, Capture]
    leaves: Sequence[torch.Tensor] | None
    suspects: Sequence[Suspect]
    blind: str | None
    bend: str | None
    cut: Suspect | None
    probe: Probe | None


def look(
    model: nn.Module, x: Input, *, graph: bool, check: bool | None = None, patterns_only: bool = False
) -> ForwardPass:
    """Run a model once and listen.

    Args:
        model: Any module, in the mode in which it is to be seen.
        x: A batch, as for `reluscope.observe`.
        graph: Whether to keep the graph.
        check: Whether to look at the values on both sides of the input, which takes two more passes; None to do so
            where something in the model raises a doubt.
        patterns_only: Whether to keep of each site its pattern alone.

    Returns:
        What the pass left behind.

    Raises:
        ObservationError: If model or input cannot be observed, or hold NaN or infinity.
    """
    network = unwrap(model)
    arguments = Arguments.of(x)
    recorder = Recorder(graph=graph, patterns_only=patterns_only)
    totals = [total(tensor) for tensor in arguments.tensors.values() if tensor.is_floating_point()]
    probe = None
    with conditions(network, graph=graph):
        # Whoever has preserved the model already restores it; a second snapshot for each batch could cost more than the
        # pass itself.
        with contextlib.nullcontext() if is_preserved(network) else preserved(network):
            output, leaves = _run(network, arguments, recorder)
            outputs = [leaf for leaf in _pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
            totals += [total(tensor) for tensor in outputs if tensor.is_floating_point()]
        doubts = recorder.cuts.doubts([*outputs, *(c.values for c in recorder.captures)]) if graph else []
        if graph and leaves and (check or (check is None and doubts)):
            probe = _probe(network, arguments, leaves, output, recorder.captures, doubts)
    totals += [capture.total for capture in recorder.captures if capture.total is not None]
    if any(capture.trouble for capture in recorder.captures) or suspicious(totals):
        check_finite(network, arguments.tensors, [c for c in recorder.captures if c.activation], outputs)
    return ForwardPass(
        network=network,
        output=output if graph else detached(output),
        samples=arguments.samples,
        captures={capture.name: capture for capture in recorder.captures},
        leaves=leaves if graph else None,
        suspects=[*recorder.suspects, *doubts],
        blind=recorder.blind,
        bend=recorder.bend,
        cut=recorder.cuts.of(output),
        probe=probe,
    )


def _run(network: nn.Module, arguments: Arguments, recorder: Recorder) -> tuple[Any, list[torch.Tensor]]:
    args, kwargs, leaves = arguments.copied(graph=recorder.graph)
    try:
        with recorder.listening(network):
            return network(*args, **kwargs), leaves
    except Exception as error:
        if recorder.raised is not None and recorder.raised[0] is error and not isinstance(error, ObservationError):
            _, path, module = recorder.raised
            error.add_note(f"raised in {type(module).__name__} {path or '(the root)'!r} while reluscope observed it")
        raise


def _probe(
    network: nn.Module,
    arguments: Arguments,
    leaves: list[torch.Tensor],
    output: Any,
    captures: list[Capture],
    doubts: list[Suspect],
) -> Probe | None:
    # Two more passes, on both sides of the input, each with the patterns of the input and from the same state of model
    # and random numbers.
    samples = arguments.samples

    def values(output: Any, captures: list[Capture]) -> dict[str | None, torch.Tensor]:
        tensors: dict[str | None, torch.Tensor] = {
            capture.name: sample_rows(capture.values, capture, samples)
            for capture in captures
            if capture.activation and doubts
        }
        if isinstance(output, torch.Tensor) and output.is_floating_point():
            tensors[None] = output
        return {
            name: tensor.detach().reshape(samples, -1)
            for name, tensor in tensors.items()
            if tensor.ndim and tensor.shape[0] % samples == 0
        }

    def look(inputs: Sequence[torch.Tensor]) -> dict[str | None, torch.Tensor]:
        recorder = Recorder(graph=True, replay=captures)
        with preserved(network):
            return values(_run(network, arguments.moved(inputs), recorder)[0], recorder.captures)

    if any(leaf.ndim == 0 or leaf.shape[0] != samples for leaf in leaves):
        return None
    try:
        return probed(leaves, values(output, captures), look)
    except Exception as error:
        if not doubts:
            return None
        raise ObservationError(
            f"{doubts[0]} may keep the affine map from being exact, and the model raised {type(error).__name__} beside "
            f"its input, where reluscope wanted to check ({error}); expected a model that takes inputs near those given"
        ) from error


def detached(output: Any) -> Any:
    """Detach all tensors of what a model returns.

    Args:
        output: Tensors in lists, tuples, dicts and whatever else torch can take apart.

    Returns:
        The same, out of any graph.
    """
    return _pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, output)
