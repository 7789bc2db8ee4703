"""Labels for what a metric gives: dims, coordinates, attributes; and the check that it is as declared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from reluscope.errors import PluginError, nearest
from reluscope.schema import LABELS

if TYPE_CHECKING:
    from reluscope.entries import Metric

Layout = Mapping[str, list[Any]]
"""Site to `[call number, activation, smooth, units]`, in the order of the calls."""

ABOUT = {
    "site": "activation site: module path # call number",
    "activation": "activation function",
    "smooth": "whether the activation is smooth, so that its pattern is thresholded at zero",
    "unit_site": "site of the unit",
    "neuron": "index of the unit in its site",
    "layer": "layer: name of its weight",
    "skipped": "why the layer has no value; empty where it has one",
    "filter": "output channel of a convolution, or row of a linear layer",
    "class": "class",
    "bound": "end of the interval",
}
"""Coordinate to its `long_name`."""

ROUNDING = 1e-6
"""How far a value may leave its declared range, relative to the range's end: a few float32 roundings of a mean."""


def to_numpy(metric: Metric, site: str, value: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Turn a number, array or tensor into float64.

    Args:
        metric: For the message.
        site: For the message, empty where there is none.
        value: What the metric gave.

    Returns:
        The values.

    Raises:
        PluginError: If it is not numeric.
    """
    if hasattr(value, "detach"):  # a tensor, on any device, also bfloat16, which NumPy does not know
        value = value.detach().double().cpu().numpy()
    try:
        array: np.ndarray[Any, np.dtype[np.float64]] = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        where = f" at site {site!r}" if site else ""
        raise PluginError(
            f"metric {metric.name!r}: got {type(value).__name__}{where}, expected a number, an array or a tensor"
        ) from error
    return array


def plain_fault(value: Any, path: str = "") -> str:
    """Say what in a state is not plain data.

    Args:
        value: The state.
        path: Where it lies, for the message.

    Returns:
        Empty where all is plain; else the type and the place, such as `"a Tensor at ['sum']"`.

    Example:
        >>> plain_fault({"sum": np.zeros(3), "seen": {1, 2}})
        "a set at ['seen']"
    """
    if isinstance(value, dict):
        odd = next((key for key in value if not isinstance(key, str)), None)
        if odd is not None:
            return f"the key {odd!r}, which is not a string,{' at ' + path if path else ''}"
        return next(filter(None, (plain_fault(item, f"{path}[{key!r}]") for key, item in value.items())), "")
    if isinstance(value, (list, tuple)):
        return next(filter(None, (plain_fault(item, f"{path}[{index}]") for index, item in enumerate(value))), "")
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind in "biufcU":
            return ""
        return f"an array of dtype {value.dtype}{' at ' + path if path else ''}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return ""
    return f"a {type(value).__name__}{' at ' + path if path else ''}"


def label(metric: Metric, values: Any, layout: Layout) -> xr.DataArray:
    """Label what a metric gave.

    Args:
        metric: What was measured.
        values: A labelled array, which must be as declared and may bring attributes of its own; a mapping from site to
            values for dims that begin with `site` or `unit` (a site left out, or None, becomes NaN); else a number or
            an array.
        layout: The sites.

    Returns:
        The labelled array in float64.

    Raises:
        PluginError: If dims, shapes or units are not as declared.
    """
    said: dict[str, Any] = {}
    if isinstance(values, xr.DataArray):
        array = _relabel(metric, values, layout)
        said = dict(values.attrs)
    elif metric.dims[:1] in (("site",), ("unit",)):
        array = _by_site(metric, values, layout)
    else:
        if isinstance(values, Mapping):
            raise PluginError(f"metric {metric.name!r}: got a mapping, expected one value for dims {metric.dims}")
        block = to_numpy(metric, "", values)
        if block.ndim != len(metric.dims):
            raise PluginError(
                f"metric {metric.name!r}: got values of shape {block.shape}, expected {len(metric.dims)} dims "
                f"{metric.dims} as declared; mend the metric or its declaration"
            )
        if np.isnan(block).any():
            raise PluginError(f"metric {metric.name!r}: gave NaN on finite inputs; mend the metric")
        array = xr.DataArray(block, dims=metric.dims)
    array = _complete(metric, array)
    array.name = metric.name
    array.attrs = {**said, "long_name": metric.summary.rstrip("."), "units": metric.units}
    if metric.params:
        array.attrs["parameters"] = json.dumps(dict(metric.params), default=str, sort_keys=True)
    return array


def check_values(metric: Metric, array: xr.DataArray) -> xr.DataArray:
    """See to it that values are finite and within the declared range.

    Args:
        metric: What was measured.
        array: The labelled result; NaN marks what is missing and was put there by `label`, or by the metric itself
            where it labels by hand.

    Returns:
        The same, with what left the range by rounding alone set to its end.

    Raises:
        PluginError: If a value is infinite or outside the range.
    """
    values = array.values
    if np.isinf(values).any():
        raise PluginError(
            f"metric {metric.name!r}: gave an infinite value{_place(array, np.isinf(values))} on finite inputs; "
            "mend the metric"
        )
    for end, sign, words in ((metric.minimum, -1.0, "below its minimum"), (metric.maximum, 1.0, "above its maximum")):
        if end is None:
            continue
        outside = sign * (values - end) > ROUNDING * max(1.0, abs(end))
        if outside.any():
            raise PluginError(
                f"metric {metric.name!r}: gave {float(values[outside].flat[0])!r}{_place(array, outside)}, "
                f"{words} {end}; mend the metric or its declared range"
            )
    if metric.minimum is None and metric.maximum is None:
        return array
    return array.clip(metric.minimum, metric.maximum, keep_attrs=True)


def _relabel(metric: Metric, array: xr.DataArray, layout: Layout) -> xr.DataArray:
    if tuple(array.dims) != tuple(metric.dims):
        raise PluginError(
            f"metric {metric.name!r}: gave dims {tuple(array.dims)}, expected {tuple(metric.dims)} as declared; mend "
            "the metric or its declaration"
        )
    if array.attrs.get("units", metric.units) != metric.units:
        raise PluginError(
            f"metric {metric.name!r}: gave units {array.attrs['units']!r}, expected {metric.units!r} as declared; mend "
            "the metric or its declaration"
        )
    for name in ("site", "unit_site"):
        odd = next((site for site in np.ravel(array.coords.get(name, [])).tolist() if site not in layout), None)
        if odd is not None:
            raise PluginError(f"metric {metric.name!r}: unknown site {odd!r} in {name}. {nearest(str(odd), layout)}")
    return array.astype(np.float64)


def _complete(metric: Metric, array: xr.DataArray) -> xr.DataArray:
    # the labels that the schema demands; those that a metric brings are the kernel's own in name and units
    if "class" in array.dims and "class" not in array.coords:
        array = array.assign_coords({"class": np.arange(array.sizes["class"])})
    if "bound" in array.dims and "bound" not in array.coords:
        if array.sizes["bound"] != 2:
            raise PluginError(
                f"metric {metric.name!r}: gave {array.sizes['bound']} bounds, expected a lower and an upper"
            )
        array = array.assign_coords({"bound": np.array(["lower", "upper"])})
    for dim in map(str, array.dims):
        for name in LABELS.get(dim, ()):
            if name not in array.coords or array.coords[name].dims != (dim,):
                raise PluginError(
                    f"metric {metric.name!r}: its dim {dim!r} has no coordinate {name!r}; return a DataArray with "
                    f"{' and '.join(LABELS[dim])} along {dim!r}"
                )
    for name in ABOUT.keys() & array.coords.keys():
        array.coords[name].attrs = {"long_name": ABOUT[str(name)], "units": "1"}
    return array


def _by_site(metric: Metric, values: Any, layout: Layout) -> xr.DataArray:
    if not isinstance(values, Mapping):
        raise PluginError(
            f"metric {metric.name!r}: got {type(values).__name__}, expected a mapping from site to values for dims "
            f"{metric.dims}; mend finish"
        )
    unknown = next((site for site in values if site not in layout), None)
    if unknown is not None:
        raise PluginError(f"metric {metric.name!r}: unknown site {unknown!r}. {nearest(str(unknown), layout)}")
    per_unit = metric.dims[0] == "unit"
    rest = len(metric.dims) - 1
    given = {site: to_numpy(metric, site, value) for site, value in values.items() if value is not None}
    tail: tuple[int, ...] = (0,) * rest
    for site, block in given.items():
        head: tuple[int, ...] = (layout[site][3],) if per_unit else ()
        tail = block.shape[len(head) :] if site == next(iter(given)) else tail
        if block.shape != (*head, *tail) or len(tail) != rest:
            raise PluginError(
                f"metric {metric.name!r}: values of shape {block.shape} at site {site!r}, expected "
                f"{f'one for each of its {layout[site][3]} units' if per_unit else 'one for the site'} with dims "
                f"{metric.dims} as declared; mend the metric or its declaration"
            )
        if np.isnan(block).any():
            raise PluginError(
                f"metric {metric.name!r}: gave NaN at site {site!r} on finite inputs; mend the "
                "metric, or leave out a site that has no value"
            )
    blocks = []
    for name, (_, _, _, units) in layout.items():
        shape = (units if per_unit else 1, *tail)
        blocks.append(given[name].reshape(shape) if name in given else np.full(shape, np.nan))
    data = np.concatenate(blocks) if blocks else np.zeros((0, *tail))
    return xr.DataArray(data, dims=metric.dims, coords=coordinates(layout, per_unit=per_unit))


def coordinates(layout: Layout, *, per_unit: bool) -> dict[str, tuple[str, Any, dict[str, str]]]:
    """Make the labels of sites, or of units.

    Args:
        layout: The sites.
        per_unit: Whether the labels are those of the dim `unit`.

    Returns:
        Coordinate to dim, values and attributes.

    Example:
        >>> list(coordinates({"relu#0": [0, "relu", False, 3]}, per_unit=True))
        ['unit_site', 'neuron']
    """
    if per_unit:
        units = [units for *_, units in layout.values()]
        neurons = np.concatenate([np.arange(count) for count in units] or [np.zeros(0)]).astype(np.int64)
        dim, values = "unit", {"unit_site": np.repeat(_text(layout), units), "neuron": neurons}
    else:
        smooth = np.array([row[2] for row in layout.values()], dtype=bool)
        functions = _text([row[1] for row in layout.values()])
        dim, values = "site", {"site": _text(layout), "activation": functions, "smooth": smooth}
    return {name: (dim, labels, {"long_name": ABOUT[name], "units": "1"}) for name, labels in values.items()}


def _text(names: Any) -> np.ndarray[Any, np.dtype[np.str_]]:
    return np.array(list(names), dtype=np.str_)


def _place(array: xr.DataArray, where: np.ndarray[Any, Any]) -> str:
    if not array.ndim:
        return ""
    first = tuple(int(index) for index in np.argwhere(where)[0])
    named = {"site": ("site", "site"), "unit": ("site", "unit_site"), "layer": ("layer", "layer")}
    what, coordinate = named.get(str(array.dims[0]), ("", ""))
    if coordinate in array.coords:
        return f" at {what} {str(array.coords[coordinate].values[first[0]])!r}"
    return f" at index {first}"
