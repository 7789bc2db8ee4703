"""Figures that a recipe declares: what its report draws first, as the source draws it."""

from __future__ import annotations

import json
import typing
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import pydantic

from reluscope.errors import RecipeError, nearest
from reluscope.sweep import Scalar

LAST = "last"
"""In `select`: the last label at which the variable was recorded, at each point of the sweep."""

MAX_PANEL_DIMS = 2
"""Rows and columns."""

_FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "line": ("y", "relative", "over"),
    "box": ("y", "log_x", "relative", "over"),
    "heatmap": ("colour",),
    "picture": ("colour", "log_x", "log_y", "minimum", "maximum", "relative", "align", "over"),
}
# what each kind has no use for


class Figure(pydantic.BaseModel):
    """One figure of the report: which variable is drawn, and which of its dims goes where.

    A dim that is neither named nor selected must be `seed`, over which a line or a heat map takes the mean and a box
    its quartiles; a box also takes in all of a layer's `filter`s.

    Attributes:
        title: What stands above it.
        kind: `"line"`, `"heatmap"`, `"box"` or `"picture"`.
        variable: The variable that is drawn.
        group: The group of the archive that holds it.
        x: The dim along the horizontal axis.
        y: The dim along the vertical axis of a heat map or a picture.
        colour: One line, or one box at each place, for each label of this dim.
        panel: One panel for each label of this dim; of two dims, the first makes the rows, the second the columns.
        select: Dim to the label or labels to keep, in this order; `"last"` is the last that was recorded.
        align: What `site` means: its `"name"`, or its `"number"`, counted in each network from its input.
        over: A variable that is drawn over a heat map as a white line, in units of its vertical axis, such as the
            `rate` over learning rates: of the same group, or else of the group `step`.
        relative: Whether each row of a heat map is divided by its greatest value.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
        minimum: Where the scale of the values begins; None takes the least value. Units of the variable.
        maximum: Where it ends; None takes the greatest.
        x_label: Text along the horizontal axis; empty takes the dim's name.
        y_label: Text along the vertical axis; empty takes the variable's name, or the dim's.
        caption: Text below the title, before how the figure is to be read.

    Example:
        >>> Figure(title="Entropy against layer", kind="line", variable="entropy", x="site").group
        'epoch'
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)

    title: Annotated[str, pydantic.Field(min_length=1)]
    kind: typing.Literal["line", "heatmap", "box", "picture"]
    variable: Annotated[str, pydantic.Field(min_length=1)]
    group: str = "epoch"
    x: str = ""
    y: str = ""
    colour: str = ""
    panel: str | list[str] = []
    select: dict[str, Scalar | Annotated[list[Scalar], pydantic.Field(min_length=1)]] = {}
    align: typing.Literal["name", "number"] = "name"
    over: str = ""
    relative: bool = False
    log_x: bool = False
    log_y: bool = False
    minimum: Annotated[float, pydantic.Field(allow_inf_nan=False)] | None = None
    maximum: Annotated[float, pydantic.Field(allow_inf_nan=False)] | None = None
    x_label: str = ""
    y_label: str = ""
    caption: str = ""

    @property
    def panels(self) -> tuple[str, ...]:
        """The dims that make the panels: rows, then columns."""
        named = (self.panel,) if isinstance(self.panel, str) else tuple(self.panel)
        return tuple(dim for dim in named if dim)

    @property
    def axes(self) -> tuple[str, str]:
        """The dims along the horizontal and the vertical axis, empty where there is none."""
        return (self.x or "x", self.y or "y") if self.kind == "picture" else (self.x, self.y)

    @property
    def dims(self) -> dict[str, str]:
        """Each key that names a dim, to the dim."""
        x, y = self.axes
        named = {"x": x, "y": y, "colour": self.colour}
        named |= {f"panel.{place}": dim for place, dim in enumerate(self.panels)}
        return {key: dim for key, dim in named.items() if dim}


def fault(figure: Figure) -> tuple[str, str] | None:
    """Find what keys of a figure do not go together.

    Args:
        figure: A figure of the right types.

    Returns:
        The key, and a sentence on it; None where all is well.

    Example:
        >>> fault(Figure(title="a", kind="heatmap", variable="b", x="step"))
        ('y', 'is missing; a heatmap needs the dim of its vertical axis')
    """
    for key in _FORBIDDEN[figure.kind]:
        if getattr(figure, key) != Figure.model_fields[key].default:
            return key, f"a {figure.kind} has no use for it; leave it out"
    x, y = figure.axes
    if not x:
        return "x", f"is missing; a {figure.kind} needs the dim of its horizontal axis"
    if figure.kind == "heatmap" and not y:
        return "y", "is missing; a heatmap needs the dim of its vertical axis"
    if len(figure.panels) > MAX_PANEL_DIMS:
        return "panel", f"got {len(figure.panels)} dims, expected one for the rows and one for the columns at most"
    seen: dict[str, str] = {}
    for key, dim in figure.dims.items():
        if dim in seen:
            return key, f"{dim!r} is named by {seen[dim]!r} too; a dim has one place"
        seen[dim] = key
    if figure.align == "number" and "site" not in {*seen, *figure.select}:
        return "align", "it numbers the sites, but the figure does not name the dim 'site'; name it, or leave align out"
    if figure.minimum is not None and figure.maximum is not None and figure.minimum >= figure.maximum:
        return "minimum", f"got {figure.minimum:g}, expected less than the maximum {figure.maximum:g}"
    if figure.log_y and figure.kind != "heatmap":
        for key, bound in (("minimum", figure.minimum), ("maximum", figure.maximum)):
            if bound is not None and bound <= 0:
                return key, f"got {bound:g}, expected more than 0, because log_y is set"
    return None


def check_figures(figures: Sequence[Figure], swept: Collection[str], table: Mapping[str, Any], origin: str) -> None:
    """Check the figures of a recipe as far as that is possible before it runs.

    Args:
        figures: The figures.
        swept: The dims that the sweep adds.
        table: The recipe without its sweep. A key that it fixes may be named as a dim: its sweep may have gone by
            `--set`, and the figure is then drawn without that dim.
        origin: Where the recipe comes from, for messages.

    Raises:
        RecipeError: If keys do not go together, or a dim cannot be in the result.
    """
    if not figures:
        return
    from reluscope.schema import DIMS  # not at the top: the command line looks at recipes without xarray

    dims = DIMS.union(swept)
    fixed = _keys({key: value for key, value in table.items() if key not in ("figures", "expected", "title", "source")})
    for index, figure in enumerate(figures):
        found = fault(figure)
        if found is not None:
            raise RecipeError(f"{origin}: figures.{index}.{found[0]}: {found[1]}")
        named = {**figure.dims, **{f"select.{dim}": dim for dim in figure.select}}
        for key, dim in named.items():
            if dim not in dims and dim not in fixed:
                raise RecipeError(
                    f"{origin}: figures.{index}.{key}: {dim!r} is no dim of the result. {nearest(dim, dims)}"
                )


def _keys(table: object) -> set[str]:
    if isinstance(table, Mapping):
        return set(map(str, table)).union(*map(_keys, table.values()))
    return set().union(*map(_keys, table)) if isinstance(table, list) else set()


def read(declared: Any) -> Figure | str:
    """Read a figure that anybody may have written into an archive.

    Args:
        declared: An item of the recipe's `figures`.

    Returns:
        The figure, or a sentence that says why it is none.
    """
    try:
        figure = Figure.model_validate_json(json.dumps(declared, default=str))
    except (ValueError, RecursionError) as error:
        if not isinstance(error, pydantic.ValidationError):
            return "Its declaration cannot be read."
        first = error.errors()[0]
        return f"Its declaration cannot be read: {'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}."
    found = fault(figure)
    return figure if found is None else f"Its declaration cannot be read: {found[0]}: {found[1]}."
