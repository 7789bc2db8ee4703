"""How many directions a site lets through, and the bound on the rank that follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from reluscope.observation import Observation

LEAKY = frozenset({"leaky_relu", "prelu", "rrelu"})
"""Activations that pass their input on in every state."""


def active_units(observation: Observation, site: str) -> Tensor:
    r"""Count the units that pass their input on, $\operatorname{trace} Z$ of a site.

    Units of all positions together. Of leaky activations all count; of a max-pool, the different winners.

    Args:
        observation: One batch.
        site: A piecewise-linear site or a max-pool, whose rows belong to samples.

    Returns:
        int64 `(sample,)`.

    Example:
        >>> from reluscope import observe
        >>> identity = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
        >>> active_units(observe(identity, torch.tensor([[1.0, -1.0, 2.0], [-1.0, -2.0, -3.0]])), "1#0").tolist()
        [2, 0]
    """
    about, pattern = observation.site[site], observation.pattern[site]
    of_sample = pattern.reshape(observation.samples, -1, about.units)
    if about.activation in LEAKY:
        return torch.full((observation.samples,), of_sample[0].numel(), device=pattern.device)
    if about.states == 0:
        winners = of_sample.sort(1).values
        return of_sample.shape[2] + (winners[:, 1:] != winners[:, :-1]).sum((1, 2))
    passes = of_sample > 0 if about.activation in ("softshrink", "hardshrink") else of_sample == 1
    return passes.sum((1, 2))


def rank_bound(observation: Observation) -> Tensor:
    r"""Bound the rank of each sample's affine map by the narrowest place that everything passes.

    $\min(n_0, n_c, \min_i \operatorname{trace} Z_i)$ over the sites $i$ through which every path from the input to the
    output leads, `reluscope.bottlenecks.bottlenecks`.

    Args:
        observation: One batch, with the affine map.

    Returns:
        int64 `(sample,)`.

    References:
        Johansson 2022, eq. 2.3.
    """
    from reluscope.bottlenecks import bottlenecks

    _, out, inputs = observation.affine().shape
    bound = torch.full((observation.samples,), min(out, inputs))
    for site in bottlenecks(observation):
        if observation.site[site].positions:
            bound = torch.minimum(bound, active_units(observation, site).cpu())
    return bound
