"""The figures that a recipe declares, drawn from the archive alone: lines, boxes, heat maps, pictures."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from reluscope.figures import Figure, read
from reluscope.report import kinds, overlay, pictures, reading
from reluscope.report.arrange import CannotDraw, Labelled, Panel, arrange, find, need
from reluscope.report.summary import title

MAX_FIGURES = 40
"""Figures of a recipe that are drawn."""
MAX_PANELS = 64
"""Panels of a figure that are drawn."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One declared figure.

    Attributes:
        title: What stands above it.
        caption: How to read it.
        problem: Why it is not drawn; empty where it is.
        panels: The panels, as plain types.
        grid: Whether each panel has its `place` in rows and columns; else they follow each other.
        legend: Name of the dim that the colours tell apart, and its labels; empty where there is one colour.
    """

    title: str
    caption: str = ""
    problem: str = ""
    panels: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    grid: bool = False
    legend: tuple[str, list[str]] = ("", [])


def draw(tree: xr.DataTree, recipe: Mapping[str, Any], room: int) -> list[Drawn]:
    """Draw the figures that a recipe declares.

    Args:
        tree: The archive.
        recipe: The recipe in its provenance, whoever wrote it.
        room: How many bytes the figures may take.

    Returns:
        One for each figure of the recipe; what cannot be drawn says why.
    """
    listed = recipe.get("figures")
    found = []
    for item in listed[:MAX_FIGURES] if isinstance(listed, list) else []:
        figure = read(item)
        if isinstance(figure, str):
            name = item.get("title") if isinstance(item, Mapping) else None
            found.append(Drawn(str(name or "A figure without a title"), problem=figure))
            continue
        try:
            drawn = _figure(tree, figure, room)
        except CannotDraw as reason:
            drawn = Drawn(figure.title, figure.caption, problem=str(reason))
        room -= sum(map(size, drawn.panels))
        found.append(drawn)
    return found


def size(panel: Any) -> int:
    """Count the bytes that a panel takes in the page.

    Args:
        panel: The panel, as plain types.

    Returns:
        The length of its JSON.
    """
    return len(json.dumps(panel, separators=(",", ":")))


def _figure(tree: xr.DataTree, figure: Figure, room: int) -> Drawn:
    variable = find(tree, figure)
    swept = reading.sweep_dims(tree)
    x, y = figure.axes
    need(variable, [dim for dim in (x, y) if dim])
    rows, columns = ("", "", *figure.panels)[-2:]
    roles = [rows, columns, figure.colour, x, y, reading.REPEATS if reading.REPEATS not in figure.dims.values() else ""]
    found, notes = arrange(variable, figure, roles, swept)
    panels = list(_panels(found))
    empty = found.values.shape[0] * found.values.shape[1] - len(panels)
    if empty:
        notes.append(f"{empty} of {empty + len(panels)} panels hold no values and are left out.")
    lost = [dim for dim in (*figure.panels, figure.colour) if dim and dim not in variable.dims]
    if lost:
        notes.append(f"This run does not vary {', '.join(lost)}.")
    shown = panels[:MAX_PANELS]
    if figure.kind == "picture":
        drawn, aid = pictures.draw(tree, variable, figure, found, shown, swept)
    else:
        drawn, aid = kinds.draw(variable, figure, found, shown)
        if figure.over:
            aid += overlay.draw(tree, figure, found, shown, drawn, swept)
    kept: list[dict[str, Any]] = []
    for panel, part in zip(shown, drawn, strict=True):
        room -= size(part)
        if room < 0:
            break
        kept.append({"title": panel.title, "place": [at + 1 for at in panel.index], **part})
    if not kept:
        raise CannotDraw("It would make the page too large.")
    if len(kept) < len(panels):
        notes.append(f"Only {len(kept)} of {len(panels)} panels are drawn: more would make the page too large.")
    legend: tuple[str, list[str]] = ("", [])
    if figure.colour in found.labels and len(found.labels[figure.colour]) > 1:
        legend = figure.colour.replace("_", " "), list(map(reading.shown, found.labels[figure.colour]))
    attrs = variable.attrs
    what = str(attrs.get("long_name") or title(str(variable.name))).strip().rstrip(".")
    units = str(attrs.get("units", "1"))
    what = what[:1].upper() + what[1:] + ("" if units in ("1", "") else f" ({units})")
    caption = " ".join(filter(None, [_sentence(figure.caption), _sentence(what), *aid, *notes]))
    return Drawn(figure.title, caption, panels=kept, grid=len(figure.panels) > 1, legend=legend)


def _panels(found: Labelled) -> Iterator[Panel]:
    dims = found.dims[:2]
    for index in itertools.product(*(range(count) for count in found.values.shape[:2])):
        values = found.values[index]
        if not np.isnan(values).all():
            labels = [
                _label(dim, found.labels[dim][at])
                for dim, at in zip(dims, index, strict=True)
                if dim in found.labels and dim
            ]
            yield Panel(", ".join(labels), (index[0], index[1]), values)


def _label(dim: str, label: Any) -> str:
    return label if isinstance(label, str) else f"{dim.replace('_', ' ')} {reading.shown(label)}"


def _sentence(text: str) -> str:
    return text.strip().rstrip(".") + "." if text.strip() else ""
