"""The search for the rates between which a network's patterns begin to change, and the fit to what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.preserve import preserved
from reluscope_plugins.schedulers.batches import running_the_network
from reluscope_plugins.schedulers.followed_transition import (
    CEILING,
    FIRST_GUESS,
    FLOOR,
    FollowedTransition,
    usable,
)
from reluscope_plugins.schedulers.group_sites import Tracks
from reluscope_plugins.schedulers.ranks import Array, over_ranks
from reluscope_plugins.temperature.distance import share_changed, steps_taken
from reluscope_plugins.temperature.transition import SATURATED

if TYPE_CHECKING:
    from torch import nn

    from reluscope.inputs import Input
    from reluscope.optimizer_step import OptimizerStep

PROBABILITIES = (0.25, 0.5, 0.75)
"""What is measured first."""
GRID = tuple(float(rate) for rate in np.logspace(-4, 2, 25))
"""Rates to measure where the model's own give nothing to fit."""
JUMP, SEARCHES = 2.0, 100
"""Factor between the rates of a search, and how many there may be."""
NARROW = 1.0001
"""Factor between two rates within which a transition is a step."""


class Probe:
    """Measures one step on one batch, at any learning rate.

    Args:
        model: The network as the user has it.
        batch: A batch.
        step: The step.
        tracks: What parts the sites.
        width: As `reluscope_plugins.temperature.distance.share_changed` takes it.

    Attributes:
        step: The step.
        sites: Sites of each track.
        ratios: Of each track, its parameter group's rate over that of the first.
    """

    def __init__(self, model: nn.Module, batch: Input, step: OptimizerStep, tracks: Tracks, width: int) -> None:
        self.step = step
        self._model, self._batch, self._width = model, batch, width
        over_ranks(model, self._look_before)
        self.sites = tracks({name: self._before.site[name].after for name in self._before.sites})
        self.ratios: Sequence[float] = step.ratios[: len(self.sites)]

    def __call__(self, rate: float) -> Array:
        """Measure the shares of changed patterns.

        Args:
            rate: Learning rate of the first parameter group.

        Returns:
            Mean share over the sites of each track, and over the processes of a data-parallel training `(track,)`; NaN
            without sites. At a rate at which the network overflows, all patterns change.
        """
        return np.asarray(over_ranks(self._model, lambda: self._shares(rate)).mean(axis=0))

    def _look_before(self) -> Array:
        with running_the_network(), preserved(self._model):
            self._before = observe(self._model, self._batch, patterns_only=True, step=self.step)
        return np.empty(0)

    def _shares(self, rate: float) -> Array:
        with running_the_network():
            (after,) = steps_taken(self._before, self.step, [rate])
        if after is None:
            return np.array([1.0 if sites else np.nan for sites in self.sites])
        shares = {
            name: share_changed(
                self._before.packed[name], after.packed[name], self._before.site[name], self._width, depth
            )
            for depth, name in enumerate(after.sites, start=1)
        }
        return np.array([np.mean([shares[site] for site in sites]) if sites else np.nan for sites in self.sites])


def fit_transitions(probe: Probe, transitions: Sequence[FollowedTransition], step: int, *, first: bool) -> int:
    """Fit the transitions of all tracks to what is measured of one step.

    Args:
        probe: What measures it.
        transitions: Of each track; they are changed.
        step: Number of the optimizer step, for messages.
        first: Whether nothing was fitted before.

    Returns:
        Number of forward passes.

    Raises:
        ObservationError: If no track has sites.
        Diverged: If no rate changes some patterns and leaves others.

    References:
        Hartmann 2025, section A.4, steps 3 and 4, with table A.1.
    """
    # from rates of the first group, for the rates of all are in proportion to it, to the shares of each track
    found: dict[float, Array] = {}

    def look(rate: float) -> Any:
        if rate not in found and FLOOR <= rate <= CEILING:
            found[rate] = probe(rate)
        return found.get(rate)

    # the floor, at which a training with warm-up starts, is far from any transition
    if probe.step.rate > JUMP * FLOOR and look(probe.step.rate) is not None:
        for transition, share in zip(transitions, found[probe.step.rate].tolist(), strict=True):
            transition.measured = share
    tracks = [track for track, sites in enumerate(probe.sites) if sites]
    if not tracks:
        raise ObservationError(
            "ActCooLR: with per_group=True no activation site comes right after a parameter of the optimizer, "
            "expected at least one; leave per_group out"
        )
    for track, transition in enumerate(transitions):
        if track not in tracks:
            transition.mu = transition.sigma = math.nan
        elif math.isnan(transition.mu):
            transition.mu, transition.sigma = FIRST_GUESS
    for track in tracks:
        for wanted in PROBABILITIES:
            look(float(np.clip(transitions[track].model().rate(wanted) / probe.ratios[track], FLOOR, CEILING)))
    for track in tracks:
        if not any(usable(shares[track]) for shares in found.values()):
            for rate in GRID:
                look(rate)
        for wanted, upwards in ((PROBABILITIES[-1], True), (PROBABILITIES[0], False)):
            _search(found, look, track, wanted, upwards=upwards)
        _fill(found, look, track)
    for track in tracks:
        ratio = probe.ratios[track]
        points = [(rate * ratio, float(shares[track])) for rate, shares in sorted(found.items())]
        transitions[track].refit(points, step, first=first)
    return 1 + len(found)


def _search(
    found: dict[float, Array], look: Callable[[float], Any], track: int, wanted: float, *, upwards: bool
) -> None:
    # rates double, or are halved, from the outermost one until they bracket the probability
    for _ in range(SEARCHES):
        rate = max(found) if upwards else min(found)
        share = found[rate][track]
        if (share >= wanted) if upwards else (share <= wanted):
            return
        if look(rate * JUMP if upwards else rate / JUMP) is None:
            return


def _fill(found: dict[float, Array], look: Callable[[float], Any], track: int) -> None:
    # the transition may lie between two rates of a search: halve what is left until there are enough points
    for _ in range(SEARCHES):
        points = sorted((rate, float(shares[track])) for rate, shares in found.items())
        if len({share for _, share in points if usable(share)}) >= len(PROBABILITIES):
            return
        wider = [
            (high / low, low, high)
            for (low, first), (high, second) in pairwise(points)
            if not (usable(first) and usable(second)) and first <= 1 - SATURATED and second > SATURATED
        ]
        width, low, high = max(wider, default=(1.0, 1.0, 1.0))
        if width < NARROW:
            return
        look(math.sqrt(low * high))
