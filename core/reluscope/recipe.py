"""Recipes: TOML files that say what to run, checked before anything runs.

A recipe has names and numbers, no code. Its own keys are the fields of `Recipe`; every other key at its top level is a
parameter of its procedure, checked against that procedure's signature.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pydantic

from reluscope.cadence import Cadence
from reluscope.entries import Experiment
from reluscope.errors import RecipeError, UnknownNameError, nearest
from reluscope.figures import Figure, check_figures
from reluscope.lab import Lab, Shelf
from reluscope.optimizers import optimizer_class
from reluscope.parameters import short, typed
from reluscope.sweep import Point, Scalar, apply_override, label_values, merge_tables, name_dims, put


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
    """A metric, how often it is measured, on which split, on how many of its samples, and in which mode."""

    every: str = "1 epoch"
    split: typing.Literal["train", "validation", "test"] = "validation"
    samples: Annotated[int, pydantic.Field(ge=1)] | None = None
    training: bool = False

    @pydantic.field_validator("every")
    @classmethod
    def _check_every(cls, every: str) -> str:
        try:
            Cadence.parse(every)
        except RecipeError as error:
            raise ValueError(str(error).partition(": ")[2]) from error
        return every


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
        figures: What the report draws first.
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
    figures: tuple[Figure, ...] = ()
    scale: dict[str, dict[str, Any]] = {}
    parameters: dict[str, Any] = {}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A recipe with its scale and overrides applied, and one checked recipe for each point of its sweep.

    Attributes:
        name: The recipe's name: that of its file or experiment.
        origin: Where it comes from, for messages, such as the name of its file.
        experiment: Name of the experiment that it is; empty where it is none.
        table: The recipe as plain types: enough to plan it again.
        recipe: The recipe before the sweep.
        points: For each point of the sweep, its labels by dim, and the recipe to run.
    """

    name: str
    origin: str
    experiment: str
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
) -> Plan:
    """Read a recipe and check it whole, each point of its sweep included.

    Args:
        source: An experiment or its name, the path of a TOML file, or the recipe as a mapping.
        lab: Where names are looked up.
        scale: Which of the recipe's `scale` sections to apply; None, or `"paper"` where no such section exists, applies
            none.
        overrides: `key=value` texts; the key may be dotted, the value is TOML (a bare word counts as text). An override
            of a key that is swept replaces its sweep.

    Returns:
        The plan.

    Raises:
        RecipeError: If a key is unknown, missing, or of the wrong type; names file, key, value and the nearest name.
    """
    name, origin, experiment, table = _read(source, lab)
    if scale is not None:
        scales = table.get("scale", {})
        if not isinstance(scales, dict) or scale not in scales:
            if scale != "paper":
                known = [*scales, "paper"] if isinstance(scales, dict) else ["paper"]
                raise RecipeError(f"{origin}: unknown scale {scale!r}. {nearest(scale, known)}")
        else:
            table = merge_tables(table, scales[scale])
    table.pop("scale", None)
    for override in overrides:
        apply_override(table, override)
    return plan(table, lab=lab, name=name, origin=origin, experiment=experiment)


def plan(table: Mapping[str, Any], *, lab: Lab, name: str, origin: str, experiment: str = "") -> Plan:
    """Check a recipe that is complete, and lay out its sweep.

    Args:
        table: The recipe as plain types.
        lab: Where names are looked up.
        name: What to call it.
        origin: Where it comes from, for messages.
        experiment: Name of the experiment that it is; empty where it is none.

    Returns:
        The plan.

    Raises:
        RecipeError: If a key is unknown, missing, or of the wrong type.
    """
    complete = copy.deepcopy(dict(table))
    sweep = complete.get("sweep", {})
    if not isinstance(sweep, dict) or not all(isinstance(v, list) and v for v in sweep.values()):
        raise RecipeError(f"{origin}: sweep = {short(sweep)}: expected a table of key = [value, ...] with values")
    dims = name_dims(sweep, origin)
    labels = [label_values(values, f"{origin}: sweep.{key}") for key, values in sweep.items()]
    without = {key: value for key, value in complete.items() if key != "sweep"}
    points: list[tuple[Point, Recipe]] = []
    for chosen in itertools.product(*(range(len(values)) for values in sweep.values())):
        point_table = copy.deepcopy(without)
        for (key, values), index in zip(sweep.items(), chosen, strict=True):
            put(point_table, key, copy.deepcopy(values[index]), origin)
        point = {dim: labels[axis][index] for axis, (dim, index) in enumerate(zip(dims, chosen, strict=True))}
        points.append((point, _checked(point_table, lab, origin)))
    recipe = points[0][1].model_copy(update={"sweep": sweep})
    _check_expected(recipe, dims, origin)
    check_figures(recipe.figures, dims, without, origin)
    return Plan(name, origin, experiment, table=complete, recipe=recipe, points=tuple(points))


def _read(source: str | Path | Experiment | Mapping[str, Any], lab: Lab) -> tuple[str, str, str, dict[str, Any]]:
    experiment = ""
    if isinstance(source, Mapping):
        return "recipe", "recipe", experiment, copy.deepcopy(dict(source))
    if isinstance(source, Experiment):
        path, experiment = source.path, source.name
    elif isinstance(source, str) and source in lab.experiments:
        path, experiment = lab.experiments[source].path, source
    elif isinstance(source, Path) or source.endswith(".toml") or "/" in source:
        path = Path(source)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "there is no such file"
            raise RecipeError(f"recipe {source}: {what}; give a TOML file or the name of an experiment")
    else:
        raise UnknownNameError(
            f"unknown experiment {source!r}. {nearest(source, lab.experiments)} A recipe of your own: pass the path of "
            "its TOML file"
        )
    try:
        return path.stem, path.name, experiment, tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {error}") from error


def _checked(table: Mapping[str, Any], lab: Lab, origin: str) -> Recipe:
    own = set(Recipe.model_fields) - {"parameters"}
    procedure_name = table.get("procedure")
    if not isinstance(procedure_name, str):
        raise RecipeError(f'{origin}: procedure is missing; add procedure = "train" or another of `reluscope list`')
    procedure = _look_up(lab.procedures, procedure_name, f"{origin}: procedure")
    for name in procedure.metrics:
        if name not in lab.metrics:
            raise RecipeError(
                f"{origin}: procedure = {procedure_name!r}: it measures {name!r}, which no plugin of this lab offers; "
                "add the plugin 'performance', or the one that has it"
            )
    parameters = {key: value for key, value in table.items() if key not in own}
    known = [*own, *procedure.parameters()]
    for key in parameters:
        if key not in procedure.parameters():
            raise RecipeError(f"{origin}: unknown key {key!r} (= {short(parameters[key])}). {nearest(key, known)}")
    fixed = {key: value for key, value in table.items() if key in own}
    try:
        recipe = Recipe.model_validate_json(json.dumps({**fixed, "parameters": parameters}, default=str))
    except pydantic.ValidationError as error:
        raise RecipeError(f"{origin}: {_first(error, known)}") from None  # which says it all, without pydantic's words
    recipe = recipe.model_copy(update={"parameters": typed(procedure, parameters, origin, "")})
    shelves: tuple[tuple[str, Choice | None, Shelf[Any]], ...] = (
        ("dataset", recipe.dataset, lab.datasets),
        ("architecture", recipe.architecture, lab.architectures),
        ("scheduler", recipe.scheduler, lab.schedulers),
        *((f"metrics.{i}", choice, lab.metrics) for i, choice in enumerate(recipe.metrics)),
    )
    if recipe.optimizer is not None:
        optimizer_class(recipe.optimizer.name, recipe.optimizer.parameters, origin)
    update: dict[str, Any] = {}
    for key, choice, shelf in shelves:
        if choice is None:
            continue
        entry = _look_up(shelf, choice.name, f"{origin}: {key}.name")
        params = typed(entry, choice.parameters, origin, f"{key}.", extra={"seed"} if key == "architecture" else set())
        if not key.startswith("metrics"):
            update[key] = Choice(name=choice.name, **params)
    return recipe.model_copy(update=update)


def _look_up(shelf: Shelf[Any], name: str, place: str) -> Any:
    try:
        return shelf[name]
    except UnknownNameError as error:
        raise RecipeError(f"{place} = {name!r}: {error}") from error


def _first(error: pydantic.ValidationError, known: Iterable[str]) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{place} is missing; expected a {place.split('.')[-1]}"
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        fields: dict[Any, Iterable[str]] = {"expected": Expected.model_fields, "figures": Figure.model_fields}
        return f"unknown key {place!r} (= {short(first['input'])}). {nearest(key, fields.get(first['loc'][0], known))}"
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        words = re.findall(r"'([^']*)'", first["ctx"]["expected"])
        return f"{place} = {short(first['input'])}: {first['msg'].lower()}. {nearest(first['input'], words)}"
    return f"{place} = {short(first['input'])}: {first['msg'].lower()}"


def _check_expected(recipe: Recipe, dims: Sequence[str], origin: str) -> None:
    for index, expected in enumerate(recipe.expected):
        for key in expected.select:
            if key not in dims and key not in ("epoch", "step", "site", "class", "sample_count"):
                raise RecipeError(
                    f"{origin}: expected.{index}.select.{key}: not a dim of the result. "
                    f"{nearest(key, [*dims, 'epoch'])}"
                )
