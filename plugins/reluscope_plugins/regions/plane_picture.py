"""A picture of the regions of a plane: their walls, coloured by the site that made them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from PIL import Image, ImageDraw

from reluscope.errors import ObservationError

_SCALE = 4
"""Pixels are drawn so many times finer along each axis, and averaged."""
_PAPER, _WINDOW, _BOUNDARY = (255, 255, 255), (0, 0, 0), (200, 0, 120)
# from dark blue for the first site to yellow for the last (viridis)
_RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (230, 210, 40)], dtype=np.float64)


def plane_picture(
    regions: xr.Dataset, *, resolution: int = 800, width: float = 2.0, boundary: xr.Dataset | None = None
) -> npt.NDArray[np.uint8]:
    """Draw the walls of regions, those of each site in a colour of its own: dark for early sites, light for late ones.

    Walls of the first site are straight; those of later sites bend where they meet earlier ones.

    Args:
        regions: What `plane_regions` found.
        resolution: Pixels along the window's longer side.
        width: Width of a wall, in pixels.
        boundary: What `decision_boundary` found, to be drawn too, three times as wide.

    Returns:
        Colours, `(row, column, 3)`, the first row at the top, where y is greatest.

    Raises:
        ObservationError: If the resolution is below 1.

    Example:
        >>> from torch import nn
        >>> from reluscope_plugins.regions.plane_regions import plane_regions
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> plane_picture(plane_regions(model), resolution=100).shape
        (100, 100, 3)
    """
    if resolution < 1:
        raise ObservationError(
            f"resolution is {resolution!r}, expected at least 1 pixel along the window's longer side"
        )
    points = regions["vertex_position"].values
    low, span = points.min(0), np.ptp(points, axis=0)
    pixels = np.maximum(1, np.round(resolution * span / span.max())).astype(int)
    scale = (_SCALE * pixels - 1) / span
    image = Image.new("RGB", (int(_SCALE * pixels[0]), int(_SCALE * pixels[1])), _PAPER)
    draw = ImageDraw.Draw(image)

    def place(where: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        placed: npt.NDArray[np.float64] = (where - low) * scale
        placed[..., 1] = _SCALE * pixels[1] - 1 - placed[..., 1]
        return placed

    ends, site = place(points)[regions["edge_vertices"].values], regions["edge_site"].values
    thick = max(1, round(_SCALE * width))
    for number in np.argsort(-site, kind="stable"):  # early sites on top
        colour = _WINDOW if site[number] < 0 else _colour(int(site[number]), regions.sizes["site"])
        draw.line([tuple(end) for end in ends[number].tolist()], fill=colour, width=thick)
    if boundary is not None:
        for segment in place(boundary["boundary_end"].values).tolist():
            draw.line([tuple(end) for end in segment], fill=_BOUNDARY, width=3 * thick)
    return np.asarray(image.resize((int(pixels[0]), int(pixels[1])), Image.Resampling.BOX))


def _colour(number: int, count: int) -> tuple[int, int, int]:
    at = number / max(1, count - 1) * (len(_RAMP) - 1)
    red, green, blue = (np.interp(at, np.arange(len(_RAMP)), _RAMP[:, channel]) for channel in range(3))
    return round(red), round(green), round(blue)
