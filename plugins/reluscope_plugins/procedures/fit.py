"""Fit an architecture that needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic
import torch
import xarray as xr

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope_plugins.procedures.requests import SPLITS

if TYPE_CHECKING:
    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]


@torch.no_grad()
def fit(context: Context, *, evaluation_batch_size: Positive = 1000, device: str = "auto") -> None:
    """Fit a classifier that needs no training to the training samples, and measure its accuracy.

    The architecture's module has a method `fit(inputs, labels)`, as `svd_classifier` gives it. Writes the group `fit`:
    the accuracy on each split.

    Args:
        context: The recipe's point: data set, architecture.
        evaluation_batch_size: Samples of a forward pass.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe lacks a choice, or the architecture has nothing to fit.
    """
    place = find_device(device)
    architecture, dataset = context.choice("architecture"), context.choice("dataset")
    model = context.lab.architectures[architecture.name].build(**architecture.parameters).to(place)
    fit_to = getattr(model, "fit", None)
    if not callable(fit_to):
        raise RecipeError(
            f"architecture.name = {architecture.name!r}: the procedure 'fit' needs one that is fitted, such as "
            "'svd_classifier'; run 'train', or choose that"
        )
    entry = context.lab.datasets[dataset.name]
    loaders = {
        split: torch.utils.data.DataLoader(
            entry.load(split, context.data_root, lab=context.lab, **dataset.parameters),
            batch_size=evaluation_batch_size,
        )
        for split in SPLITS
    }
    inputs, labels = zip(*loaders["train"], strict=True)
    fit_to(torch.cat(inputs).to(place), torch.cat(labels).to(place))
    found = xr.Dataset()
    for number, (split, loader) in enumerate(loaders.items(), start=1):
        right, samples = 0, 0
        for x, y in loader:
            right += int((model(x.to(place)).argmax(1) == y.to(place)).sum())
            samples += len(y)
        about = {"long_name": f"{split.capitalize()} accuracy", "units": "1", "split": split}
        found[f"{split}_accuracy"] = ((), right / samples, about)
        context.advance(number / len(loaders))
    context.record("fit", found)
