"""Data sets that build on another, which a recipe names in a table of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from reluscope.errors import RecipeError, ReluscopeError, UnknownNameError
from reluscope.parameters import short, typed

if TYPE_CHECKING:
    from reluscope.entries import Dataset
    from reluscope.lab import Lab

EXAMPLE = 'dataset = { name = "mnist" }'


def load_inner(
    outer: str, choice: Mapping[str, Any], split: str, root: str | Path | None, lab: Lab | None
) -> tuple[Dataset, Any]:
    """Look up the data set that another builds on, check its parameters and load a split of it.

    Args:
        outer: Name of the data set that builds on it, for messages.
        choice: The inner one's `name` and its parameters.
        split: `"train"`, `"validation"` or `"test"`.
        root: Folder that holds the data.
        lab: Where the name is looked up.

    Returns:
        The inner entry, and the split.

    Raises:
        RecipeError: If there is no lab, no such data set, or its parameters do not fit.
        ReluscopeError: If what is loaded has no length, or is empty.
    """
    if lab is None:
        raise RecipeError(
            f"dataset {outer!r}: no lab to look its inner data set up in; pass it: load(split, root, lab=Lab(), ...)"
        )
    if not isinstance(choice, Mapping) or not isinstance(choice.get("name"), str):
        raise RecipeError(f"dataset {outer!r}: dataset = {short(choice)}, expected a table with a name: {EXAMPLE}")
    name = choice["name"]
    try:
        entry = lab.datasets[name]
    except UnknownNameError as error:
        raise RecipeError(f"dataset {outer!r}: dataset.name = {name!r}: {error}") from error
    given = {key: value for key, value in choice.items() if key != "name"}
    params = typed(entry, given, f"dataset {outer!r}", "dataset.")
    data = entry.load(split, root, lab=lab, **params)
    if not hasattr(data, "__len__"):
        raise ReluscopeError(
            f"dataset {outer!r}: dataset {name!r} gives a {type(data).__name__} without a length, expected a map-style "
            "data set"
        )
    if not len(data):
        raise ReluscopeError(f"dataset {outer!r}: the {split} split of dataset {name!r} is empty")
    return entry, data


def listed(data: Any, attribute: str) -> tuple[Any, ...]:
    """Return a list that a data set, or what it is a subset of, has as an attribute.

    Args:
        data: Any data set.
        attribute: Such as `"classes"`.

    Returns:
        The list; empty where there is none, or where the attribute is something else.
    """
    while data is not None:
        value = getattr(data, attribute, None)
        if isinstance(value, Sequence | np.ndarray | torch.Tensor) and not isinstance(value, str):
            return tuple(np.asarray(value).tolist())
        data = getattr(data, "dataset", None)
    return ()


def carry_over(data: Any, made: Any) -> None:
    """Give a data set what is known of the one that it builds on: class names and normalisation constants.

    Args:
        data: The inner one.
        made: Gets `classes`, `mean` and `std`, empty where the inner one has no such list.
    """
    for attribute in ("classes", "mean", "std"):
        setattr(made, attribute, listed(data, attribute))
