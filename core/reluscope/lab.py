"""The lab: all entries, looked up by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

from reluscope.entries import (
    KINDS,
    Architecture,
    Claim,
    Dataset,
    Entry,
    Experiment,
    Metric,
    NumberSystem,
    Procedure,
    Regularizer,
    Scheduler,
)
from reluscope.errors import UnknownNameError, nearest
from reluscope.registry import Plugin, Registry

E = TypeVar("E", bound=Entry)


class Shelf(Mapping[str, E], Generic[E]):
    """The entries of one kind: a read-only mapping from name to entry.

    Args:
        kind: The kind in the singular, for messages.
        entries: Name to entry.
    """

    def __init__(self, kind: str, entries: Mapping[str, E]) -> None:
        self._kind = kind
        self._entries = dict(sorted(entries.items()))

    def __getitem__(self, name: str) -> E:
        if name not in self._entries:
            raise UnknownNameError(f"unknown {self._kind} {name!r}. {nearest(str(name), self._entries)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{list(self._entries)}"


class Lab:
    """All entries of all plugins.

    Args:
        plugins: Modules or objects with hook implementations. None discovers those that are installed.

    Raises:
        PluginError: If two plugins have one name, or two entries of one kind do.

    Example:
        >>> from reluscope_plugins import architectures
        >>> lab = Lab(plugins=[architectures])
        >>> "mlp" in lab.architectures
        True
        >>> lab.architectures["mpl"]
        Traceback (most recent call last):
        ...
        reluscope.errors.UnknownNameError: unknown architecture 'mpl'. Did you mean 'mlp'?
    """

    def __init__(self, plugins: Iterable[Any] | None = None) -> None:
        self.registry = Registry(plugins)
        entries = cast(Any, self.registry.entries)
        self.metrics: Shelf[Metric] = Shelf("metric", entries["metrics"])
        self.schedulers: Shelf[Scheduler] = Shelf("scheduler", entries["schedulers"])
        self.number_systems: Shelf[NumberSystem] = Shelf("number system", entries["number_systems"])
        self.architectures: Shelf[Architecture] = Shelf("architecture", entries["architectures"])
        self.datasets: Shelf[Dataset] = Shelf("dataset", entries["datasets"])
        self.regularizers: Shelf[Regularizer] = Shelf("regularizer", entries["regularizers"])
        self.procedures: Shelf[Procedure] = Shelf("procedure", entries["procedures"])
        self.experiments: Shelf[Experiment] = Shelf("experiment", entries["experiments"])
        self.claims: Shelf[Claim] = Shelf("claim", entries["claims"])

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """All plugins, broken ones with their traceback."""
        return tuple(self.registry.plugins)

    def shelf(self, kind: str) -> Shelf[Any]:
        """Return the entries of one kind.

        Args:
            kind: The plural, such as `"metrics"`.

        Returns:
            The mapping from name to entry.

        Raises:
            UnknownNameError: If there is no such kind.
        """
        if kind not in KINDS:
            raise UnknownNameError(f"unknown kind {kind!r}. {nearest(kind, KINDS)}")
        shelf: Shelf[Any] = getattr(self, kind)
        return shelf

    def origin(self, kind: str, name: str) -> Plugin:
        """Return the plugin that registered an entry.

        Args:
            kind: The plural, such as `"metrics"`.
            name: The entry's name.

        Returns:
            The plugin.
        """
        self.shelf(kind)[name]
        return self.registry.origin[kind, name]
