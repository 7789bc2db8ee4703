"""Recipes: TOML files that say what to run, checked before anything runs.

A recipe has names and numbers, no code. Its own keys are the fields of `Recipe`; every other key at its top level is a
parameter of its procedure, checked against that procedure's signature.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import itertools
import json
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic

from reluscope.entries import Entry, Experiment
from reluscope.errors import RecipeError, UnknownNameError, nearest
from reluscope.lab import Lab, Shelf

Scalar = str | bool | int | float
Point = dict[str, Scalar]

_STANDARD_DIMS = frozenset({"step", "epoch", "site", "unit", "sample", "feature", "class", "bound", "neuron", "rate"})


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True)


class Choice(pydantic.BaseModel):
    """A table that names an entry; all its other keys are that entry's parameters."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True, strict=True)

    name: str

    @property
    def parameters(self) -> dict[str, Any]:
        """Everything but the name."""
        return dict(self.model_extra or {})


class MetricChoice(Choice):
    """A metric, how often it is measured, on which split and on how many of its samples."""

    every: str = "1 epoch"
    split: typing.Literal["train", "validation", "test"] = "validation"
    samples: Annotated[int, pydantic.Field(ge=1)] | None = None


class Expected(_Strict):
    """A number that the source prints, to be set beside what was measured."""

    variable: str
    group: str = "epoch"
    select: dict[str, Scalar] = {}
    value: float
    tolerance: float | None = None


class Recipe(_Strict):
    """One recipe, complete and checked; immutable.

    Attributes:
        title: What is run, in a line.
        source: Author, year, figure or table; empty where the recipe is ours.
        procedure: Name of the procedure.
        seed: Seed of everything random: weights, order of the samples, draws in training.
        flush_seconds: Least time between two flushes to the archive; a kill loses at most what came after the last.
        dataset, architecture, optimizer, scheduler: Entry (or torch optimizer) and its parameters.
        metrics: What to measure, and when.
        sweep: Dotted key to the values it takes; every combination is run.
        expected: Numbers that the source prints.
        scale: Name to keys that replace the recipe's, for a smaller or larger run of the same thing.
        parameters: Parameters of the procedure.
    """

    title: Annotated[str, pydantic.Field(min_length=1)]
    source: str = ""
    procedure: str
    seed: Annotated[int, pydantic.Field(ge=0)] = 0
    flush_seconds: Annotated[float, pydantic.Field(ge=0)] = 10.0
    dataset: Choice | None = None
    architecture: Choice | None = None
    optimizer: Choice | None = None
    scheduler: Choice | None = None
    metrics: tuple[MetricChoice, ...] = ()
    sweep: dict[str, Annotated[list[Any], pydantic.Field(min_length=1)]] = {}
    expected: tuple[Expected, ...] = ()
    scale: dict[str, dict[str, Any]] = {}
    parameters: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with its scale and overrides applied, and one checked recipe for each point of its sweep.

    Attributes:
        name: The recipe's name: that of its file or experiment.
        table: The recipe as plain types: enough to plan it again.
        recipe: The recipe before the sweep.
        points: For each point of the sweep, its labels by dim, and the recipe to run.
    """

    name: str
    table: dict[str, Any]
    recipe: Recipe
    points: tuple[tuple[Point, Recipe], ...]

    @property
    def sweep_dims(self) -> tuple[str, ...]:
        """The dims that the sweep adds, in order."""
        return tuple(self.points[0][0])


def load(
    source: str | Path | Experiment | Mapping[str, Any],
    *,
    lab: Lab,
    scale: str | None = None,
    overrides: Iterable[str] = (),
    name: str | None = None,
) -> Plan:
    """Read a recipe and check it whole, each point of its sweep included.

    Args:
        source: An experiment or its name, the path of a TOML file, or the recipe as a mapping.
        lab: Where names are looked up.
        scale: Which of the recipe's `scale` sections to apply; None, or `"paper"` where no such section exists, applies
            none.
        overrides: `key=value` texts; the key may be dotted, the value is TOML (a bare word counts as text). An override
            of a key that is swept replaces its sweep.
        name: What to call the recipe where `source` is a mapping.

    Returns:
        The plan.

    Raises:
        RecipeError: If a key is unknown, missing, or of the wrong type; names file, key, value and the nearest name.
    """
    name, origin, table = _read(source, lab, name)
    if scale is not None:
        scales = table.get("scale", {})
        if not isinstance(scales, dict) or scale not in scales:
            if scale != "paper":
                known = [*scales, "paper"] if isinstance(scales, dict) else ["paper"]
                raise RecipeError(f"{origin}: unknown scale {scale!r}. {nearest(scale, known)}")
        else:
            table = _merged(table, scales[scale])
    table.pop("scale", None)
    for override in overrides:
        _override(table, override)
    return plan(table, lab=lab, name=name, origin=origin)


def plan(table: Mapping[str, Any], *, lab: Lab, name: str, origin: str) -> Plan:
    """Check a recipe that is complete, and lay out its sweep.

    Args:
        table: The recipe as plain types.
        lab: Where names are looked up.
        name: What to call it.
        origin: Where it comes from, for messages.

    Returns:
        The plan.

    Raises:
        RecipeError: If a key is unknown, missing, or of the wrong type.
    """
    complete = copy.deepcopy(dict(table))
    sweep = complete.get("sweep", {})
    if not isinstance(sweep, dict) or not all(isinstance(v, list) and v for v in sweep.values()):
        raise RecipeError(f"{origin}: sweep = {_short(sweep)}: expected a table of key = [value, ...] with values")
    dims = _sweep_dims(sweep, origin)
    labels = [_labels(values, f"{origin}: sweep.{key}") for key, values in sweep.items()]
    without = {key: value for key, value in complete.items() if key != "sweep"}
    points: list[tuple[Point, Recipe]] = []
    for chosen in itertools.product(*(range(len(values)) for values in sweep.values())):
        point_table = copy.deepcopy(without)
        for (key, values), index in zip(sweep.items(), chosen, strict=True):
            _put(point_table, key, copy.deepcopy(values[index]), origin)
        point = {dim: labels[axis][index] for axis, (dim, index) in enumerate(zip(dims, chosen, strict=True))}
        points.append((point, _checked(point_table, lab, origin)))
    recipe = points[0][1].model_copy(update={"sweep": sweep})
    _check_expected(recipe, dims, origin)
    return Plan(name=name, table=complete, recipe=recipe, points=tuple(points))


def _read(
    source: str | Path | Experiment | Mapping[str, Any], lab: Lab, name: str | None
) -> tuple[str, str, dict[str, Any]]:
    if isinstance(source, Mapping):
        return name or "recipe", name or "recipe", copy.deepcopy(dict(source))
    if isinstance(source, Experiment):
        path = source.path
    elif isinstance(source, str) and source in lab.experiments:
        path = lab.experiments[source].path
    elif isinstance(source, Path) or source.endswith(".toml") or "/" in source:
        path = Path(source)
        if not path.is_file():
            raise RecipeError(f"recipe {source}: there is no such file; give a TOML file or the name of an experiment")
    else:
        raise UnknownNameError(
            f"unknown experiment {source!r}. {nearest(source, lab.experiments)} A recipe of your own: pass the path of "
            "its TOML file"
        )
    try:
        return path.stem, path.name, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping) and "name" not in value:
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    key, text = key.strip(), text.strip()
    if not equals or not key:
        raise RecipeError(f"--set {override!r}: expected key=value, such as epochs=3 or optimizer.momentum=0.5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    _put(table, key, value, f"--set {override}")
    if isinstance(table.get("sweep"), dict):
        for swept in list(table["sweep"]):
            if swept == key or swept.startswith(f"{key}.") or key.startswith(f"{swept}."):
                del table["sweep"][swept]


def _put(table: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *parents, last = key.split(".")
    place: Any = table
    for part in parents:
        if isinstance(place, list) and part.isdigit() and int(part) < len(place):
            place = place[int(part)]
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            raise RecipeError(f"{origin}: {key!r} goes through {part!r}, which is {_short(place)}, not a table")
    if isinstance(place, list):
        if not last.isdigit() or int(last) >= len(place):
            raise RecipeError(f"{origin}: {key!r}: expected a number from 0 to {len(place) - 1}, got {last!r}")
        place[int(last)] = value
    else:
        place[last] = value


def _sweep_dims(sweep: Mapping[str, Any], origin: str) -> list[str]:
    lasts = [key.split(".")[-1] for key in sweep]
    dims = [last if lasts.count(last) == 1 else key.replace(".", "_") for key, last in zip(sweep, lasts, strict=True)]
    for key, dim in zip(sweep, dims, strict=True):
        if dim in _STANDARD_DIMS or not dim.isidentifier():
            raise RecipeError(f"{origin}: sweep.{key}: {dim!r} cannot name a dim of the archive; sweep another key")
    return dims


def _labels(values: Sequence[Any], place: str) -> list[Scalar]:
    names = [v.get("name") if isinstance(v, Mapping) else None for v in values]
    labels: list[Scalar] = []
    for value, name in zip(values, names, strict=True):
        if isinstance(value, bool | int | float | str):
            labels.append(value)
        elif isinstance(name, str):
            rest = ", ".join(f"{k}={_short(v)}" for k, v in value.items() if k != "name")
            labels.append(name if names.count(name) == 1 or not rest else f"{name}({rest})")
        else:
            labels.append(_short(value))
    if len({type(label) for label in labels}) > 1:
        numbers = all(isinstance(label, int | float) and not isinstance(label, bool) for label in labels)
        labels = [float(label) if numbers else str(label) for label in labels]
    if len(set(labels)) < len(labels):
        raise RecipeError(f"{place} = {_short(values)}: a value stands there twice; expected each once")
    return labels


def _checked(table: Mapping[str, Any], lab: Lab, origin: str) -> Recipe:
    own = set(Recipe.model_fields) - {"parameters"}
    procedure_name = table.get("procedure")
    if not isinstance(procedure_name, str):
        raise RecipeError(f'{origin}: procedure is missing; add procedure = "train" or another of `reluscope list`')
    procedure = _look_up(lab.procedures, procedure_name, f"{origin}: procedure")
    parameters = {key: value for key, value in table.items() if key not in own}
    known = [*own, *procedure.parameters()]
    for key in parameters:
        if key not in procedure.parameters():
            raise RecipeError(f"{origin}: unknown key {key!r} (= {_short(parameters[key])}). {nearest(key, known)}")
    fixed = {key: value for key, value in table.items() if key in own}
    try:
        recipe = Recipe.model_validate_json(json.dumps({**fixed, "parameters": parameters}, default=str))
    except pydantic.ValidationError as error:
        raise RecipeError(f"{origin}: {_first(error, known)}") from error
    recipe = recipe.model_copy(update={"parameters": _typed(procedure, parameters, origin, "")})
    shelves: tuple[tuple[str, Choice | None, Shelf[Any]], ...] = (
        ("dataset", recipe.dataset, lab.datasets),
        ("architecture", recipe.architecture, lab.architectures),
        ("scheduler", recipe.scheduler, lab.schedulers),
        *((f"metrics.{i}", choice, lab.metrics) for i, choice in enumerate(recipe.metrics)),
    )
    update: dict[str, Any] = {}
    for key, choice, shelf in shelves:
        if choice is None:
            continue
        entry = _look_up(shelf, choice.name, f"{origin}: {key}.name")
        params = _typed(entry, choice.parameters, origin, f"{key}.", extra={"seed"} if key == "architecture" else set())
        if not key.startswith("metrics"):
            update[key] = Choice(name=choice.name, **params)
    return recipe.model_copy(update=update)


def _look_up(shelf: Shelf[Any], name: str, place: str) -> Any:
    try:
        return shelf[name]
    except UnknownNameError as error:
        raise RecipeError(f"{place} = {name!r}: {error}") from error


def _typed(
    entry: Entry, params: Mapping[str, Any], origin: str, prefix: str, extra: set[str] | None = None
) -> dict[str, Any]:
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
            raise RecipeError(f"{origin}: unknown key {prefix + key!r} (= {_short(value)}). {hint}")
        if key in (extra or ()):
            raise RecipeError(f"{origin}: {prefix}{key} = {_short(value)}: set {key!r} at the top level of the recipe")
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(hints.get(key, Any))
        except pydantic.PydanticSchemaGenerationError:  # a type that no recipe can hold: the entry checks it itself
            typed[key] = value
            continue
        try:
            typed[key] = adapter.validate_json(json.dumps(value, default=str), strict=True)
        except pydantic.ValidationError as error:
            raise RecipeError(
                f"{origin}: {prefix}{key} = {_short(value)}: {error.errors()[0]['msg'].lower()}"
            ) from error
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
        except NameError:  # imported for type checkers only: nothing that a recipe could hold
            continue
    return hints


def _first(error: pydantic.ValidationError, known: Iterable[str]) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{place} is missing; expected a {place.split('.')[-1]}"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        fields = Expected.model_fields if first["loc"][0] == "expected" else known
        return f"unknown key {place!r} (= {_short(first['input'])}). {nearest(key, fields)}"
    return f"{place} = {_short(first['input'])}: {first['msg'].lower()}"


def _check_expected(recipe: Recipe, dims: Sequence[str], origin: str) -> None:
    for index, expected in enumerate(recipe.expected):
        for key in expected.select:
            if key not in dims and key not in ("epoch", "step", "site", "class"):
                raise RecipeError(
                    f"{origin}: expected.{index}.select.{key}: not a dim of the result. "
                    f"{nearest(key, [*dims, 'epoch'])}"
                )


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
