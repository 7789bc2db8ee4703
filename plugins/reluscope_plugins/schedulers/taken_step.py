"""How many patterns the step that an optimizer has just taken changed, at the least cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from reluscope import random_state
from reluscope.conditions import conditions
from reluscope.errors import NotFiniteError, ObservationError
from reluscope.inputs import Arguments, unwrap
from reluscope.recorder import Capture, Recorder
from reluscope.site_tensors import captured_packed, described
from reluscope_plugins.schedulers.batches import running_the_network
from reluscope_plugins.schedulers.group_sites import Tracks
from reluscope_plugins.schedulers.ranks import Array
from reluscope_plugins.temperature.distance import check_same_shape, share_changed

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from reluscope.inputs import Input


class TakenStep:
    """The weights before a step, kept to compare the patterns before and after it.

    Unlike `reluscope.OptimizerStep`, it knows the step at the rate in force alone, and copies no gradients and no state
    of the optimizer: a copy of the weights, in memory that is used again, and two forward passes are all it costs.
    """

    def __init__(self) -> None:
        self._kept: dict[nn.Parameter, torch.Tensor] = {}

    def keep(self, optimizer: Optimizer) -> None:
        """Keep the weights that the optimizer is about to change.

        Args:
            optimizer: Its parameters that have a gradient are copied.
        """
        moving = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            self._kept = {p: _copied(p, self._kept.get(p)) for p in moving}

    def lengths(self, parts: Sequence[Iterable[nn.Parameter]]) -> list[float]:
        """Say how long the step was, in units of the weights' norm before it; called before `changes`.

        Args:
            parts: Parameters that are taken together.

        Returns:
            For each part the norm of the step over that of the weights; 0 where nothing was kept, or all were zero.
        """
        found = []
        with torch.no_grad():
            for part in parts:
                pairs = [(parameter, self._kept[parameter]) for parameter in part if parameter in self._kept]
                weights = _norm(kept for _, kept in pairs)
                found.append(_norm(parameter - kept for parameter, kept in pairs) / weights if weights else 0.0)
        return found

    def changes(self, model: nn.Module, batch: Input, width: int = 0) -> dict[str, tuple[float, float, str]]:
        """Compare the patterns before the step with those now; the network is left as it is.

        Both passes draw the same random numbers, and start from the same buffers.

        Args:
            model: The network, after the step.
            batch: A batch.
            width: As `reluscope_plugins.temperature.distance.share_changed` takes it.

        Returns:
            Site to the share of patterns that changed, the number of patterns, and `Site.after`. With a width, n
            rows of m units make n m / width patterns at the first site, and at the l-th the square root of l times as
            many.

        Raises:
            NotFiniteError: If a pre-activation is not finite.
            ObservationError: If the network cannot be run on the batch, or calls other activations after the step, or
                at other shapes.
        """
        network, arguments = unwrap(model), Arguments.of(batch)
        with _untouched(network, self._kept) as again:
            before = self._look(network, arguments)
            again()
            with torch.no_grad():
                for parameter, kept in self._kept.items():
                    kept.copy_(parameter)
            after = self._look(network, arguments)
        if list(before) != list(after):
            raise ObservationError(
                f"after a step the network calls other activations: {list(after)}, expected {list(before)}; its "
                "control flow depends on its values, and patterns cannot be compared"
            )
        found = {}
        for depth, (name, capture) in enumerate(before.items(), start=1):
            first, second = (captured_packed(captures, arguments.samples, name) for captures in (before, after))
            site = described(capture, arguments.samples)
            check_same_shape(site, described(after[name], arguments.samples))
            patterns = len(first) * site.units * depth**0.5 / width if width else float(len(first))
            found[name] = (share_changed(first, second, site, width, depth), patterns, capture.after)
        return found

    def shares(self, model: nn.Module, batch: Input, tracks: Tracks, width: int) -> Array:
        """Average the changes over the sites of each track.

        Args:
            model: The network, after the step.
            batch: A batch.
            tracks: What parts the sites.
            width: As `reluscope_plugins.temperature.distance.share_changed` takes it.

        Returns:
            Mean share of changed patterns, and number of patterns of all sites `(track, 2)`; NaN and 0 without sites.
        """
        found = self.changes(model, batch, width)
        table = []
        for sites in tracks({site: after for site, (_, _, after) in found.items()}):
            mean = np.mean([found[site][0] for site in sites]) if sites else np.nan
            table.append((mean, sum(found[site][1] for site in sites)))
        return np.array(table)

    # A pass writes into what is kept, if into any weights: never into those in force.
    def _look(self, network: nn.Module, arguments: Arguments) -> Mapping[str, Capture]:
        recorder = Recorder(patterns_only=True)
        args, kwargs, _ = arguments.copied(graph=False)
        storages = {parameter: parameter.data for parameter in self._kept}
        try:
            for parameter, kept in self._kept.items():
                parameter.data = kept
            with running_the_network(), conditions(network, graph=False), recorder.listening(network):
                network(*args, **kwargs)
        finally:
            for parameter, storage in storages.items():
                parameter.data = storage
        captures = {capture.name: capture for capture in recorder.captures if capture.pool is None}
        for name, capture in captures.items():
            if capture.trouble:
                raise NotFiniteError(f"the pre-activation of site {name!r} holds {capture.trouble}")
        return captures


def _norm(tensors: Iterable[torch.Tensor]) -> float:
    # each for itself, so that one difference at a time is in memory; the device is asked once
    norms = [torch.linalg.vector_norm(one, dtype=torch.promote_types(one.dtype, torch.float32)) for one in tensors]
    return float(torch.stack([norm.to(norms[0].device, torch.float32) for norm in norms]).norm()) if norms else 0.0


def _copied(parameter: nn.Parameter, place: torch.Tensor | None) -> torch.Tensor:
    if place is None or (place.shape, place.dtype, place.device) != (
        parameter.shape,
        parameter.dtype,
        parameter.device,
    ):
        return parameter.detach().clone()
    return place.copy_(parameter)


@contextmanager
def _untouched(network: nn.Module, kept: Mapping[nn.Parameter, torch.Tensor]) -> Iterator[Callable[[], None]]:
    # a forward pass may write into buffers, and into parameters that no step moves
    still = [*network.buffers(), *(parameter for parameter in network.parameters() if parameter not in kept)]
    values = [(tensor, tensor.data, tensor.detach().clone()) for tensor in still]
    registries = [(module._buffers, dict(module._buffers)) for module in network.modules() if module._buffers]
    randomness = random_state.capture()

    def again() -> None:
        for registry, before in registries:
            registry.clear()
            registry.update(before)
        for buffer, storage, value in values:
            with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                buffer.data = storage
                storage.copy_(value)
        random_state.restore(randomness)

    try:
        yield again
    finally:
        again()
