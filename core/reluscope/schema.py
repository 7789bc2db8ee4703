"""How results are labelled, and the check that they are."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from reluscope.errors import SchemaError

SCHEMA_VERSION = 1

DIMS = frozenset(
    "step epoch seed learning_rate sample_count site unit layer filter sample feature class bound pattern x y "
    "point".split()
)
"""The dims that every archive may use; a sweep adds its own. A picture has `y` and `x`, and marks `point`s."""

SWEPT = frozenset({"seed", "learning_rate"})
"""Those of them over which a recipe may sweep."""

RAGGED = frozenset({"pattern"})
"""Dims without labels whose length differs from moment to moment: tables, filled up with zeros."""

GROWING = ("step", "epoch")
"""The dims along which a run grows."""

LABELS = {
    **{dim: (dim,) for dim in "step epoch seed learning_rate sample_count site layer filter class x y".split()},
    "unit": ("unit_site", "neuron"),
}
"""Dim to the coordinates along it that it must have; a dim of a sweep must have its own."""

RESERVED = frozenset(
    "_FillValue missing_value scale_factor add_offset _Unsigned coordinates dtype _Encoding CLASS NAME DIMENSION_LIST "
    "REFERENCE_LIST _Netcdf4Dimid _Netcdf4Coordinates _NCProperties _nc3_strict".split()
)
"""Attribute names that NetCDF or xarray use for themselves."""


def validate(tree: xr.DataTree | xr.Dataset) -> None:
    """Check that results are labelled as the schema demands.

    Every variable, coordinates included, has `long_name` and `units`, known dims, and numbers, bools or fixed-width
    text; NaN marks what is missing, infinities are refused. Dims have the coordinates of `LABELS`. The root of a tree
    says which schema it follows and where it comes from.

    Args:
        tree: A whole archive, or the data set of one group. A data set names dims of its own in the attribute
            `sweep_dims`, a JSON list, as the root of a tree does.

    Raises:
        SchemaError: If something is missing or wrong; it names the variable.

    Example:
        >>> validate(xr.Dataset({"loss": ("epoch", [0.5])}))
        Traceback (most recent call last):
        ...
        reluscope.errors.SchemaError: variable '/loss' has no 'long_name'; expected text, such as ...
    """
    swept = sweep_dims(tree.attrs)
    if isinstance(tree, xr.Dataset):
        _validate_group(tree, "/", swept)
        return
    _validate_root(tree.attrs)
    for node in tree.subtree:
        _validate_group(node.to_dataset(inherit=False), node.path, swept)


def check_version(version: object) -> None:
    """Check that an archive's schema is one that this reluscope reads.

    Args:
        version: The root attribute `schema_version`, or None.

    Raises:
        SchemaError: If it is missing, not a number, or newer.
    """
    if version is None:
        raise SchemaError(
            "no root attribute 'schema_version': not an archive of reluscope; open it with xarray.open_datatree"
        )
    if isinstance(version, bool) or not isinstance(version, (int, np.integer)) or version < 1:
        raise SchemaError(
            f"schema_version: got {version!r:.40}, expected a whole number from 1 on; the file is damaged"
        )
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"schema_version: got {version}, this reluscope reads up to {SCHEMA_VERSION}; "
            "upgrade with `pip install -U reluscope`"
        )


def sweep_dims(attrs: Mapping[Any, Any]) -> list[str]:
    """Read which dims a sweep added.

    Args:
        attrs: Attributes with a JSON list under `sweep_dims`, or without.

    Returns:
        The names.

    Raises:
        SchemaError: If it is not a JSON list of names.
    """
    if "sweep_dims" not in attrs:
        return []
    dims = load_json(attrs["sweep_dims"], "sweep_dims")
    if not isinstance(dims, list) or not all(isinstance(dim, str) and dim for dim in dims):
        raise SchemaError(f"sweep_dims: got {dims!s:.80}, expected a JSON list of names")
    return dims


def load_json(text: object, name: str) -> Any:
    """Read a JSON attribute that anybody may have written.

    Args:
        text: What should be JSON.
        name: The attribute, for the message.

    Returns:
        Its content.

    Raises:
        SchemaError: If it is no text, not JSON, or nested too deeply.
    """
    if not isinstance(text, str):
        raise SchemaError(f"{name}: got {type(text).__name__}, expected JSON text; the file is damaged")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{name}: not valid JSON ({error!s:.80}); the file is damaged") from error


def _validate_root(attrs: Mapping[Any, Any]) -> None:
    check_version(attrs.get("schema_version"))
    for name in ("Conventions", "history"):
        if not isinstance(attrs.get(name), str):
            raise SchemaError(f"root attribute {name!r}: got {attrs.get(name)!r:.80}, expected text")
    if not isinstance(load_json(attrs.get("provenance"), "provenance"), dict):
        raise SchemaError("provenance: expected a JSON object; the file is damaged")


def _validate_group(data: xr.Dataset, path: str, swept: Iterable[str]) -> None:
    prefix = path.rstrip("/") + "/"
    allowed = DIMS | set(swept)
    _validate_attrs(data.attrs, f"group {path!r}")
    for name, variable in data.variables.items():
        where = f"variable {prefix + str(name)!r}"
        _validate_name(name, where)
        _validate_dtype(variable.dtype, where)
        _validate_attrs(variable.attrs, where)
        for dim in variable.dims:
            if dim not in allowed:
                raise SchemaError(
                    f"{where} has the dim {dim!r}; expected one of {', '.join(sorted(allowed))}, or a dim of the sweep "
                    "(root attribute sweep_dims)"
                )
        if name not in data.coords and (name in allowed or name in data.dims):
            raise SchemaError(f"{where} has the name of a dim; rename it, or make it a coordinate")
        _validate_label(variable.attrs, where)
        if variable.dtype.kind == "f" and np.isinf(variable.values).any():
            raise SchemaError(f"{where} holds an infinite value; expected finite numbers, or NaN for what is missing")
    _validate_coordinates(data, path, {**{dim: (dim,) for dim in swept}, **LABELS})


def _validate_coordinates(data: xr.Dataset, path: str, labels: Mapping[str, tuple[str, ...]]) -> None:
    for dim in map(str, data.dims):
        for name in labels.get(dim, ()):
            if name not in data.coords or data.coords[name].dims != (dim,):
                raise SchemaError(
                    f"group {path!r}: the dim {dim!r} has no labels; add the coordinate {name!r} along it"
                )


def _validate_label(attrs: Mapping[Any, Any], where: str) -> None:
    for key, example in (("long_name", "'share of dead units'"), ("units", "'1' where it is a pure number")):
        if not isinstance(attrs.get(key), str) or not attrs[key].strip():
            got = "has no" if key not in attrs else f"has the wrong {attrs[key]!r:.40} as"
            raise SchemaError(f"{where} {got} {key!r}; expected text, such as {example}")


def _validate_name(name: Hashable, where: str) -> None:
    if not isinstance(name, str) or not name or "/" in name or name != name.strip() or not name.isprintable():
        raise SchemaError(f"{where}: a name must be printable text without '/'; rename it")


def _validate_dtype(dtype: np.dtype[Any], where: str) -> None:
    if dtype.kind in "biuU" or (dtype.kind == "f" and dtype.itemsize in {4, 8}):
        return
    raise SchemaError(
        f"{where} has the dtype {dtype}; expected float32, float64, integers, bools or fixed-width text (U); "
        "convert it with .astype"
    )


def _validate_attrs(attrs: Mapping[Any, Any], where: str) -> None:
    for key, value in attrs.items():
        if not isinstance(key, str) or not key or "/" in key or key in RESERVED:
            raise SchemaError(f"{where}: the attribute name {key!r} is reserved or not text; rename it")
        array = np.asarray(value)
        good = array.dtype.kind in "iufU" and array.ndim <= 1 and array.size > 0
        if not good or (array.dtype.kind == "f" and array.dtype.itemsize not in {4, 8}):
            raise SchemaError(
                f"{where}: attribute {key!r} is {value!r:.60}; expected text, a number, or a flat list of them"
            )
        if array.dtype.kind == "U" and any("\0" in item or not _is_unicode(item) for item in array.ravel().tolist()):
            raise SchemaError(f"{where}: attribute {key!r} is not clean Unicode text; remove NULs and lone surrogates")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
