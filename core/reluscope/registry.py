"""Plugins: finding them, loading each on its own, and knowing who registered what."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import traceback
import warnings
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import pluggy

from reluscope import hookspecs
from reluscope.entries import KINDS, Entry
from reluscope.errors import PluginError, nearest

GROUP = "reluscope"


class PluginWarning(UserWarning):
    """A plugin is broken and was left out; everything else works."""


@dataclasses.dataclass(frozen=True)
class Plugin:
    """One plugin and how loading it went.

    Attributes:
        name: The name of its entry point, or the module's name.
        module: Where it lives, such as `reluscope_plugins.patterns`.
        distribution: The distribution that brings it, empty where it was passed by hand.
        version: That distribution's version.
        traceback: Why it does not work; empty where it does.
    """

    name: str
    module: str
    distribution: str = ""
    version: str = ""
    traceback: str = ""


class Registry:
    """All plugins of one lab, and the entries that they returned.

    Args:
        plugins: Modules or objects with hook implementations. None discovers those that are installed.

    Raises:
        PluginError: If two plugins have one name, or two entries of one kind do.
    """

    def __init__(self, plugins: Iterable[Any] | None = None) -> None:
        self.manager = pluggy.PluginManager("reluscope")
        self.manager.add_hookspecs(hookspecs)
        self.plugins: list[Plugin] = []
        self.entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
        self.origin: dict[tuple[str, str], Plugin] = {}
        found = discover() if plugins is None else [(describe(plugin), plugin) for plugin in plugins]
        names: dict[str, Plugin] = {}
        for plugin, _ in found:
            if plugin.name in names:
                raise PluginError(
                    f"two plugins are called {plugin.name!r}: {names[plugin.name].module} "
                    f"({names[plugin.name].distribution or 'passed by hand'}) and {plugin.module} "
                    f"({plugin.distribution or 'passed by hand'}); uninstall one or rename its entry point"
                )
            names[plugin.name] = plugin
        for plugin, source in found:
            self._add(plugin, source)

    def _add(self, plugin: Plugin, source: Any) -> None:
        collected: list[tuple[str, Entry]] = []
        try:
            module = source.load() if isinstance(source, importlib.metadata.EntryPoint) else source
            self.manager.register(module, name=plugin.name)
            self._check_hooks(plugin)
            collected = list(self._collect(plugin))
        except (
            Exception,
            SystemExit,
        ) as error:  # whatever it raises is reported by name
            if self.manager.has_plugin(plugin.name):
                self.manager.unregister(name=plugin.name)
            self.plugins.append(dataclasses.replace(plugin, traceback=traceback.format_exc()))
            reason = " ".join(str(error).split())
            warnings.warn(
                f"plugin {plugin.name!r} ({plugin.module}) is left out: {type(error).__name__}: {reason}; "
                "`reluscope plugins` shows its traceback",
                PluginWarning,
                stacklevel=5,
            )
            return
        for kind, entry in collected:
            if entry.name in self.entries[kind]:
                other = self.origin[kind, entry.name]
                if other is plugin:
                    raise PluginError(
                        f"plugin {plugin.name!r} ({plugin.module}) offers the {entry.kind} {entry.name!r} twice; "
                        "keep one"
                    )
                raise PluginError(
                    f"two plugins offer the {entry.kind} {entry.name!r}: {other.name!r} ({other.module}) and "
                    f"{plugin.name!r} ({plugin.module}); rename one or uninstall its plugin"
                )
            self.entries[kind][entry.name] = entry
            self.origin[kind, entry.name] = plugin
        self.plugins.append(plugin)

    def _check_hooks(self, plugin: Plugin) -> None:
        # pluggy takes a misspelt hook in silence
        known = [name for name in vars(hookspecs) if name.startswith("reluscope_")]
        for caller in self.manager.get_hookcallers(self.manager.get_plugin(plugin.name)) or ():
            if not caller.has_spec():
                raise PluginError(f"unknown hook {caller.name!r}. {nearest(caller.name, known)}")

    def _collect(self, plugin: Plugin) -> Iterator[tuple[str, Entry]]:
        for kind, entry_type in KINDS.items():
            hook = f"reluscope_{kind}"
            for implementation in getattr(self.manager.hook, hook).get_hookimpls():
                if implementation.plugin_name != plugin.name:
                    continue
                returned = implementation.function()
                if not isinstance(returned, Sequence) or isinstance(returned, str):
                    raise PluginError(
                        f"{hook} returned {type(returned).__name__}, expected a list of {entry_type.__name__}"
                    )
                for entry in returned:
                    if not isinstance(entry, entry_type):
                        raise PluginError(
                            f"{hook} returned {type(entry).__name__} {entry!r:.80}, expected {entry_type.__name__}"
                        )
                    yield kind, entry


def describe(plugin: Any) -> Plugin:
    """Describe a plugin that was passed by hand.

    Args:
        plugin: A module or an object.

    Returns:
        Its description; the version is that of the distribution that holds it, where one does.
    """
    is_module = isinstance(plugin, ModuleType)
    module = plugin.__name__ if is_module else type(plugin).__module__
    name = plugin.__name__ if is_module else getattr(plugin, "__name__", type(plugin).__name__)
    return Plugin(name=name, module=module)


def discover() -> list[tuple[Plugin, importlib.metadata.EntryPoint]]:
    """Find the installed plugins without importing them.

    Returns:
        Each plugin with its entry point, in the order of their names.
    """
    found = []
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        distribution = point.dist
        found.append(
            (
                Plugin(
                    name=point.name,
                    module=point.value,
                    distribution=distribution.name if distribution else "",
                    version=distribution.version if distribution else "",
                ),
                point,
            )
        )
    return found
