"""Observation: what one forward pass over one batch shows of a network, and all that derives from it, lazily."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree

from reluscope.affine_map import AffineMap
from reluscope.conditions import conditions
from reluscope.dense_chain import dense_chain
from reluscope.errors import ObservationError, UnknownNameError, nearest
from reluscope.finite import check_finite, suspicious, total
from reluscope.inputs import Arguments, Input, unwrap
from reluscope.optimizer_step import OptimizerStep
from reluscope.preserve import is_preserved, preserved
from reluscope.probe import Probe, probed
from reluscope.recorder import Capture, Recorder
from reluscope.site_tensors import (
    SiteTensors,
    captured_packed,
    captured_pattern,
    captured_preactivation,
    described,
    sample_rows,
)
from reluscope.sites import Site
from reluscope.suspects import Suspect
from reluscope.walls import Walls, make_walls

__all__ = ["Observation", "affine", "observe"]


class Observation:
    """One forward pass over one batch, as seen at the places where the network bends.

    Made by `observe`. A convolution's positions count as samples and its channels as units; rows are sample-major.

    Attributes:
        model: The network, wrappers taken off.
        input: What it was given.
        output: What it returned, detached.
        target: The labels, or None.
        samples: Number of input samples.
        sites: Names of the activation sites in the order of the calls.
        pools: Names of the max-pool sites in the order of the calls.
        site: Name to `Site`, of both kinds.
        preactivation: Site to pre-activation `(sample, unit)`, a detached copy.
        pattern: Site to activation pattern `(sample, unit)`: bool where a unit has two states (active or not), uint8
            where three (0 below, 1 between, 2 above); of a max-pool the index of the winner in the flattened plane.
        packed: The same as bits, uint8 `(sample, byte)`: see `reluscope.packing.pack_states`.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        input: Input,
        output: Any,
        target: Any,
        samples: int,
        captures: list[Capture],
        leaves: list[torch.Tensor] | None,
        suspects: list[Suspect],
        cut: Suspect | None = None,
        probe: Probe | None = None,
        blind: str | None = None,
        bend: str | None = None,
        step: OptimizerStep | None = None,
    ) -> None:
        self.model = model
        self.input = input
        self.output = _detached(output)
        self.target = target
        self.samples = samples
        self._captures = {capture.name: capture for capture in captures}
        self._result = output if leaves is not None else None
        self._leaves = leaves
        self._suspects = suspects
        self._cut = cut
        self._probe = probe
        self._blind = blind
        self._bend = bend
        self._step = step
        self._maps: dict[str | None, AffineMap] = {}
        self._walls: Walls | None = None
        self.sites = tuple(capture.name for capture in captures if capture.pool is None)
        self.pools = tuple(capture.name for capture in captures if capture.pool is not None)
        self.site: Mapping[str, Site] = {name: described(capture, samples) for name, capture in self._captures.items()}
        no_preactivation = dict.fromkeys(self.pools, "a max-pool has no pre-activation; ask for its pattern")
        dropped = [name for name, capture in self._captures.items() if capture.raw is None]
        no_preactivation |= dict.fromkeys(
            dropped,
            "only its pattern was kept; a metric that looks at pre-activations does not declare needs={'patterns'}, a "
            "caller leaves patterns_only=True out",
        )
        # Made from the captures, not by a method of this object: a cycle of references would keep large tensors alive
        # until the next garbage collection.
        self.preactivation = SiteTensors(
            self.sites, partial(captured_preactivation, self._captures, samples), no_preactivation
        )
        self.packed = SiteTensors((*self.sites, *self.pools), partial(captured_packed, self._captures, samples))
        self.pattern = SiteTensors((*self.sites, *self.pools), partial(captured_pattern, self._captures, samples))

    def __repr__(self) -> str:
        return (
            f"Observation({type(self.model).__name__}: {self.samples} samples, {len(self.sites)} activation sites, "
            f"{len(self.pools)} max-pools)"
        )

    @property
    def step(self) -> OptimizerStep:
        """The optimizer's step from where the observation was made.

        Raises:
            ObservationError: If the observation was made without one.
        """
        if self._step is None:
            raise ObservationError(
                "this observation has no step of an optimizer; a metric declares needs={'step'}, a caller passes "
                "step=OptimizerStep(optimizer), made after loss.backward() and before optimizer.step()"
            )
        return self._step

    def affine(self, site: str | None = None) -> AffineMap:
        """Return the affine map that the network is on the piece of each sample.

        Args:
            site: Map from the input to the pre-activation of this site (rows of a sample flattened, as in
                `preactivation`); None: to the output.

        Returns:
            The map, one for each sample.

        Raises:
            ObservationError: If the observation was made without `affine=True`, or there is no such map.
            UnknownNameError: If there is no such site.
        """
        if self._leaves is None:
            raise ObservationError(
                "this observation keeps no graph, so it has no affine map; a metric declares needs={'affine'}, a "
                "caller passes observe(model, x, affine=True)"
            )
        if site not in self._maps:
            if site is not None and site not in self.sites:
                raise UnknownNameError(f"unknown site {site!r}. {nearest(str(site), self.sites)}")
            # Views made without a graph would be cut off from it.
            with torch.inference_mode(False), torch.enable_grad():
                self._maps[site] = self._make_map(site, self._leaves)
        return self._maps[site]

    def walls(self) -> Walls:
        """Return the walls of the piece that holds each sample, of all activation sites and max-pools.

        Returns:
            Affine functions that are at least zero on the piece, with their map; smooth sites have none.

        Raises:
            ObservationError: If the observation was made without `affine=True`, no site is piecewise linear, a site
                hangs on a smooth one, or belongs to no sample, or the network also bends where no site is.
        """
        if self._leaves is None:
            raise ObservationError(
                "this observation keeps no graph, so it has no walls; a metric declares needs={'affine'}, a caller "
                "passes observe(model, x, affine=True)"
            )
        if self._bend is not None:
            raise ObservationError(
                f"{self._bend} bends the network, or chooses its path, where no site is, so that not all walls are "
                "known; write it with activations: abs(x) is relu(x) + relu(-x), maximum(a, b) is a + relu(b - a)"
            )
        bent = [capture for name, capture in self._captures.items() if not self.site[name].smooth]
        if not bent:
            first = self.site[self.sites[0]]
            raise ObservationError(
                f"site {first.name!r} applies {first.activation}, which is smooth, and so do all others, expected a "
                "piecewise-linear network; its pieces have walls, this one has no pieces"
            )
        for capture in bent:
            if self.site[capture.name].positions == 0:
                raise ObservationError(
                    f"site {capture.name!r} has rows that belong to no sample (shape {tuple(capture.shape)} for "
                    f"{self.samples} samples), so there are no walls of each sample's piece"
                )
            if self._probe is not None and capture.pool is None:
                self.affine(capture.name).check()
        if self._walls is None:
            with torch.inference_mode(False), torch.enable_grad():
                self._walls = make_walls(bent, self.samples, self._wall_map)
        return self._walls

    def dense_weights(self, *, output: bool = False) -> list[torch.Tensor] | None:
        """Return the weights between the sites, where the network is a chain of dense layers with ReLU.

        Batch norm in eval mode counts as part of the layer before it.

        Args:
            output: Whether the last layer, which no site follows, is wanted too; the identity where the network ends
                with a site.

        Returns:
            For each site `(unit, unit before)`, the first `(unit, in)`; None for any other network, and without
            `affine=True`.
        """
        doubtful = self._bend is not None or self._probe is not None
        if self._leaves is None or doubtful or (output and not isinstance(self._result, torch.Tensor)):
            return None
        captures = list(self._captures.values())
        return dense_chain(captures, self._leaves, self.samples, self._result if output else None)

    def _wall_map(self, values: Sequence[torch.Tensor], captures: Sequence[Capture]) -> AffineMap:
        last = max(capture.order for capture in captures)
        return AffineMap(
            values,
            self._leaves or [],
            samples=self.samples,
            suspects=[suspect for suspect in self._suspects if suspect.order < last],
            widest=sum(one.shape[1] for one in values),
            cut=next((capture.cut for capture in captures if capture.cut is not None), None),
        )

    def _make_map(self, site: str | None, leaves: list[torch.Tensor]) -> AffineMap:
        if site is None:
            result, what, order = self._result, "the output", sys.maxsize
            if not isinstance(result, torch.Tensor):
                raise ObservationError(
                    f"the model returns {type(result).__name__}, expected one tensor for an affine map; wrap the model "
                    "so that it returns one, or ask for the map to a site"
                )
        else:
            capture = self._captures[site]
            result, what, order = sample_rows(capture.values, capture, self.samples), f"site {site!r}", capture.order
        if result.ndim == 0 or result.shape[0] % self.samples or (site is None and result.shape[0] != self.samples):
            raise ObservationError(
                f"{what} has shape {tuple(result.shape)} for {self.samples} samples, expected samples first; there is "
                "no affine map of each sample"
            )
        if not leaves:
            raise ObservationError(
                "the input holds no floating-point tensor, so there is no affine map; pass what comes after an "
                "embedding"
            )
        widest = max([capture.shape.numel() for capture in self._captures.values()], default=0) // self.samples
        return AffineMap(
            [result.reshape(self.samples, -1)],
            leaves,
            samples=self.samples,
            suspects=[suspect for suspect in self._suspects if suspect.order < order],
            widest=widest,
            cut=self._cut if site is None else self._captures[site].cut,
            probe=self._probe,
            target=site,
        )


def observe(
    model: nn.Module,
    x: Input,
    *,
    target: Any = None,
    affine: bool = False,
    patterns_only: bool = False,
    step: OptimizerStep | None = None,
) -> Observation:
    """Observe an unchanged model on one batch; the model is left exactly as found.

    Sites are found by listening to torch's functions, so functional calls, in-place ones and modules used several times
    all count. Data-parallel wrappers are taken off, and what `torch.compile` compiled runs uncompiled. A network that
    bends at max-pools alone has `pools` and no `sites`.

    Args:
        model: Any module, in the mode (train or eval) in which it is to be seen.
        x: A batch: a tensor `(sample, ...)`, a tuple of positional arguments, or a dict of keyword arguments.
        target: Labels, for metrics that need them.
        affine: Whether to keep the graph, for `Observation.affine`. A model that holds a custom autograd function, or
            hands values to code outside torch, then costs two more passes: only its values can tell whether its
            derivative is exact.
        patterns_only: Whether to keep of each site its pattern alone, as bits: a thirty-second of the memory, and less
            time. `preactivation` is not there then. Not together with `affine`.
        step: A step of the network's optimizer, for metrics that look at what it changes; the network is observed with
            the weights before that step.

    Returns:
        What the pass showed.

    Raises:
        ObservationError: If model or input cannot be observed, hold NaN or infinity, or there is no activation site: a
            max-pool does in its place, but not with `patterns_only` or a step, which are about activation patterns.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> observation = observe(model, torch.randn(5, 2))
        >>> observation.sites, observation.pattern["1#0"].shape
        (('1#0',), torch.Size([5, 3]))
    """
    if affine and patterns_only:
        raise ObservationError("observe: got affine=True and patterns_only=True, expected one of them; leave one out")
    if step is not None and not {id(p) for p in step.parameters} & {id(p) for p in model.parameters()}:
        raise ObservationError(
            "no parameter of the step is one of the model, expected the step of an optimizer of this model; a copy of "
            "a model needs an optimizer of its own"
        )
    with contextlib.nullcontext() if step is None else step.taken(0.0):
        observation = _look(model, x, target=target, graph=affine, patterns_only=patterns_only, step=step)
    if observation._blind is not None:
        raise ObservationError(
            f"a recurrent layer with nonlinearity='relu' in {observation._blind} hides its ReLUs within one call of "
            "torch, expected activations that can be heard; write the recurrence with torch.nn.Linear and torch.relu "
            "(its map alone: reluscope.affine)"
        )
    about_sites = patterns_only or step is not None
    if not observation.sites and (about_sites or not observation.pools):
        raise ObservationError(
            f"{type(observation.model).__name__} called no activation function that reluscope knows, expected at least "
            "one (such as torch.relu); for the map of a linear model use reluscope.affine"
        )
    return observation


def affine(model: nn.Module, x: Input, *, check: bool = True) -> AffineMap:
    """Return the affine map that a piecewise-linear network is on the piece that holds each sample.

    f(y) = W y + b for all y on the piece of x, where W = W_n Z_{n-1} ... Z_1 W_1 and the Z are the activation patterns
    of x written as diagonal matrices.

    What is smooth, and what cuts the graph off from the input (`torch.no_grad()`, `.detach()`), is refused by name at
    the first answer. The check compares W with the network's own values on both sides of x, which finds what no graph
    shows: code outside torch, straight-through gradients.

    Args:
        model: Any piecewise-linear module in eval mode.
        x: A batch, as for `observe`.
        check: Whether to compare with the network's values, which costs two more forward passes.

    Returns:
        The map; `weight, bias = affine(model, x)` gives `(sample, out, in)` and `(sample, out)`.

    References:
        Johansson 2022, eq. 2.2.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> x = torch.randn(5, 2)
        >>> weight, bias = affine(model, x)
        >>> torch.allclose((weight @ x.unsqueeze(-1)).squeeze(-1) + bias, model(x), atol=1e-6)
        True
    """
    return _look(model, x, target=None, graph=True, check=check).affine()


def _look(
    model: nn.Module,
    x: Input,
    *,
    target: Any,
    graph: bool,
    check: bool | None = None,
    patterns_only: bool = False,
    step: OptimizerStep | None = None,
) -> Observation:
    network = unwrap(model)
    arguments = Arguments.of(x)
    recorder = Recorder(graph=graph, patterns_only=patterns_only)
    totals = [total(tensor) for tensor in arguments.tensors.values() if tensor.is_floating_point()]
    probe = None
    with conditions(network, graph=graph):
        # Whoever has preserved the model already restores it; a second snapshot for each batch could cost more than the
        # pass itself.
        with contextlib.nullcontext() if is_preserved(network) else preserved(network):
            output, leaves = _pass(network, arguments, recorder)
            outputs = [leaf for leaf in _pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
            totals += [total(tensor) for tensor in outputs if tensor.is_floating_point()]
        doubts = recorder.cuts.doubts([*outputs, *(c.values for c in recorder.captures)]) if graph else []
        if graph and leaves and (check or (check is None and doubts)):
            probe = _probe(network, arguments, leaves, output, recorder.captures, doubts)
    totals += [capture.total for capture in recorder.captures if capture.total is not None]
    if any(capture.trouble for capture in recorder.captures) or suspicious(totals):
        check_finite(network, arguments.tensors, [c for c in recorder.captures if c.activation], outputs)
    return Observation(
        model=network,
        input=x,
        output=output,
        target=target,
        samples=arguments.samples,
        captures=recorder.captures,
        leaves=leaves if graph else None,
        suspects=[*recorder.suspects, *doubts],
        blind=recorder.blind,
        bend=recorder.bend,
        cut=recorder.cuts.of(output),
        probe=probe,
        step=step,
    )


def _pass(network: nn.Module, arguments: Arguments, recorder: Recorder) -> tuple[Any, list[torch.Tensor]]:
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
            return values(_pass(network, arguments.moved(inputs), recorder)[0], recorder.captures)

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


def _detached(output: Any) -> Any:
    return _pytree.tree_map_only(torch.Tensor, torch.Tensor.detach, output)
