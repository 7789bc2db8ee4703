"""Parameters of entries, checked against the signatures of what the entries name."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import pydantic

from reluscope.entries import Entry
from reluscope.errors import RecipeError, nearest


def typed(
    entry: Entry, params: Mapping[str, Any], origin: str, prefix: str, extra: set[str] | None = None
) -> dict[str, Any]:
    """Check parameters against the signature of what an entry names; the types are those of its annotations.

    Args:
        entry: Whose parameters they are.
        params: Name to value, as plain types.
        origin: Where they come from, for messages.
        prefix: The dotted key of the table that holds them, with a dot at its end, for messages.
        extra: Names that belong elsewhere in the recipe.

    Returns:
        Name to value, of the types that the signature wants, such as tuples for lists.

    Raises:
        RecipeError: If one is unknown, missing or of the wrong type.
    """
    # the types to check against are those of the signature's annotations
    known = entry.parameters()
    implementation = entry.implementation()
    open_ended = any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in inspect.signature(implementation).parameters.values()
    )
    hints = _hints(implementation)
    typed: dict[str, Any] = {}
    for key, value in params.items():
        if key not in known:
            if open_ended:
                typed[key] = value
                continue
            hint = nearest(key, known) if known else f"The {entry.kind} {entry.name!r} takes no parameters."
            raise RecipeError(f"{origin}: unknown key {prefix + key!r} (= {short(value)}). {hint}")
        if key in (extra or ()):
            raise RecipeError(f"{origin}: {prefix}{key} = {short(value)}: set {key!r} at the top level of the recipe")
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(hints.get(key, Any))
        except pydantic.PydanticSchemaGenerationError:  # a type that no recipe can hold: the entry checks it itself
            typed[key] = value
            continue
        try:
            typed[key] = adapter.validate_json(json.dumps(value, default=str), strict=True)
        except pydantic.ValidationError as error:
            raise RecipeError(f"{origin}: {prefix}{key} = {short(value)}: {error.errors()[0]['msg'].lower()}") from None
    for key, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and key not in params:
            raise RecipeError(f"{origin}: {prefix}{key} is missing: the {entry.kind} {entry.name!r} needs it")
    return typed


def _hints(implementation: Any) -> dict[str, Any]:
    function = implementation.__init__ if inspect.isclass(implementation) else implementation
    hints: dict[str, Any] = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        try:
            hints[name] = eval(annotation, function.__globals__) if isinstance(annotation, str) else annotation
        except (NameError, AttributeError):  # imported for type checkers only: nothing that a recipe could hold
            continue
    return hints


def short(value: Any) -> str:
    """Show a value in a message, cut where it is long.

    Args:
        value: Plain types.

    Returns:
        At most 80 characters.
    """
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
