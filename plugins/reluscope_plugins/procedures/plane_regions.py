"""Count and draw the linear regions of a plane exactly, before training and while a network learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pydantic
import xarray as xr

from reluscope.devices import find_device
from reluscope_plugins.patterns.plane import ticks
from reluscope_plugins.procedures.plane_choice import check_place, chosen_plane, drawn_epochs, untrained
from reluscope_plugins.regions.decision_boundary import decision_boundary
from reluscope_plugins.regions.plane_picture import plane_picture
from reluscope_plugins.regions.plane_regions import plane_regions

if TYPE_CHECKING:
    from torch.utils.data import Dataset

    from reluscope.context import Context

Positive = Annotated[int, pydantic.Field(ge=1)]
Natural = Annotated[int, pydantic.Field(ge=0)]


def regions(
    context: Context,
    *,
    epochs: Natural = 0,
    every: Positive = 1,
    pictures: list[Natural] | None = None,
    resolution: Annotated[int, pydantic.Field(ge=2)] = 500,
    extent: Annotated[float, pydantic.Field(gt=0)] = 5.0,
    boundary: bool = True,
    origin: list[Any] | None = None,
    directions: list[Any] | None = None,
    points: tuple[Natural, Natural, Natural] | None = None,
    batch_size: Positive = 128,
    evaluation_batch_size: Positive = 1000,
    device: str = "auto",
) -> None:
    """Count and draw the linear regions of a plane exactly, before training and while a network learns.

    The plane is chosen as by `cells`, which counts on a grid. The network is looked at in eval mode.

    Writes the group `regions` (number of regions of the sites up to each one, and that number over the square of the
    network's units), `pictures` (the walls, those of each site in a colour of its own, and the decision boundary), and
    with epochs all that `train` writes.

    Args:
        context: The recipe's point: architecture; data set; with epochs also optimizer, scheduler, metrics.
        epochs: How often each training sample is seen; 0 looks at the network as it is drawn, and needs neither
            optimizer nor scheduler.
        every: Epochs between two counts.
        pictures: Epochs at which the walls are drawn; left out, the first and the last.
        resolution: Pixels along x, and along y.
        extent: The window covers -extent to extent along both, in units of the plane's directions.
        boundary: Whether the decision boundary is drawn too.
        origin: The input at (0, 0), as nested lists; left out, zeros.
        directions: The steps along x and y, likewise; left out, the axes of an input of two values.
        points: Training samples that lie at (0, 0), (1, 0) and (0, 1); left out, drawn by the seed.
        batch_size: Samples of an optimizer step.
        evaluation_batch_size: Samples of a forward pass when measuring.
        device: Where to train: `"cpu"`, `"cuda"`, ..., or `"auto"`, which takes a GPU where there is one.

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
    plane, _ = chosen_plane(context, data, origin, directions, points)
    window = ((-extent, -extent), (extent, -extent), (extent, extent), (-extent, extent))

    def look(epoch: int) -> None:
        if epoch % every and epoch not in (*drawn, epochs):
            return
        found = plane_regions(model, plane, window=window)
        coordinate = xr.Variable("epoch", [epoch], {"long_name": "Epoch", "units": "1"})
        context.record("regions", _counts(found).expand_dims("epoch").assign_coords(epoch=coordinate))
        if epoch in drawn:
            walls = plane_picture(found, resolution=resolution, boundary=decision_boundary(found) if boundary else None)
            shown = _picture(walls, resolution, extent)
            context.record("pictures", shown.expand_dims("epoch").assign_coords(epoch=coordinate))

    if epochs:
        training.run(after_epoch=look)
    else:
        look(0)


def _counts(found: xr.Dataset) -> xr.Dataset:
    counts = found["regions_so_far"].astype(np.float64)
    units = max(1, int(found["site_units"].sum()))
    return xr.Dataset(
        {
            "region_count": counts.assign_attrs(long_name="Number of linear regions of the sites up to this one"),
            "regions_per_squared_unit": (
                (),
                float(counts[-1]) / units**2,
                {"long_name": "Number of linear regions over the square of the units", "units": "1"},
            ),
        }
    )


def _picture(walls: np.ndarray[Any, Any], resolution: int, extent: float) -> xr.Dataset:
    red, green, blue = (walls[::-1, :, channel].astype(np.int64) for channel in range(3))
    at = ticks(resolution, extent).numpy()
    return xr.Dataset(
        {
            "wall_colour": (
                ("y", "x"),
                (red << 16) + (green << 8) + blue,
                {"long_name": "Colour of a pixel, 0xRRGGBB", "units": "1"},
            )
        },
        coords={
            name: (name, at, {"long_name": f"Coordinate along {which} direction", "units": "1"})
            for name, which in (("x", "the first"), ("y", "the second"))
        },
    )
