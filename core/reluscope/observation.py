"""Observation: what one forward pass over one batch shows of a network, and all that derives from it, lazily."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from reluscope.affine_map import AffineMap
from reluscope.errors import ObservationError
from reluscope.forward_pass import ForwardPass, detached, look
from reluscope.inputs import Input
from reluscope.optimizer_step import OptimizerStep
from reluscope.pieces import Pieces
from reluscope.site_tensors import (
    SiteTensors,
    captured_packed,
    captured_pattern,
    captured_preactivation,
    described,
)
from reluscope.sites import Site
from reluscope.walls import Walls

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
        self, passed: ForwardPass, input: Input, *, target: Any = None, step: OptimizerStep | None = None
    ) -> None:
        captures, samples = passed.captures, passed.samples
        self.model = passed.network
        self.input = input
        self.output = detached(passed.output)
        self.target = target
        self.samples = samples
        self._passed = passed
        self._step = step
        self.sites = tuple(name for name, capture in captures.items() if capture.pool is None)
        self.pools = tuple(name for name, capture in captures.items() if capture.pool is not None)
        self.site: Mapping[str, Site] = {name: described(capture, samples) for name, capture in captures.items()}
        no_preactivation = dict.fromkeys(self.pools, "a max-pool has no pre-activation; ask for its pattern")
        dropped = [name for name, capture in captures.items() if capture.raw is None]
        no_preactivation |= dict.fromkeys(
            dropped,
            "only its pattern was kept; a metric that looks at pre-activations does not declare needs={'patterns'}, a "
            "caller leaves patterns_only=True out",
        )
        # Made from the captures, not by a method of this object: a cycle of references would keep large tensors alive
        # until the next garbage collection.
        self.preactivation = SiteTensors(
            self.sites, partial(captured_preactivation, captures, samples), no_preactivation
        )
        self.packed = SiteTensors((*self.sites, *self.pools), partial(captured_packed, captures, samples))
        self.pattern = SiteTensors((*self.sites, *self.pools), partial(captured_pattern, captures, samples))
        self._pieces = Pieces(passed, self.site)

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
        return self._pieces.affine(site)

    def walls(self) -> Walls:
        """Return the walls of the piece that holds each sample, of all activation sites and max-pools.

        Returns:
            Affine functions that are at least zero on the piece, with their map; smooth sites have none.

        Raises:
            ObservationError: If the observation was made without `affine=True`, no site is piecewise linear, a site
                hangs on a smooth one, or belongs to no sample, or the network also bends where no site is.
        """
        return self._pieces.walls()

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
        return self._pieces.dense_weights(output=output)


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
        passed = look(model, x, graph=affine, patterns_only=patterns_only)
    observation = Observation(passed, x, target=target, step=step)
    if passed.blind is not None:
        raise ObservationError(
            f"a recurrent layer with nonlinearity='relu' in {passed.blind} hides its ReLUs within one call of "
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
    return Observation(look(model, x, graph=True, check=check), x).affine()
