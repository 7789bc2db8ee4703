"""Entries: the nine kinds of thing that a plugin can offer, each a frozen dataclass that is declared, then looked up.

An entry is light: it names its implementation, as a function or as `"package.module:name"`, and nothing is imported
before the entry is used. So a listing of all entries needs neither torch nor xarray.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from reluscope.errors import PluginError, RecipeError, nearest

if TYPE_CHECKING:
    import torch
    import xarray as xr
    from torch.optim.lr_scheduler import LRScheduler

    from reluscope.observation import Observation
    from reluscope.context import Context

Target = Callable[..., Any] | str
"""An implementation, or where to find it: `"package.module:name"`."""

NEEDS = frozenset({"patterns", "affine", "weights", "targets", "step"})
"""What a metric may say that it needs."""

E = TypeVar("E", bound="Entry")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What all kinds share.

    Attributes:
        name: A snake_case name, the same in the file, the function and the registry.
        summary: One line on what it is.
    """

    kind: ClassVar[str] = "entry"
    reserved: ClassVar[frozenset[str]] = frozenset()
    """Parameters that the kernel passes by itself, so that no recipe may set them."""

    name: str
    summary: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise PluginError(
                f"{self.kind} name: got {self.name!r}, expected snake_case such as 'firing_rate'; rename the entry"
            )
        if not isinstance(self.summary, str) or not self.summary.strip():
            raise PluginError(
                f"{self.kind} {self.name!r}: no summary; give one line on what it is (a docstring serves for a metric)"
            )

    def implementation(self) -> Callable[..., Any]:
        """Import and return what the entry names.

        Returns:
            The function or class that does the work.

        Raises:
            PluginError: If what the entry names does not exist or is not callable.
        """
        target = self._target()
        if isinstance(target, str):
            module_name, _, attribute = target.partition(":")
            try:
                target = getattr(importlib.import_module(module_name), attribute)
            except (ImportError, AttributeError) as error:
                raise PluginError(
                    f"{self.kind} {self.name!r}: {self._target()!r} cannot be imported ({error}); expected "
                    "'package.module:name' of a function or class; mend the plugin or install what it needs"
                ) from error
        if not callable(target):
            raise PluginError(
                f"{self.kind} {self.name!r}: {self._target()!r} is {type(target).__name__}, expected a function or class"
            )
        return target

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Return the parameters that a recipe may set.

        Returns:
            Name to `inspect.Parameter`, in the order of the signature.
        """
        signature = inspect.signature(self.implementation())
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return MappingProxyType(
            {
                name: parameter
                for name, parameter in signature.parameters.items()
                if parameter.kind in kinds and name not in self.reserved
            }
        )

    def check_parameters(self, params: Mapping[str, Any]) -> None:
        """See to it that parameters are known and complete.

        Args:
            params: Name to value.

        Raises:
            RecipeError: If one is superfluous or missing; names the entry and the nearest parameter.
        """
        signature = inspect.signature(self.implementation())
        known = self.parameters()
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()):
            for name in params:
                if name not in known:
                    hint = nearest(name, known) if known else "It takes none."
                    raise RecipeError(f"{self.kind} {self.name!r}: unknown parameter {name!r}. {hint}")
        for name, parameter in known.items():
            if parameter.default is inspect.Parameter.empty and name not in params:
                raise RecipeError(f"{self.kind} {self.name!r}: parameter {name!r} is missing; give it a value")

    def _target(self) -> Target:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric(Entry):
    """A quantity measured on observations: a monoid, so that it streams, merges over workers and resumes.

    Made by the decorator `reluscope.metric`.

    Attributes:
        dims: Dims of the result: `()`, `("site",)`, `("unit",)`, `("class",)`, ...
        units: Units of the result, `"1"` where pure.
        minimum: Least value it can take, None where unbounded.
        maximum: Greatest value it can take, None where unbounded.
        needs: What it needs of an observation beside patterns: see `NEEDS`.
        definition: A function on an observation (its values are averaged over samples) or a class with `measure`,
            `merge` and `finish`.
        params: Parameters bound to the definition.
        version: Raise it when the numbers change; it stands in the provenance.
    """

    kind: ClassVar[str] = "metric"
    reserved: ClassVar[frozenset[str]] = frozenset({"observation"})

    definition: Target
    dims: tuple[str, ...] = ()
    units: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    needs: frozenset[str] = frozenset()
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = sorted(set(self.needs) - NEEDS)
        if unknown:
            raise PluginError(f"metric {self.name!r}: unknown need {unknown[0]!r}. {nearest(unknown[0], NEEDS)}")

    def bind(self, **params: Any) -> Metric:
        """Return the same metric with parameters set.

        Args:
            **params: Parameters of the definition.

        Returns:
            A new entry.
        """
        merged = {**self.params, **params}
        self.check_parameters(merged)
        return dataclasses.replace(self, params=MappingProxyType(merged))

    def measure(self, observation: Observation) -> Any:
        """Measure one batch.

        Args:
            observation: What one forward pass showed.

        Returns:
            A state, to be merged with others.
        """
        from reluscope.metric import measure

        return measure(self, observation)

    def merge(self, first: Any, second: Any) -> Any:
        """Merge two states; None is the identity.

        Args:
            first: A state, or None.
            second: A state, or None.

        Returns:
            The state of both batches together.
        """
        from reluscope.metric import merge

        return merge(self, first, second)

    def finish(self, state: Any) -> xr.DataArray:
        """Turn a state into a labelled array.

        Args:
            state: The state of all that was measured.

        Returns:
            The labelled result, with dims, units and long_name as declared.
        """
        from reluscope.metric import finish

        return finish(self, state)

    def __call__(self, observation: Observation) -> xr.DataArray:
        """Measure one observation and finish.

        Args:
            observation: What one forward pass showed.

        Returns:
            The labelled result.
        """
        return self.finish(self.measure(observation))

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheduler(Entry):
    """A way for the learning rate to move.

    Attributes:
        definition: `(optimizer, *, total_steps, model=None, **params) -> LRScheduler`, stepped once an optimizer step.
    """

    kind: ClassVar[str] = "scheduler"
    reserved: ClassVar[frozenset[str]] = frozenset({"optimizer", "total_steps", "model"})

    definition: Target

    def build(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        model: torch.nn.Module | None = None,
        **params: Any,
    ) -> LRScheduler:
        """Make the scheduler for one training.

        Args:
            optimizer: Whose learning rates are moved.
            total_steps: Number of optimizer steps of the whole training.
            model: The network, for schedules that look at it.
            **params: Parameters of the definition.

        Returns:
            An ordinary torch scheduler, to be stepped after each optimizer step.
        """
        self.check_parameters(params)
        takes = inspect.signature(self.implementation()).parameters
        extra = {"model": model} if "model" in takes else {}
        scheduler: LRScheduler = self.implementation()(optimizer, total_steps=total_steps, **extra, **params)
        return scheduler

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberSystem(Entry):
    """A way to represent weights.

    Attributes:
        definition: A class whose instances have `encode(weight)`, `decode(encoded)`, `mean(encoded)`,
            `variance(encoded, samples)` and `draw(encoded, samples, generator)`.
        bits: Bits that one weight takes.
        operations: Operations that one product takes, by name, such as `{"add": 1, "shift": 1}`.
    """

    kind: ClassVar[str] = "number_system"

    definition: Target
    bits: float
    operations: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def build(self, **params: Any) -> Any:
        """Make the number system.

        Args:
            **params: Parameters of the definition.

        Returns:
            An instance with `encode`, `decode`, `mean`, `variance` and `draw`.
        """
        self.check_parameters(params)
        return self.implementation()(**params)

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture(Entry):
    """A network to build by name.

    Attributes:
        definition: `(**params) -> nn.Module`.
        input: What it expects, such as `"(sample, feature)"` or `"(sample, channel, height, width)"`.
    """

    kind: ClassVar[str] = "architecture"

    definition: Target
    input: str

    def build(self, *, seed: int | None = None, **params: Any) -> torch.nn.Module:
        """Make the network.

        Args:
            seed: Seed of the initial weights; torch's random state stays as it was. None draws from torch's global
                state, as constructing any module does.
            **params: Parameters of the definition.

        Returns:
            The network.
        """
        self.check_parameters(params)
        if seed is None:
            model: torch.nn.Module = self.implementation()(**params)
            return model
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = self.implementation()(**params)
        return model

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset(Entry):
    """Samples to train and measure on.

    Attributes:
        definition: `(split, root, **params) -> torch.utils.data.Dataset`.
        classes: Class names in the order of the labels; empty where the data tells.
        shape: Shape of one sample, channels first; empty where the data tells.
        mean: Normalisation constant of each channel, in units of the raw value scaled to 0..1; empty where none.
        std: Likewise.
        licence: Under which licence the data are.
        source: Where they come from: author, year, and address.
    """

    kind: ClassVar[str] = "dataset"
    reserved: ClassVar[frozenset[str]] = frozenset({"split", "root"})

    definition: Target
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    licence: str
    source: str

    def load(
        self, split: str, root: str | Path | None = None, **params: Any
    ) -> torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]:
        """Load one split.

        Args:
            split: `"train"`, `"validation"` or `"test"`.
            root: Folder that holds the data; None where none is needed.
            **params: Parameters of the definition.

        Returns:
            A map-style torch data set of (input, label).

        Raises:
            RecipeError: If there is no such split.
        """
        splits = ("train", "validation", "test")
        if split not in splits:
            raise RecipeError(f"dataset {self.name!r}: unknown split {split!r}. {nearest(split, splits)}")
        self.check_parameters(params)
        data: torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]] = self.implementation()(split, root, **params)
        return data

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regularizer(Entry):
    """A penalty to add to a loss.

    Attributes:
        definition: `(**params) -> penalty`, where `penalty(model, x, output)` is a differentiable scalar tensor.
    """

    kind: ClassVar[str] = "regularizer"

    definition: Target

    def build(self, **params: Any) -> Callable[..., torch.Tensor]:
        """Make the penalty.

        Args:
            **params: Parameters of the definition.

        Returns:
            `penalty(model, x, output) -> scalar tensor`.
        """
        self.check_parameters(params)
        penalty: Callable[..., torch.Tensor] = self.implementation()(**params)
        return penalty

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Procedure(Entry):
    """What a recipe can run.

    Attributes:
        definition: `(context, **params) -> None`; it records labelled data through the context.
        groups: The groups of the archive that it writes, name to one line on each.
    """

    kind: ClassVar[str] = "procedure"
    reserved: ClassVar[frozenset[str]] = frozenset({"context"})

    definition: Target
    groups: Mapping[str, str]

    def run(self, context: Context, **params: Any) -> None:
        """Run it once, for one point of a sweep.

        Args:
            context: Gives the recipe's entries, seeds, data root; takes records and checkpoints.
            **params: Parameters of the definition.
        """
        self.check_parameters(params)
        self.implementation()(context, **params)

    def _target(self) -> Target:
        return self.definition


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment(Entry):
    """A recipe that ships with a plugin: names and numbers, no code.

    Attributes:
        path: The TOML file.
        source: Author, year, figure or table; empty where the recipe is ours.
    """

    kind: ClassVar[str] = "experiment"

    path: Path
    source: str = ""

    @classmethod
    def from_toml(cls: type[E], path: str | Path) -> E:
        """Declare the recipe in a file; its name is the file's, its summary the recipe's title.

        Args:
            path: The TOML file.

        Returns:
            The entry.

        Raises:
            PluginError: If the file is not TOML or has no title.
        """
        import tomllib

        path = Path(path)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise PluginError(f"experiment {path.stem!r}: {path} cannot be read as TOML ({error}); mend it") from error
        title = table.get("title")
        if not isinstance(title, str) or not title:
            raise PluginError(f'experiment {path.stem!r}: {path} has no title; add title = "..."')
        return cls(name=path.stem, summary=title, path=path, source=str(table.get("source", "")))  # type: ignore[call-arg]

    def _target(self) -> Target:
        raise PluginError(f"experiment {self.name!r} is a recipe, not code; run it with reluscope.run({self.name!r})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Entry):
    """A statement of the theory that can be put to the test.

    Attributes:
        statement: In words and formula, faithful to the source.
        source: Author, year, number, page or equation.
        assumption: Under which it is claimed.
        strategy: `() -> hypothesis strategy` that generates cases.
        predicate: `(case) -> bool`: does the statement hold in this case?
    """

    kind: ClassVar[str] = "claim"

    statement: str
    source: str
    assumption: str
    strategy: Target
    predicate: Target

    def _target(self) -> Target:
        return self.predicate


KINDS: Mapping[str, type[Entry]] = MappingProxyType(
    {
        "metrics": Metric,
        "schedulers": Scheduler,
        "number_systems": NumberSystem,
        "architectures": Architecture,
        "datasets": Dataset,
        "regularizers": Regularizer,
        "procedures": Procedure,
        "experiments": Experiment,
        "claims": Claim,
    }
)
"""The nine kinds: the plural, which names hook and registry, to the dataclass."""


def metric(
    *,
    dims: tuple[str, ...] = (),
    units: str = "1",
    minimum: float | None = None,
    maximum: float | None = None,
    needs: frozenset[str] | set[str] = frozenset(),
) -> Callable[[Callable[..., Any]], Metric]:
    """Declare a metric: decorates a function on an observation, or a class with `measure`, `merge` and `finish`.

    A function's values are averaged over samples. It returns a mapping from site to values where dims hold `site` or
    `unit`, else a number. Keyword-only arguments (of the function, or of the class's constructor) are its parameters.

    Args:
        dims: Dims of the result.
        units: Units of the result, `"1"` where pure.
        minimum: Least value it can take.
        maximum: Greatest value it can take.
        needs: What it needs of an observation beside patterns: `"affine"`, `"targets"`, `"weights"`, `"step"`.

    Returns:
        A decorator that turns the definition into a `Metric` of the same name.

    Example:
        >>> @metric(dims=("unit",), minimum=0.0, maximum=1.0)
        ... def firing_rate(observation):
        ...     "Share of samples on which each unit is active."
        ...     return {site: (observation.pattern[site] == 1).double().mean(0) for site in observation.sites}
        >>> firing_rate.name, firing_rate.dims
        ('firing_rate', ('unit',))
    """

    def declare(definition: Callable[..., Any]) -> Metric:
        summary = (inspect.getdoc(definition) or "").strip().split("\n")[0]
        return Metric(
            name=definition.__name__,
            summary=summary,
            definition=definition,
            dims=tuple(dims),
            units=units,
            minimum=minimum,
            maximum=maximum,
            needs=frozenset(needs),
        )

    return declare
