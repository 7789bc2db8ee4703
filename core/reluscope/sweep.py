"""Dotted keys of a recipe: setting them, merging tables, and sweeping them over values."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from reluscope.errors import RecipeError
from reluscope.parameters import short

Scalar = str | bool | int | float
Point = dict[str, Scalar]


def merge_tables(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one table over another.

    Args:
        below: The table underneath.
        above: Its keys replace those below; tables in it are merged likewise, but one that names an entry replaces all
            of the other.

    Returns:
        A new table.

    Example:
        >>> merge_tables({"sweep": {"seed": [0, 1], "epochs": [5]}}, {"sweep": {"seed": [0]}})
        {'sweep': {'seed': [0], 'epochs': [5]}}
    """
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and "name" not in value:
            merged[key] = merge_tables(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def apply_override(table: dict[str, Any], override: str) -> None:
    """Set one key in place; where it was swept, its sweep goes.

    Args:
        table: The recipe.
        override: `key=value`; the key may be dotted, the value is TOML, a bare word counts as text.

    Raises:
        RecipeError: If it has another form.
    """
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key:
        raise RecipeError(f"--set {override!r}: expected key=value, such as epochs=3 or optimizer.momentum=0.5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    put(table, key, value, f"--set {override}")
    if isinstance(table.get("sweep"), dict):
        for swept in list(table["sweep"]):
            if swept == key or swept.startswith(f"{key}.") or key.startswith(f"{swept}."):
                del table["sweep"][swept]


def put(table: dict[str, Any], key: str, value: Any, origin: str) -> None:
    """Set a dotted key in place; tables on the way are made, numbers index lists.

    Args:
        table: The recipe.
        key: Such as `optimizer.momentum` or `metrics.0.every`.
        value: What to set.
        origin: Where the key comes from, for messages.

    Raises:
        RecipeError: If the key goes through something that is not a table.
    """
    *parents, last = key.split(".")
    place: Any = table
    for part in parents:
        if isinstance(place, list):
            place = place[_index(place, part, key, origin)]
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise RecipeError(f"{origin}: {key!r} goes through {part!r}, which is {short(place)}, not a table")
    if isinstance(place, list):
        place[_index(place, last, key, origin)] = value
    else:
        place[last] = value


def _index(place: list[Any], part: str, key: str, origin: str) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise RecipeError(f"{origin}: {key!r}: expected a number from 0 to {len(place) - 1}, got {part!r}")
    return int(part)


def name_dims(sweep: Mapping[str, Any], origin: str) -> list[str]:
    """Name the dims that a sweep adds: the last part of each dotted key, or all of it where two share the last part.

    Args:
        sweep: Dotted key to values.
        origin: Where the sweep comes from, for messages.

    Returns:
        The dims, in the order of the keys.

    Raises:
        RecipeError: If a dim has a name that the schema keeps for itself.
    """
    from reluscope.schema import DIMS, SWEPT  # not at the top: the command line looks at recipes without xarray

    taken = DIMS - SWEPT | {"unit_site", "neuron", "rate"}
    lasts = [key.split(".")[-1] for key in sweep]
    dims = [last if lasts.count(last) == 1 else key.replace(".", "_") for key, last in zip(sweep, lasts, strict=True)]
    for key, dim in zip(sweep, dims, strict=True):
        if dim in taken or not dim.isidentifier():
            raise RecipeError(f"{origin}: sweep.{key}: {dim!r} cannot name a dim of the archive; sweep another key")
    return dims


def label_values(values: Sequence[Any], place: str) -> list[Scalar]:
    """Label the values of a sweep: numbers and texts by themselves, tables by the entry they name.

    Args:
        values: The values.
        place: Where they stand, for messages.

    Returns:
        Labels of one type, each different.

    Raises:
        RecipeError: If a value stands there twice.

    Example:
        >>> label_values([{"name": "cyclic", "peak": 0.1}, {"name": "cyclic", "peak": 0.2}, {"name": "constant"}], "")
        ['cyclic(peak=0.1)', 'cyclic(peak=0.2)', 'constant']
    """
    names = [v.get("name") if isinstance(v, Mapping) else None for v in values]
    labels: list[Scalar] = []
    for value, name in zip(values, names, strict=True):
        if isinstance(value, bool | int | float | str):
            labels.append(value)
        elif isinstance(name, str):
            rest = ", ".join(f"{k}={short(v)}" for k, v in value.items() if k != "name")
            labels.append(name if names.count(name) == 1 or not rest else f"{name}({rest})")
        else:
            labels.append(short(value))
    if len({type(label) for label in labels}) > 1:
        numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
        labels = [float(label) if numbers else str(label) for label in labels]
    if len(set(labels)) < len(labels):
        raise RecipeError(f"{place} = {short(values)}: a value stands there twice; expected each once")
    return labels
