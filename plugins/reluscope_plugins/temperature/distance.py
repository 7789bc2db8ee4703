"""How many samples change their activation pattern when the optimizer takes a step, and what temperature that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr

from reluscope import random_state
from reluscope.errors import NotFiniteError, ObservationError
from reluscope.observation import observe
from reluscope.preserve import is_preserved, preserved

if TYPE_CHECKING:
    from torch import nn

    from reluscope.inputs import Input
    from reluscope.observation import Observation
    from reluscope.optimizer_step import OptimizerStep
    from reluscope.sites import Site

Array = np.ndarray[Any, Any]


def pattern_distances(model: nn.Module, x: Input, step: OptimizerStep, rates: Sequence[float]) -> xr.DataArray:
    r"""Measure the share of samples whose pattern at a site differs before and after a step, at any learning rates.

    One forward pass for the patterns before, one for each rate. Each pass draws the same random numbers (dropout), and
    starts from the same buffers. Model, optimizer, gradients and random state are left as they were found. A
    convolution's positions count as samples.

    Args:
        model: The network, in the mode in which it is to be seen.
        x: A batch, as `reluscope.observe` takes it.
        step: The optimizer's step.
        rates: Learning rates of the first parameter group.

    Returns:
        $P(D(\eta))$ `(learning_rate, site)` in [0, 1]; NaN at a rate at which the network leaves the finite numbers.

    Raises:
        ObservationError: If the batch cannot be observed.

    References:
        Hartmann 2025, definition 5, eq. 3.15.
    """
    with preserved(model):
        start = _Start(model, step)
        before = observe(model, x, patterns_only=True, step=step)
        start.again()
        changed, overflows = changes(before, step, rates)
    table = np.stack([counts / max(rows, 1) for counts, rows in changed.values()], axis=1)
    table[overflows > 0] = np.nan
    return xr.DataArray(
        table,
        dims=("learning_rate", "site"),
        coords={"learning_rate": np.asarray(rates, dtype=np.float64), "site": list(changed)},
        name="pattern_distance",
    )


def changes(
    before: Observation, step: OptimizerStep, rates: Sequence[float], *, units: bool = False
) -> tuple[dict[str, tuple[Array, int]], Array]:
    """Count the samples whose pattern changes in a step.

    Args:
        before: The patterns before.
        step: The optimizer's step.
        rates: Learning rates of the first parameter group.
        units: Whether the units of all rows are counted in place of the rows.

    Returns:
        Site to how many rows changed, int64 `(rate,)`, and the number of rows; and whether the network left the finite
        numbers, 0 or 1 `(rate,)`.

    Raises:
        ObservationError: If the network calls other activations after the step, or of other shapes.
    """
    counts = {site: np.zeros(len(rates), np.int64) for site in before.sites}
    overflows = np.zeros(len(rates), np.int64)
    for place, after in enumerate(steps_taken(before, step, rates)):
        if after is None:
            overflows[place] = 1
            continue
        for site, total in counts.items():
            first, second = before.packed[site], after.packed[site]
            total[place] = units_changed(first, second, before.site[site]) if units else rows_changed(first, second)
    sizes = {site: len(before.packed[site]) * (before.site[site].units if units else 1) for site in before.sites}
    return {site: (counts[site], sizes[site]) for site in counts}, overflows


def steps_taken(before: Observation, step: OptimizerStep, rates: Sequence[float]) -> Iterator[Observation | None]:
    """Observe a network after a step, at one learning rate after the other.

    Args:
        before: The network before the step.
        step: The optimizer's step.
        rates: Learning rates of the first parameter group.

    Yields:
        The observation of the same batch, of patterns alone; None where the network leaves the finite numbers.

    Raises:
        ObservationError: If the network calls other activations after the step.
    """
    # To preserve a network for each rate would take a thirtieth of a pass.
    with nullcontext() if is_preserved(before.model) else preserved(before.model):
        start = _Start(before.model, step)
        for rate in rates:
            after = None
            try:
                with step.taken(rate):
                    after = observe(before.model, before.input, patterns_only=True)
            except NotFiniteError:
                pass
            finally:
                start.again()
            if after is not None and after.sites != before.sites:
                raise ObservationError(
                    f"after a step at learning rate {rate:g} the network calls other activations: {after.sites}, "
                    f"expected {before.sites}; its control flow depends on its values, and patterns cannot be compared"
                )
            for name, site in (after.site if after is not None else {}).items():
                check_same_shape(before.site[name], site)
            yield after


def check_same_shape(before: Site, after: Site) -> None:
    """See to it that a site has the same shape before and after a step.

    Args:
        before: The site before.
        after: The site after.

    Raises:
        ObservationError: If it has another number of units or positions.
    """
    if (before.units, before.positions) != (after.units, after.positions):
        raise ObservationError(
            f"site {before.name!r} has {after.units} units at {after.positions} positions after the step and "
            f"{before.units} at {before.positions} before, expected the same; its shape depends on the weights"
        )


def share_changed(first: torch.Tensor, second: torch.Tensor, site: Site, width: int, depth: int) -> float:
    r"""Return the share of rows whose pattern changed, or that of a site of another width.

    Args:
        first: Packed patterns `(row, byte)`.
        second: Those of the same rows after a step.
        site: Their site.
        width: 0 for the patterns as they are; else that of `share_of_width`.
        depth: Which of the network's sites it is, from 1.

    Returns:
        A share; 0 where there are no rows.
    """
    if width == 0:
        return rows_changed(first, second) / max(len(first), 1)
    return float(share_of_width(units_changed(first, second, site) / max(len(first) * site.units, 1), width, depth))


def share_of_width(units: Any, width: int, depth: int) -> Any:
    r"""Return the share of patterns that change where units change independently.

    What a layer's own step changes adds to what those before it pass on. Were all these independent, the units of the
    l-th site would change $\sqrt{l}$ times as often as those of the first. The patterns of the l-th site are so much
    narrower, that networks of any depth may be compared.

    Args:
        units: Share q of the units that change, in [0, 1], of any shape.
        width: Units of a pattern at the first site, at least 1.
        depth: Which of the network's sites it is, l, from 1.

    Returns:
        $1 - (1 - q)^{width / \sqrt{l}}$.

    References:
        Hartmann 2025, eq. 3.38: the product over independent units.

    Example:
        >>> round(float(share_of_width(0.5, 2, depth=1)), 2), round(float(share_of_width(0.5, 4, depth=4)), 2)
        (0.75, 0.75)
    """
    with np.errstate(divide="ignore"):
        return -np.expm1(width / math.sqrt(depth) * np.log1p(-np.asarray(units, dtype=np.float64)))


def units_changed(first: torch.Tensor, second: torch.Tensor, site: Site) -> int:
    """Count the units that changed, over all rows.

    Args:
        first: Packed patterns `(row, byte)`.
        second: Those of the same rows after a step.
        site: Their activation site, of units with two or three states.

    Returns:
        The number of units: at most that of the rows times that of the site's units.
    """
    changed = first ^ second
    if site.bits == 2:
        changed = (changed | changed >> 1) & 0x55
    if changed.device.type == "cpu":
        return int(np.bitwise_count(changed.numpy()).sum())
    bits = torch.arange(8, dtype=torch.uint8, device=changed.device)
    return int(((changed.unsqueeze(-1) >> bits) & 1).sum())


def rows_changed(first: torch.Tensor, second: torch.Tensor) -> int:
    """Count the rows whose pattern changed.

    Args:
        first: Packed patterns `(row, byte)`.
        second: Those of the same rows after a step.

    Returns:
        The number of rows.
    """
    word = {1: torch.uint8, 2: torch.int16, 4: torch.int32}.get(first.shape[1], torch.int64)
    return int((first.contiguous().view(word) != second.contiguous().view(word)).any(1).sum())


def temperature(probability: Any, *, base: float = 2.0) -> Any:
    r"""Return the activation pattern temperature.

    Args:
        probability: Share of changed patterns, in [0, 1], of any shape.
        base: Base of the logarithm. Definition 6 does not say; figure 3.22 equates T = 3.17 with 89 %, which is 2.

    Returns:
        $-\log(1 - P)$; infinite where all changed.

    References:
        Hartmann 2025, definition 6, eq. 3.16.

    Example:
        >>> float(temperature(0.75)), round(float(probability(3.17)), 2)
        (2.0, 0.89)
    """
    with np.errstate(divide="ignore"):
        return 0.0 - np.log1p(-np.asarray(probability, dtype=np.float64)) / np.log(base)


def probability(temperature: Any, *, base: float = 2.0) -> Any:
    """Undo `temperature`.

    Args:
        temperature: Of any shape, at least 0.
        base: Base of the logarithm.

    Returns:
        Share of changed patterns.
    """
    return -np.expm1(-np.asarray(temperature, dtype=np.float64) * np.log(base))


class _Start:
    """What a pass starts from, and may change: buffers, random state, weights that the step leaves alone."""

    def __init__(self, model: nn.Module, step: OptimizerStep) -> None:
        swapped = {id(parameter) for parameter in step.parameters}
        tensors = (*model.parameters(), *model.buffers())
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors if id(tensor) not in swapped]
        registries: list[Any] = [r for module in model.modules() for r in (module._parameters, module._buffers)]
        self._registries = [(registry, dict(registry)) for registry in registries if registry]
        self._randomness = random_state.capture()

    def again(self) -> None:
        """Go back there."""
        for registry, kept in self._registries:
            if len(registry) != len(kept) or not all(map(is_, registry.values(), kept.values())):
                registry.clear()
                registry.update(kept)
        for tensor, values in self._values:
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                if tensor.shape == values.shape:
                    tensor.data.copy_(values)
                else:
                    tensor.data = values.clone()
        random_state.restore(self._randomness)
