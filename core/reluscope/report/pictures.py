"""Pictures of a declared figure: colours on a grid of the plane, as PNG in data URIs."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Collection, Hashable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from reluscope.figures import Figure
from reluscope.report import reading
from reluscope.report.arrange import CannotDraw, Labelled, Panel, beside
from reluscope.report.axes import axis, edges
from reluscope.report.numbers import Array, plain

MARKS = ("point_x", "point_y")
"""Variables of the same group, along the dim `point`, that say where to mark the plane."""
MAX_MARKS = 100
MAX_SIDE = 1000
"""A longer side of a picture is thinned out."""

_WHITE = 0xFFFFFF


def draw(
    tree: xr.DataTree,
    variable: xr.DataArray,
    figure: Figure,
    found: Labelled,
    panels: Sequence[Panel],
    swept: Collection[Hashable],
) -> tuple[list[dict[str, Any]], list[str]]:
    """Draw the pictures of a figure; `y` points upwards.

    Args:
        tree: The archive.
        variable: The variable: red, green and blue as the number `0xRRGGBB`; NaN is transparent.
        figure: The figure.
        found: All its values, with their labels; dims `(row, column, colour, x, y, seed)`.
        panels: The pictures.
        swept: The dims of the sweep.

    Returns:
        One table of plain types for each picture, and sentences that say how to read them.

    Raises:
        CannotDraw: If the values are no colours.
    """
    known = found.values[~np.isnan(found.values)]
    if (known < 0).any() or (known > _WHITE).any() or (known != np.rint(known)).any():
        raise CannotDraw(f"The variable {variable.name!r} holds numbers that are no colours, 0x000000 to 0xFFFFFF.")
    x_dim, y_dim = figure.axes
    x = axis(variable, x_dim, found.labels[x_dim], figure.x_label, False)
    y = axis(variable, y_dim, found.labels[y_dim], figure.y_label, False)
    sides = [edges(along.at, False)[[0, -1]] for along in (x, y)]
    step = [-(-len(along.at) // MAX_SIDE) for along in (x, y)]
    marks = _marks(tree, figure, found, swept)
    parts = []
    for panel in panels:
        seeds = np.flatnonzero(~np.isnan(panel.values[0]).all((0, 1)))
        picture = panel.values[0][np.ix_(x.order[:: step[0]], y.order[:: step[1]])][:, :, seeds[0]]
        part: dict[str, Any] = {
            "kind": "picture",
            "image": "data:image/png;base64," + base64.b64encode(png(picture.T[::-1])).decode(),
            "x": {"title": x.title, "range": plain(sides[0])},
            "y": {"title": y.title, "range": plain(sides[1])},
            "size": [len(x.at), len(y.at)],
        }
        if marks is not None:
            part["points"] = [plain(_mark(values.values, (*panel.index, int(seeds[0])))) for values in marks]
        parts.append(part)
    aid = []
    if found.values.shape[-1] > 1:
        first = found.labels[reading.REPEATS][int(seeds[0])]
        aid.append(f"One of {found.values.shape[-1]} seeds is shown, such as seed {reading.shown(first)}.")
    aid += ["The red dots mark the given points of the plane."] if marks is not None else []
    return parts, aid


# Read where the points lie that are marked, (row, column, point, seed); None where the archive has none.
def _marks(tree: xr.DataTree, figure: Figure, found: Labelled, swept: Collection[Hashable]) -> list[Labelled] | None:
    data = dict(reading.groups(tree))[figure.group.strip("/")]
    if not all(name in data and reading.numeric(data[name]) and "point" in data[name].dims for name in MARKS):
        return None
    marks = []
    for name in MARKS:
        variable = data[name]
        try:
            marks.append(beside(variable, figure, [*found.dims[:2], "point", reading.REPEATS], swept))
        except CannotDraw:  # the pictures are worth more than their marks
            return None
    return marks


# Take the points of one picture; a dim that they do not have is the same for all pictures.
def _mark(values: Array, place: tuple[int, int, int]) -> Array:
    row, column, seed = (min(at, values.shape[dim] - 1) for at, dim in zip(place, (0, 1, 3), strict=True))
    return np.asarray(values[row, column, :MAX_MARKS, seed])


def png(colours: Array) -> bytes:
    """Write a picture as PNG.

    Args:
        colours: `0xRRGGBB` of each pixel, `(row, column)`, the top row first; NaN is transparent.

    Returns:
        The file: with a palette up to 256 colours, else with red, green and blue of each pixel, and its opacity if one
        is missing.

    References:
        ISO/IEC 15948:2004, Portable Network Graphics.

    Example:
        >>> png(np.array([[0xFF0000]]))[1:4]
        b'PNG'
    """
    clear = np.isnan(colours)
    # opacity in the highest byte, so that a transparent pixel is a colour like any other
    opaque = np.where(clear, 0, colours).astype(np.uint32) | np.where(clear, 0, 0xFF000000).astype(np.uint32)
    palette, places = np.unique(opaque, return_inverse=True)
    parts = np.stack([palette >> 16 & 255, palette >> 8 & 255, palette & 255, palette >> 24], axis=1).astype(np.uint8)
    height, width = colours.shape
    places = places.reshape(height, width)
    chunks: list[tuple[bytes, bytes]] = []
    if len(palette) <= 256:
        kind, pixels = 3, places.astype(np.uint8)
        chunks = [(b"PLTE", parts[:, :3].tobytes()), (b"tRNS", parts[:, 3].tobytes())]
    else:
        kind = 6 if clear.any() else 2
        pixels = parts[places][..., : 4 if kind == 6 else 3].reshape(height, -1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)  # each line says that it is not filtered
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
