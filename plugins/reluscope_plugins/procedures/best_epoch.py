"""Train a classifier, and say what was measured at the epoch at which it generalised best."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import pydantic

from reluscope.devices import find_device
from reluscope_plugins.procedures.train import Training

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]


def best_epoch(
    context: Context,
    *,
    epochs: Positive,
    split: Literal["train", "validation", "test"] = "test",
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
    shift: Natural = 0,
    flip: bool = False,
) -> None:
    """Train as `train` does, and repeat what was measured at the epoch of least loss, as early stopping would keep it.

    Writes all that `train` writes, and when the training has ended the group `best_epoch`: each variable of the group
    `epoch` as it was at that epoch, and `best_epoch`, which epoch that was. Where it is the last one, the loss may not
    have reached its least. A training that diverges has no such group.

    Args:
        context: The recipe's point: data set, architecture, optimizer, scheduler, metrics.
        epochs: How often each training sample is seen.
        split: Whose loss decides.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Inputs of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.
        shift: Greatest number of pixels by which the images of an optimizer step are moved, as in `train`.
        flip: Whether they are mirrored at random, as in `train`.

    Raises:
        RecipeError: If the recipe's choices do not fit together.
    """
    place = find_device(device)
    Training(context, epochs, batch_size, evaluation_batch_size, place, shift=shift, flip=flip).run()
    measured = context.recorded("epoch")
    best = measured.isel(epoch=int(measured[f"{split}_loss"].argmin("epoch")))
    epoch = best["epoch"].astype(int).item()
    found = best.drop_vars(["epoch", "step"])
    found["best_epoch"] = ((), epoch, {"long_name": f"Epoch of least {split} loss", "units": "1"})
    context.record("best_epoch", found)
