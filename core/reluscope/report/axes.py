"""The axes of a declared figure: where its labels stand, and what is written at them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import xarray as xr

from reluscope.report import reading
from reluscope.report.numbers import Array


@dataclasses.dataclass(frozen=True)
class Axis:
    """Labels along one axis.

    Attributes:
        title: What stands along it.
        at: Where each label stands.
        text: The labels as text.
        named: Whether the text is written at the places; else they are numbers, and the page picks its ticks.
        log: Whether it is logarithmic.
        order: Index of each label among those of the archive.
    """

    title: str
    at: list[float]
    text: list[str]
    named: bool
    log: bool
    order: list[int]

    def data(self) -> dict[str, Any]:
        """Write the axis as plain types for the page.

        Returns:
            Title, places, texts, whether they are named, whether the axis is logarithmic.
        """
        return {"title": self.title, "at": self.at, "text": self.text, "named": self.named, "log": self.log}


def axis(variable: xr.DataArray, dim: str, labels: list[Any], title: str, log: bool, even: bool = False) -> Axis:
    """Lay out the labels of a dim.

    Args:
        variable: The variable, for the units of its coordinate.
        dim: The dim.
        labels: Its labels.
        title: What the recipe calls it; empty takes the dim's name.
        log: Whether the axis is logarithmic; numbers from 0 down have no place on it.
        even: Whether the places are even, as those of boxes are, even if the labels are numbers.

    Returns:
        The axis; numbers are sorted, text stands in the order of the archive at 1, 2, ...
    """
    numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
    order = list(range(len(labels)))
    if numbers:
        order = sorted((at for at in order if labels[at] > 0 or not log), key=lambda at: float(labels[at]))
    text = [reading.shown(labels[at]) for at in order]
    named = even or not numbers
    at = [float(place) for place in range(1, len(order) + 1)] if named else [float(labels[at]) for at in order]
    name = dim.replace("_", " ")
    if dim == "site" and numbers:
        name = "site number"
    units = str(variable.coords[dim].attrs.get("units", "1")) if dim in variable.coords else "1"
    return Axis(
        title or name + ("" if units in ("1", "") else f" ({units})"), at, text, named, log and not named, order
    )


def edges(places: list[float], log: bool) -> Array:
    """Find where the cells of a heat map meet: midway between their places.

    Args:
        places: Where the cells stand, in order.
        log: Whether the axis is logarithmic.

    Returns:
        The edges, one more than places; on a logarithmic axis midway between the logarithms.

    Example:
        >>> edges([0.0, 1.0, 3.0], False).tolist()
        [-0.5, 0.5, 2.0, 4.0]
        >>> edges([1.0, 100.0], True).round(6).tolist()
        [0.1, 10.0, 1000.0]
    """
    at = np.log10(places) if log else np.asarray(places, float)
    if at.size == 1:
        found = np.array([at[0] - 0.5, at[0] + 0.5])
    else:
        middle = (at[1:] + at[:-1]) / 2
        found = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.asarray(10.0**found if log else found)
