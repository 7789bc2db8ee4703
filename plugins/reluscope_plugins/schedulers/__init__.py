"""Learning-rate schedules, each stepped once after every optimizer step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reluscope.entries import Scheduler
from reluscope.hookspecs import hookimpl

if TYPE_CHECKING:
    from reluscope_plugins.schedulers.actcoolr import ActCooLR as ActCooLR


@hookimpl
def reluscope_schedulers() -> list[Scheduler]:
    """Return the schedules.

    Returns:
        Their entries.
    """
    return [
        Scheduler(
            name="constant",
            summary="The learning rate stays as it is",
            definition="reluscope_plugins.schedulers.constant:constant",
        ),
        Scheduler(
            name="step_decay",
            summary="The learning rate is divided by ten at each of a few milestones",
            definition="reluscope_plugins.schedulers.step_decay:step_decay",
        ),
        Scheduler(
            name="one_cycle",
            summary="One rise to a peak and one long fall to almost nothing",
            definition="reluscope_plugins.schedulers.one_cycle:one_cycle",
        ),
        Scheduler(
            name="cyclic",
            summary="The learning rate goes up and down between two values in a zigzag",
            definition="reluscope_plugins.schedulers.cyclic:cyclic",
        ),
        Scheduler(
            name="exponential",
            summary="The learning rate falls by the same factor at every step",
            definition="reluscope_plugins.schedulers.exponential:exponential",
        ),
        Scheduler(
            name="cosine",
            summary="The learning rate falls along half a cosine, after a warm-up where asked for",
            definition="reluscope_plugins.schedulers.cosine:cosine",
        ),
        Scheduler(
            name="abel",
            summary="The learning rate is decayed each time the weight norm has bounced and settled",
            definition="reluscope_plugins.schedulers.abel:abel",
        ),
        Scheduler(
            name="actcoolr",
            summary="The learning rate at which the network's activation patterns cool down along a curve",
            definition="reluscope_plugins.schedulers.actcoolr:actcoolr",
            batch=True,
        ),
    ]


def __getattr__(name: str) -> Any:
    if name != "ActCooLR":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from reluscope_plugins.schedulers.actcoolr import ActCooLR

    return ActCooLR
