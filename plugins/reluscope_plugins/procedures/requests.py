"""What a training measures: which metric, how often, on which samples, under which name."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from reluscope.cadence import Cadence
from reluscope.entries import Metric
from reluscope.errors import RecipeError
from reluscope.measurement import with_brought
from reluscope.monoid import owner

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.context import Context

SPLITS = ("train", "validation", "test")
ALWAYS = ("loss", "accuracy")
"""Measured on each split after each epoch, whatever the recipe says; named by their split."""


class Occasion(NamedTuple):
    """When and on what something is measured: what metrics must have in common to share their observations.

    Attributes:
        cadence: How often.
        split: On which split.
        samples: On how many of its first samples; None for all.
        training: Whether the network is in training mode, as batch normalisation and dropout see it.
        step: Whether with the optimizer's next step: then in training mode, and unless a number of samples is given on
            the batch of that step.
    """

    cadence: Cadence
    split: str
    samples: int | None = None
    training: bool = False
    step: bool = False


@dataclasses.dataclass(frozen=True)
class Request:
    """Metrics that are measured on one occasion.

    Attributes:
        occasion: When, and on what.
        metrics: Name of the variable to metric.
    """

    occasion: Occasion
    metrics: dict[str, Metric]

    @property
    def cadence(self) -> Cadence:
        """How often."""
        return self.occasion.cadence

    def group_of(self, table: str) -> str:
        """Name the group that holds a table of each moment.

        Args:
            table: What it is a table of.

        Returns:
            Group of the archive.
        """
        return f"{table}_{self.cadence.group}"

    def named(self, found: xr.Dataset) -> xr.Dataset:
        """Give what was measured the names of its variables.

        Args:
            found: A variable for each metric, under the metric's name.

        Returns:
            The same under the variables' names; attributes say split and number of samples.
        """
        measured = {variable: metric for variable, metric in self.metrics.items() if metric.name in found}
        for metric in measured.values():
            about = found[metric.name].attrs
            about |= {"split": self.occasion.split}
            about |= {"samples": found.attrs["samples"]} if "samples" in found.attrs else {}
            if metric.name in ALWAYS:
                about["long_name"] = f"{self.occasion.split.capitalize()} {metric.name}"
        return found.rename({m.name: variable for variable, m in measured.items() if m.name != variable})


_Wanted = tuple[Occasion, Metric]


def requests_of(context: Context) -> list[Request]:
    """Gather what a recipe wants measured, and what is always measured.

    A variable is called as its metric; or `split_metric`, where that metric is measured several times at one cadence,
    and for loss and accuracy.

    Args:
        context: The recipe's point.

    Returns:
        One request for each occasion.

    Raises:
        RecipeError: If two variables would have one name in one group.
    """
    wanted: list[_Wanted] = []
    epochly = Cadence.parse("1 epoch")
    for split in SPLITS:
        wanted += [(Occasion(epochly, split), context.lab.metrics[name]) for name in ALWAYS]
    for choice in context.recipe.metrics:
        metric = context.lab.metrics[choice.name].bind(**choice.parameters)
        step = "step" in metric.needs
        occasion = Occasion(Cadence.parse(choice.every), choice.split, choice.samples, choice.training or step, step)
        asked_for = (occasion, metric)
        if asked_for not in wanted[: len(SPLITS) * len(ALWAYS)]:  # asking for what is measured anyway is no mistake
            wanted.append(asked_for)
    wanted += _brought(wanted)
    asked = Counter((occasion.cadence.group, metric.name) for occasion, metric in wanted)
    taken = {(epochly.group, "rate"): "the learning rate"}
    requests: dict[Occasion, Request] = {}
    for occasion, metric in wanted:
        group, split = occasion.cadence.group, occasion.split
        several = asked[group, metric.name] > 1 or metric.name in ALWAYS
        name = f"{split}_{metric.name}" if several else metric.name
        other = taken.get((group, name))
        if other == metric.name:
            raise RecipeError(
                f"metrics: {metric.name!r} is measured twice on the {split} split in the group {group!r} (loss "
                "and accuracy always are, on all samples, after each epoch); keep one, or choose another split or "
                "cadence"
            )
        if other is not None:
            raise RecipeError(
                f"metrics: {metric.name!r} would be called {name!r} in the group {group!r}, as is {other} "
                "already; leave it out, or measure it at another cadence"
            )
        taken[group, name] = metric.name
        requests.setdefault(occasion, Request(occasion, {})).metrics[name] = metric
    _check_tables(list(requests.values()))
    return list(requests.values())


def _check_tables(requests: list[Request]) -> None:
    taken: dict[tuple[str, str], Request] = {}
    for request in requests:
        for metric in request.metrics.values():
            if metric.compared_with == "last":
                other = taken.setdefault((owner(metric), request.cadence.group), request)
                if other is not request:
                    raise RecipeError(
                        f"metrics: {metric.name!r} is measured at two lists of moments, or on two splits, numbers of "
                        f"samples or modes, in the group {request.cadence.group!r}, whose tables would have one name; "
                        "keep one, or choose another cadence"
                    )


def _brought(wanted: list[_Wanted]) -> list[_Wanted]:
    # what metrics bring along, unless it was asked for on the same occasion
    found: dict[tuple[Occasion, str], _Wanted] = {}
    asked = {(occasion, metric.name) for occasion, metric in wanted}
    for occasion, metric in wanted:
        for brought in with_brought([metric])[1:]:
            if (occasion, brought.name) not in asked:
                found.setdefault((occasion, brought.name), (occasion, brought))
    return list(found.values())


def check_moments(requests: list[Request], epochs: int, steps: int) -> None:
    """See to it that chosen moments come before the training ends.

    Args:
        requests: All requests.
        epochs: Epochs that will be completed.
        steps: Optimizer steps that will be taken.

    Raises:
        RecipeError: If one comes later.
    """
    for request in requests:
        for unit, chosen, end in (("step", request.cadence.steps, steps), ("epoch", request.cadence.epochs, epochs)):
            late = [moment for moment in chosen if moment > end]
            if late:
                name = next(iter(request.metrics.values())).name
                raise RecipeError(
                    f"metrics: {name!r} is to be measured at {unit} {late[0]}, but the training ends after {steps} "
                    f"steps ({epochs} whole epochs); leave it out, or train longer"
                )


def due(requests: list[Request], epoch: int | None, step: int) -> Iterator[tuple[str, list[Request]]]:
    """Say what is to be measured now.

    Args:
        requests: All requests.
        epoch: Epochs completed, at the end of one; None within one.
        step: Optimizer steps taken.

    Yields:
        Group of the archive, and its requests.
    """
    groups: dict[str, list[Request]] = {}
    for request in requests:
        if request.cadence.due(epoch=epoch, step=step):
            groups.setdefault(request.cadence.group, []).append(request)
    yield from groups.items()
