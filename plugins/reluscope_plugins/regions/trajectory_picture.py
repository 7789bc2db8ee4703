"""A picture of a curve in a plane."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

_SCALE = 4
"""Pixels are drawn so many times finer along each axis, and averaged."""
_PAPER, _CURVE = (255, 255, 255), (59, 82, 139)


def trajectory_picture(
    points: npt.NDArray[np.float64], *, reach: float, resolution: int = 300, width: float = 1.5
) -> npt.NDArray[np.uint8]:
    """Draw a polyline within a square around the origin.

    Args:
        points: The vertices, `(point, axis)`, of two axes.
        reach: Half a side of the square; what lies beyond it is cut off.
        resolution: Pixels along a side.
        width: Width of the line, in pixels.

    Returns:
        Colours, `(row, column, 3)`, the first row at the top, where the second coordinate is greatest.

    Example:
        >>> picture = trajectory_picture(np.array([[-1.0, 0.0], [1.0, 0.0]]), reach=1.0, resolution=11, width=1.0)
        >>> (picture[5] < 255).all(), (picture[:4] == 255).all()
        (np.True_, np.True_)
    """
    fine = _SCALE * resolution
    image = Image.new("RGB", (fine, fine), _PAPER)
    placed = (points * (1, -1) / reach + 1) / 2 * (fine - 1)
    ImageDraw.Draw(image).line(
        [tuple(vertex) for vertex in placed.tolist()], fill=_CURVE, width=max(1, round(_SCALE * width)), joint="curve"
    )
    return np.asarray(image.resize((resolution, resolution), Image.Resampling.BOX))
