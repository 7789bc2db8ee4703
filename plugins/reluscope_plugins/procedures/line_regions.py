"""Count the regions along lines through the input space, before training and while a network learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope.observation import observe
from reluscope.preserve import preserved
from reluscope_plugins.regions.line_regions import line_regions as find_regions

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import Dataset

    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
# that of the weights is the one that `train` has, so that both see the same network
_WEIGHTS, _LINES = 1, 33


def line_regions(
    context: Context,
    *,
    epochs: Natural = 0,
    every: Positive = 1,
    lines: Positive = 20,
    inputs: Positive | None = None,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
) -> None:
    """Count the regions along lines between pairs of training samples, exactly.

    Without a data set the lines are between standard normal points. The pairs are drawn by the seed and stay the same
    through training.

    Writes the group `line_regions`: the number of regions on each line, `(epoch, sample)`, its mean, the standard error
    of that over lines, and the mean number of breakpoints for each unit of the network; and for each site the mean
    number of parameters at which it changes. With epochs also all that `train` writes.

    Args:
        context: The recipe's point: architecture; data set; with epochs also optimizer, scheduler, metrics.
        epochs: How often each training sample is seen; 0 looks at the network as it is drawn.
        every: Epochs between two counts.
        lines: How many.
        inputs: Number of values of a standard normal point, where there is no data set.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe lacks a choice, or its choices do not fit together.
    """
    place = find_device(device)
    chosen = context.recipe.dataset
    if (chosen is None) == (inputs is None):
        raise RecipeError(
            f"inputs = {inputs}: expected the number of values of a point where there is no [dataset], and nothing "
            "where there is one; give one of them"
        )
    if epochs:
        from reluscope_plugins.procedures.train import Training

        training = Training(context, epochs, batch_size, evaluation_batch_size, place)
        ends = _ends(training.data["train"], lines, context.seed(_LINES))
        model = training.model
    else:
        choice = context.choice("architecture")
        entry = context.lab.architectures[choice.name]
        model = entry.build(seed=context.seed(_WEIGHTS), **choice.parameters).to(place)
        generator = torch.Generator().manual_seed(context.seed(_LINES))
        if chosen is None:
            ends = torch.randn(lines, 2, inputs or 0, generator=generator, dtype=torch.float64)
        else:
            known = context.lab.datasets[chosen.name]
            data = known.load("train", context.data_root, lab=context.lab, **chosen.parameters)
            ends = _ends(data, lines, context.seed(_LINES))

    def look(epoch: int) -> None:
        if epoch % every == 0 or epoch == epochs:
            with preserved(model, training=False):
                _record(context, model, ends.to(place), epoch)

    if epochs:
        training.run(after_epoch=look)
    else:
        look(0)


def _ends(data: Dataset[Any], lines: int, seed: int) -> torch.Tensor:
    size = len(data)  # type: ignore[arg-type]
    if size < 2:
        raise RecipeError(
            f"there is {size} training sample, expected at least two to draw a line; take a larger data set"
        )
    generator = torch.Generator().manual_seed(seed)
    pairs = [torch.randperm(size, generator=generator)[:2].tolist() for _ in range(lines)]
    return torch.stack([torch.stack([data[index][0] for index in pair]) for pair in pairs])


def _record(context: Context, model: nn.Module, ends: torch.Tensor, epoch: int) -> None:
    found = [find_regions(model, pair, pieces=False) for pair in ends]
    counts = np.array([int(one.region_count) for one in found])
    dtype = next((tensor.dtype for tensor in model.parameters()), torch.float64)
    observation = observe(model, ends[0, :1].to(dtype))
    units = sum(observation.preactivation[site].numel() for site in observation.sites)
    error = counts.std(ddof=1) / math.sqrt(len(counts)) if len(counts) > 1 else math.nan
    by_site = np.mean([one.site_breakpoint_count.values for one in found], axis=0)
    about = {"units": "1"}
    data = xr.Dataset(
        {
            "region_count": ("sample", counts, {"long_name": "Number of regions on a line", **about}),
            "mean_region_count": ((), counts.mean(), {"long_name": "Mean number of regions on a line", **about}),
            "mean_region_count_error": ((), error, {"long_name": "Standard error of that mean, over lines", **about}),
            "unit_count": ((), units, {"long_name": "Number of units", **about}),
            "breakpoints_per_unit": (
                (),
                (counts.mean() - 1) / units,
                {"long_name": "Mean number of breakpoints on a line for each unit", **about},
            ),
            "site_breakpoint_count": (
                "site",
                by_site,
                {"long_name": "Mean number of parameters at which a site changes", **about},
            ),
        },
        coords={"site": ("site", found[0].site.values, {"long_name": "Site", **about})},
    )
    coordinate = xr.Variable("epoch", [epoch], {"long_name": "Epoch", **about})
    context.record("line_regions", data.expand_dims("epoch").assign_coords(epoch=coordinate))
