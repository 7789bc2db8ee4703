"""Count and draw the activation cells of a plane, before training and while a network learns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import torch
import xarray as xr

from reluscope.devices import find_device
from reluscope.errors import RecipeError
from reluscope_plugins.patterns.cells import cells as find_cells
from reluscope_plugins.procedures.plane_choice import check_place, chosen_plane, drawn_epochs, untrained

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn
    from torch.utils.data import Dataset

    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]
_BOX = 12
MARKED = 50
"""Points drawn from a box that are marked in its pictures."""


def cells(
    context: Context,
    *,
    epochs: Natural = 0,
    every: Positive = 1,
    pictures: list[Natural] | None = None,
    sites: list[str] | None = None,
    resolution: int = 500,
    extent: float = 5.0,
    origin: list[Any] | None = None,
    directions: list[Any] | None = None,
    points: tuple[Natural, Natural, Natural] | None = None,
    statistics_samples: Positive = 10_000,
    statistics_box: list[tuple[float, float]] | None = None,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
) -> None:
    """Count and draw the activation cells of a plane, before training and while a network learns.

    The plane goes through three training samples; where a sample has two values, or there is no data set, it is that of
    the coordinate axes, or the one that `origin` and `directions` give. Batch norm takes the statistics of the training
    samples, or of a box, each time it is looked at, never those of the grid.

    Writes the group `cells` (number of cells of each site, and of all together), `pictures` (their colours), `limits`
    (where all sites are looked at: the number at the first before training, of so many lines in general position, and
    of all patterns), and with epochs all that `train` writes.

    Args:
        context: The recipe's point: architecture; data set; with epochs also optimizer, scheduler, metrics.
        epochs: How often each training sample is seen; 0 looks at the network as it is drawn, and needs neither
            optimizer nor scheduler.
        every: Epochs between two counts.
        pictures: Epochs at which the cells are drawn; left out, the first and the last.
        sites: Which sites, `"global"` for all together; left out, all of them.
        resolution: Points of the grid along x, and along y.
        extent: The grid covers -extent to extent along both, in units of the plane's directions.
        origin: The input at (0, 0), as nested lists; left out, zeros.
        directions: The steps along x and y, likewise; left out, the axes of an input of two values.
        points: Training samples that lie at (0, 0), (1, 0) and (0, 1); left out, drawn by the seed.
        statistics_samples: The first so many training samples, or so many points of the box, give the statistics of
            batch norm.
        statistics_box: Least and greatest value of each feature: the statistics of batch norm are those of points drawn
            uniformly from this box, not those of the training samples.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to work: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

    Raises:
        RecipeError: If the recipe lacks a choice, or its choices do not fit together.
    """
    drawn = drawn_epochs(pictures, epochs)
    check_place(points, origin, directions)
    place = find_device(device)
    data: Dataset[Any] | None
    if epochs:
        from reluscope_plugins.procedures.train import Training

        training = Training(context, epochs, batch_size, evaluation_batch_size, place)
        model, data = training.model, training.data["train"]
    else:
        model, data = untrained(context, place)
    statistics, marked = _statistics(context, model, data, statistics_samples, statistics_box, evaluation_batch_size)
    plane, samples_mark_it = chosen_plane(context, data, origin, directions, points)
    if samples_mark_it:
        marked = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]

    def look(epoch: int) -> None:
        if epoch % every and epoch not in (*drawn, epochs):
            return
        found = find_cells(
            model,
            plane,
            sites,
            resolution=resolution,
            extent=extent,
            batch_size=evaluation_batch_size,
            statistics=statistics,
            progress=None if epochs else lambda done, total: context.advance(done / total),
        )
        _record(context, found, epoch, picture=epoch in drawn, marked=marked)
        if epoch == 0 and sites is None:
            _record_limits(context, found)

    if epochs:
        training.run(after_epoch=look)
    else:
        look(0)


Marks = list[tuple[float, float]]


def _statistics(
    context: Context,
    model: nn.Module,
    data: Dataset[Any] | None,
    samples: int,
    box: Sequence[tuple[float, float]] | None,
    batch_size: int,
) -> tuple[Any, Marks]:
    if not any(isinstance(module, torch.nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return None, []
    if box is not None:
        if not box or any(not math.isfinite(low) or not math.isfinite(high) or low >= high for low, high in box):
            raise RecipeError(f"statistics_box = {box}: expected the least and the greatest value of each feature")
        generator = torch.Generator().manual_seed(context.seed(_BOX))
        low, high = torch.tensor(box).T
        inputs = low + (high - low) * torch.rand(samples, len(box), generator=generator)
        return [inputs], [(float(x), float(y)) for x, y in inputs[:MARKED, :2].tolist()] if len(box) == 2 else []
    if data is None:
        raise RecipeError(
            "the network has batch norm, which needs statistics: add a [dataset], or statistics_box = [[least, "
            "greatest], ...]"
        )
    some = torch.utils.data.Subset(data, range(min(samples, len(data))))  # type: ignore[arg-type]
    return torch.utils.data.DataLoader(some, batch_size=batch_size), []


def _record(context: Context, found: xr.Dataset, epoch: int, *, picture: bool, marked: Marks) -> None:
    coordinate = xr.Variable("epoch", [epoch], {"long_name": "Epoch", "units": "1"})
    labelled = found.expand_dims("epoch").assign_coords(epoch=coordinate)
    context.record("cells", labelled[["cell_count"]].drop_vars(["x", "y"], errors="ignore"))
    if not picture:
        return
    shown = labelled[["cell_colour"]]
    if marked:
        across, up = np.array(marked).T
        about = {"units": "1"}
        shown["point_x"] = ("point", across, {"long_name": "First coordinate of a point that is marked", **about})
        shown["point_y"] = ("point", up, {"long_name": "Second coordinate of a point that is marked", **about})
    context.record("pictures", shown)


def _record_limits(context: Context, found: xr.Dataset) -> None:
    # beside the cells of the first site what bounds them
    first = found.isel(site=0)
    lines = int(first.pattern_bits)
    if lines >= 1024:  # all patterns are more than float64 can count
        return
    counts = {
        str(first.site.values): float(first.cell_count),
        "lines in general position": 1.0 + lines + math.comb(lines, 2),
        "all patterns": 2.0**lines,
    }
    context.record(
        "limits",
        xr.Dataset(
            {"cell_count": ("site", list(counts.values()), {"long_name": "Number of activation cells", "units": "1"})},
            coords={"site": ("site", list(counts), {"long_name": "First site, and what bounds it", "units": "1"})},
        ),
    )
