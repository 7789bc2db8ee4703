"""The claim: a statement of the theory that can be put to the test."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, cast

from reluscope.entry import Entry, Target
from reluscope.errors import PluginError, nearest

VERDICTS = ("holds", "refuted", "undecided")
"""What can be known of a claim."""

RELATIONS = ("equal", "at most", "at least")
"""How the mean of a statistical claim's observations may stand to its value."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Entry):
    """A statement of the theory that can be put to the test.

    An exact claim has a `predicate`, which says of each case whether the statement holds. A statistical one has a
    `sample`: the claim is that the mean of its observations stands in a `relation` to a `value`.

    Attributes:
        statement: In words and formula, faithful to the source.
        source: Author, year, number, page or equation.
        assumption: Under which it is claimed.
        strategy: `() -> hypothesis strategy` that generates cases. A case is plain JSON: a dict of whole numbers,
            finite floats, bools, text (such as "1/3" for a fraction), lists and dicts.
        predicate: `(**case) -> bool`: does the statement hold in this case? It depends on the case alone.
        sample: `(generator, size, **case) -> array (size,)` of independent observations, drawn from a
            `numpy.random.Generator`; bools where they are 0 or 1, else numbers within `bounds`.
        relation: `"equal"`, `"at most"` or `"at least"`: of the mean of the observations to `value`.
        value: What the mean is compared with: a number, or `(**case) -> float`.
        bounds: Least and greatest number that an observation can be, or `(**case) -> (low, high)`; None where the
            observations are bools.
        effect: The least deviation worth finding, as a share of `value`; absolute where that is 0.
        verdict: What is known: `"holds"`, `"refuted"` or `"undecided"`.
        amends: Name of the claim of which this one is the corrected form; empty where it is none.
        picture: `(**case) -> str`, an SVG drawing of a case; None where there is nothing to draw.
    """

    kind: ClassVar[str] = "claim"
    reserved: ClassVar[frozenset[str]] = frozenset({"generator", "size"})

    statement: str
    source: str
    assumption: str
    strategy: Target
    predicate: Target | None = None
    sample: Target | None = None
    relation: str = "equal"
    value: Target | float | None = None
    bounds: Target | tuple[float, float] | None = None
    effect: float = 0.01
    verdict: str = "holds"
    amends: str = ""
    picture: Target | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, word, known in (("verdict", self.verdict, VERDICTS), ("relation", self.relation, RELATIONS)):
            if word not in known:
                raise PluginError(f"claim {self.name!r}: unknown {key} {word!r}. {nearest(str(word), known)}")
        if (self.predicate is None) == (self.sample is None):
            raise PluginError(f"claim {self.name!r}: expected either a predicate or a sample; give one of them")
        if (self.sample is None) != (self.value is None):
            raise PluginError(f"claim {self.name!r}: a sample and the value of its mean go together; give both or none")
        if self.sample is None and self.bounds is not None:
            raise PluginError(f"claim {self.name!r}: bounds are of observations, and it has no sample; leave them out")
        if isinstance(self.bounds, tuple):
            self._ordered(self.bounds)
        if not 0 < self.effect < 1:
            raise PluginError(f"claim {self.name!r}: effect is {self.effect!r}, expected a share such as 0.01")

    @property
    def statistical(self) -> bool:
        """Whether it is tested by observations; else it is exact."""
        return self.sample is not None

    def cases(self) -> Any:
        """Make the strategy that generates cases.

        Returns:
            A hypothesis strategy.
        """
        return self._resolved(self.strategy)()

    def expected(self, case: Mapping[str, Any]) -> float:
        """Compute what the mean of the observations is compared with.

        Args:
            case: The case.

        Returns:
            The number.

        Raises:
            PluginError: If the claim is exact.
        """
        if self.value is None:
            raise PluginError(f"claim {self.name!r} is exact: it compares no mean with a value; ask its predicate")
        return float(self.value if isinstance(self.value, int | float) else self._resolved(self.value)(**case))

    def limits(self, case: Mapping[str, Any]) -> tuple[float, float] | None:
        """Compute between which numbers the observations lie.

        Args:
            case: The case.

        Returns:
            The least and the greatest; None where none are declared.

        Raises:
            PluginError: If they are not two finite numbers in order.
        """
        if self.bounds is None:
            return None
        return self._ordered(self.bounds if isinstance(self.bounds, tuple) else self._resolved(self.bounds)(**case))

    def draw(self, case: Mapping[str, Any]) -> str:
        """Draw a case.

        Args:
            case: The case.

        Returns:
            An SVG drawing; empty where there is nothing to draw.
        """
        return "" if self.picture is None else str(self._resolved(self.picture)(**case))

    def _ordered(self, bounds: Any) -> tuple[float, float]:
        try:
            low, high = (float(bound) for bound in bounds)
        except (TypeError, ValueError):
            low = high = math.nan
        if not -math.inf < low < high < math.inf:
            raise PluginError(
                f"claim {self.name!r}: bounds are {bounds!r:.80}, expected two finite numbers, the lower first; say "
                "between which numbers every observation lies"
            )
        return low, high

    def _target(self) -> Target:
        return cast(Target, self.sample if self.predicate is None else self.predicate)
