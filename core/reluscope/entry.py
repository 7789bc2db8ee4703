"""What all kinds of entry share: a name, a summary, and an implementation that is imported at its first use."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from reluscope.errors import PluginError, RecipeError, nearest

Target = Callable[..., Any] | str
"""An implementation, or where to find it: `"package.module:name"`."""


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
        return self._resolved(self._target())

    def _resolved(self, target: Target) -> Callable[..., Any]:
        named = target
        if isinstance(target, str):
            module_name, _, attribute = target.partition(":")
            try:
                target = getattr(importlib.import_module(module_name), attribute)
            except (ImportError, AttributeError) as error:
                raise PluginError(
                    f"{self.kind} {self.name!r}: {named!r} cannot be imported ({error}); expected "
                    "'package.module:name' of a function or class; mend the plugin or install what it needs"
                ) from error
        if not callable(target):
            raise PluginError(
                f"{self.kind} {self.name!r}: {named!r} is {type(target).__name__}, expected a function or class"
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
