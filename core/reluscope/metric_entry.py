"""The entry for a metric, and the decorator that declares one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from reluscope.entry import Entry, Target
from reluscope.errors import PluginError, nearest

if TYPE_CHECKING:
    import xarray as xr

    from reluscope.observation import Observation

NEEDS = frozenset({"patterns", "affine", "weights", "targets", "step"})
"""What a metric may say that it needs.

With `"affine"` the forward pass keeps its graph, so that the observation has the local affine map; with `"targets"` a
batch without labels is refused before the metric sees it. With `"patterns"` the metric says that of a site it looks at
`pattern` and `packed` alone: where all metrics of a pass say so, pre-activations are not kept. `"weights"` tells a
reader what the metric looks at.
"""

PATTERNS_ALONE = frozenset({"patterns", "targets", "step"})
"""What a metric may need where nothing but patterns is kept."""

REFERENCES = ("first", "previous", "last")
"""Moments of a run that a metric may compare the present one with."""

TAKEN = frozenset(
    "step epoch seed site activation smooth unit unit_site neuron layer skipped filter sample feature class bound "
    "learning_rate sample_count pattern x y point".split()
)
"""Names of labels, which no variable may share."""


@dataclasses.dataclass(frozen=True)
class Count:
    """A mean of whole numbers, kept as their sum: what a metric's function returns where no rounding may come in.

    Attributes:
        total: Sum of whole numbers: a number, or one for each unit `(unit, ...)`, as an array or a tensor.
        of: How many were added up: samples, or rows of a site.

    Example:
        >>> @metric(dims=("unit",), minimum=0.0, maximum=1.0)
        ... def firing_rate(observation):
        ...     "Share of samples on which each unit is active."
        ...     active = {site: observation.pattern[site] == 1 for site in observation.sites}
        ...     return {site: Count(rows.sum(0), of=len(rows)) for site, rows in active.items()}
    """

    total: Any
    of: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric(Entry):
    """A quantity measured on observations: a monoid, so that it streams, merges over workers and resumes.

    Made by the decorator `reluscope.metric`.

    Attributes:
        dims: Dims of the result: `()`, `("site",)`, `("unit",)`, `("class",)`, ...
        units: Units of the result, `"1"` where pure.
        minimum: Least value it can take, None where unbounded.
        maximum: Greatest value it can take, None where unbounded.
        needs: What it needs of an observation: see `NEEDS`.
        definition: A function on an observation (its values are averaged over samples) or a class with `measure`,
            `merge` and `finish`; with `of`, a function on what that class's `finish` gives.
        of: A class with `measure`, `merge` and `finish`, or its target. Metrics of one class with the same parameters
            share one state, and what is finished of it.
        compared_with: `"first"`, `"previous"` or `"last"`: the definition then takes two arguments, of the present
            moment and of that one; empty where it takes one.
        brings: Metrics that are measured whenever this one is, with the same parameters.
        params: Parameters bound to the definition.
        version: Raise it when the numbers change; it stands in the provenance.
    """

    kind: ClassVar[str] = "metric"
    definition: Target
    dims: tuple[str, ...] = ()
    units: str = "1"
    minimum: float | None = None
    maximum: float | None = None
    needs: frozenset[str] = frozenset()
    of: Target | None = None
    compared_with: str = ""
    brings: tuple[Metric, ...] = ()
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in TAKEN:
            raise PluginError(
                f"metric {self.name!r}: results are labelled by a dim or coordinate of that name; rename it"
            )
        unknown = sorted(set(self.needs) - NEEDS)
        if unknown:
            raise PluginError(f"metric {self.name!r}: unknown need {unknown[0]!r}. {nearest(unknown[0], NEEDS)}")
        if self.compared_with and self.compared_with not in REFERENCES:
            raise PluginError(
                f"metric {self.name!r}: compared_with is {self.compared_with!r}. "
                f"{nearest(str(self.compared_with), REFERENCES)}"
            )
        if self.of is not None and inspect.isclass(self.definition):
            raise PluginError(
                f"metric {self.name!r}: got both a class and of, expected a function on what the class in of finishes; "
                "write a function, or leave of out"
            )
        if self.compared_with and self.of is None:
            raise PluginError(
                f"metric {self.name!r}: compared_with needs the class whose states are compared; give it with of"
            )

    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Return the parameters that a recipe may set: of a function, all but the observation, whatever its name.

        Returns:
            Name to `inspect.Parameter`, in the order of the signature.
        """
        known = dict(super().parameters())
        if not inspect.isclass(self.implementation()):
            for name in list(inspect.signature(self.implementation()).parameters)[: 2 if self.compared_with else 1]:
                known.pop(name, None)
        counted = self.counted()  # its parameters are this metric's too
        return MappingProxyType({**(inspect.signature(counted).parameters if counted else {}), **known})

    def counted(self) -> type | None:
        """Return the class whose state this metric finishes.

        Returns:
            The class in `of`, or None where there is none.

        Raises:
            PluginError: If it is no class.
        """
        if self.of is None:
            return None
        found = self._resolved(self.of)
        if not inspect.isclass(found):
            raise PluginError(
                f"metric {self.name!r}: of is {self.of!r}, expected a class with measure, merge and finish; mend "
                "the metric"
            )
        return found

    def state_params(self) -> dict[str, Any]:
        """Return the parameters on which the state depends.

        Returns:
            Those of the class in `of`, also where they have their defaults; without `of`, all that are bound.
        """
        counted = self.counted()
        if counted is None:
            return dict(self.params)
        return {
            name: self.params.get(name, parameter.default)
            for name, parameter in inspect.signature(counted).parameters.items()
            if name in self.params or parameter.default is not inspect.Parameter.empty
        }

    def bind(self, **params: Any) -> Metric:
        """Return the same metric with parameters set, also in what it brings, where that takes them.

        Args:
            **params: Parameters of the definition.

        Returns:
            A new entry.
        """
        merged = {**self.params, **params}
        self.check_parameters(merged)
        brings = tuple(
            other.bind(**{name: value for name, value in params.items() if name in other.parameters()})
            for other in self.brings
        )
        return dataclasses.replace(self, params=MappingProxyType(merged), brings=brings)

    def measure(self, observation: Observation) -> Any:
        """Measure one batch.

        Args:
            observation: What one forward pass showed.

        Returns:
            A state, to be merged with others.
        """
        from reluscope.monoid import measure

        return measure(self, observation)

    def merge(self, first: Any, second: Any) -> Any:
        """Merge two states; None is the identity.

        Args:
            first: A state, or None.
            second: A state, or None.

        Returns:
            The state of both batches together.
        """
        from reluscope.monoid import merge

        return merge(self, first, second)

    def finish(self, state: Any, reference: Any = None, finished: dict[int, Any] | None = None) -> xr.DataArray:
        """Turn a state into a labelled array.

        Args:
            state: The state of all that was measured.
            reference: For a metric that compares two moments: the state of the other; None compares with itself.
            finished: Shared by the metrics of one state: see `reluscope.monoid.finish`.

        Returns:
            The labelled result, with dims, units and long_name as declared.
        """
        from reluscope.monoid import finish

        return finish(self, state, reference, finished)

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


def metric(
    *,
    dims: tuple[str, ...] = (),
    units: str = "1",
    minimum: float | None = None,
    maximum: float | None = None,
    needs: frozenset[str] | set[str] = frozenset(),
    of: Target | None = None,
    compared_with: str = "",
    brings: tuple[Metric, ...] = (),
) -> Callable[[Callable[..., Any]], Metric]:
    """Declare a metric: decorates a function on an observation, or a class with `measure`, `merge` and `finish`.

    A function's values are averaged over samples. It returns a mapping from site to values where dims hold `site` or
    `unit`, else a number; a value may be a `Count`, which is averaged without rounding. Keyword-only arguments (of the
    function, or of the class's constructor) are its parameters.

    Args:
        dims: Dims of the result.
        units: Units of the result, `"1"` where pure.
        minimum: Least value it can take.
        maximum: Greatest value it can take.
        needs: What it needs of an observation: see `NEEDS`.
        of: A class with `measure`, `merge` and `finish`; the decorated function takes what `finish` gives. Metrics of
            one class with equal parameters share one state. The class may have `update(state, observation)`, which
            measures into a state in place; for what compares with the last moment it has `kept(state)` and
            `restored(dataset)`, which lay a state out for an archive and undo it.
        compared_with: Moment of which the decorated function takes the same as its second argument: see `REFERENCES`.
        brings: Metrics that are measured whenever this one is.

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
            of=of,
            compared_with=compared_with,
            brings=tuple(brings),
        )

    return declare
