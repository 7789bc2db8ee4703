"""Entries: the nine kinds of thing that a plugin can offer, each a frozen dataclass that is declared, then looked up.

An entry is light: it names its implementation, as a function or as `"package.module:name"`, and nothing is imported
before the entry is used. So a listing of all entries needs neither torch nor xarray.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from reluscope.claim_entry import Claim
from reluscope.entry import Entry, Target
from reluscope.errors import PluginError, RecipeError, nearest
from reluscope.metric_entry import NEEDS, Count, Metric, metric

if TYPE_CHECKING:
    import torch
    from torch.optim.lr_scheduler import LRScheduler

    from reluscope.context import Context
    from reluscope.lab import Lab
    from reluscope.number_system import System

__all__ = [
    "KINDS",
    "NEEDS",
    "Architecture",
    "Claim",
    "Count",
    "Dataset",
    "Entry",
    "Experiment",
    "Metric",
    "NumberSystem",
    "Procedure",
    "Regularizer",
    "Scheduler",
    "Target",
    "metric",
]

E = TypeVar("E", bound=Entry)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scheduler(Entry):
    """A way for the learning rate to move.

    Attributes:
        definition: `(optimizer, *, total_steps, model=None, **params) -> LRScheduler`, stepped once an optimizer step.
        batch: Whether its `step` takes the batch that the model was given for the loss of that step.
    """

    kind: ClassVar[str] = "scheduler"
    reserved: ClassVar[frozenset[str]] = frozenset({"optimizer", "total_steps", "model"})

    definition: Target
    batch: bool = False

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
        definition: A class whose instances are a `reluscope.number_system.System`: they have `encode(weight)`,
            `decode(encoded)`, `mean(encoded)`, `variance(encoded, samples)`, `draw(encoded, samples, generator)`, and
            `bits`, `operations` and `stochastic`.
        bits: Bits that one weight takes, at the default parameters.
        operations: Operations that one product takes with one sample, by name, such as `{"add": 1, "shift": 1}`.
    """

    kind: ClassVar[str] = "number_system"

    definition: Target
    bits: float
    operations: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def build(self, **params: Any) -> System:
        """Make the number system.

        Args:
            **params: Parameters of the definition.

        Returns:
            An instance of the definition.
        """
        self.check_parameters(params)
        system: System = self.implementation()(**params)
        return system

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
        definition: `(split, root, **params) -> torch.utils.data.Dataset`; a parameter `lab`, if any, gets the lab, to
            look up the data set that it builds on.
        classes: Class names in the order of the labels; empty where the data tells.
        shape: Shape of one sample, channels first; empty where the data tells.
        mean: Normalisation constant of each channel, in units of the raw value scaled to 0..1; empty where none.
        std: Likewise.
        licence: Under which licence the data are.
        source: Where they come from: author, year, and address.
    """

    kind: ClassVar[str] = "dataset"
    reserved: ClassVar[frozenset[str]] = frozenset({"split", "root", "lab"})

    definition: Target
    classes: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    licence: str
    source: str

    def load(
        self, split: str, root: str | Path | None = None, *, lab: Lab | None = None, **params: Any
    ) -> torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]:
        """Load one split.

        Args:
            split: `"train"`, `"validation"` or `"test"`.
            root: Folder that holds the data; None where none is needed.
            lab: Where a data set that builds on another looks that up; the others need none.
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
        takes = inspect.signature(self.implementation()).parameters
        extra = {"lab": lab} if "lab" in takes else {}
        data: torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]] = self.implementation()(
            split, root, **extra, **params
        )
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
        metrics: Metrics that it measures whatever the recipe says.
    """

    kind: ClassVar[str] = "procedure"
    reserved: ClassVar[frozenset[str]] = frozenset({"context"})

    definition: Target
    groups: Mapping[str, str]
    metrics: tuple[str, ...] = ()

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
