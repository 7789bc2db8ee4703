"""The search for a case against a claim: hypothesis draws cases and shrinks what it finds."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reluscope.errors import ClaimError, ReproducibilityWarning

Case = Mapping[str, Any]

MOST_DRAWS = 10
"""Draws for each case: where a strategy filters out more, the search is an error."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search found.

    Attributes:
        cases: Number of different cases that were tried, up to the first against the claim.
        counterexample: The smallest case against it; None where there is none.
    """

    cases: int
    counterexample: Case | None


class _AgainstError(Exception):
    """A case in which the claim does not hold; hypothesis makes it smaller."""

    def __init__(self, case: Case) -> None:
        super().__init__(str(case))
        self.case = case


def search(name: str, strategy: Any, judge: Callable[[Case], bool], *, examples: int, seed: int) -> Found:
    """Look for a case against a claim, and make it as small as can be.

    The same seed finds the same, whatever else was searched before.

    Args:
        name: The claim, which decides with the seed which cases are drawn; for messages.
        strategy: A hypothesis strategy of cases.
        judge: Whether the claim holds in a case; it depends on the case alone.
        examples: How many cases are tried; fewer where the strategy has no more.
        seed: Of the draws.

    Returns:
        The number of cases and the counterexample.

    Raises:
        ClaimError: If a case is not plain JSON, the judge raises or contradicts itself, or the strategy hardly gives
            any case.

    Example:
        >>> from hypothesis import strategies
        >>> cases = strategies.fixed_dictionaries({"n": strategies.integers(0, 1000)})
        >>> search("small", cases, lambda case: case["n"] < 17, examples=100, seed=0).counterexample
        {'n': 17}
    """
    tally = _Tally(name, judge)
    against = _run(name, strategy, tally, examples=examples, seed=seed)
    if tally.error is not None:
        _run(name, strategy, _Shrinker(tally), examples=examples, seed=seed)
        raise tally.error
    if against is None and tally.given < examples and tally.asked > MOST_DRAWS * max(tally.given, 5):
        raise ClaimError(
            f"claim {name!r}: its strategy gave {tally.given} cases in {tally.asked} draws, expected {examples}; "
            "filter less: build cases that fit"
        )
    if against is not None and evaluated(name, judge, against):
        raise ClaimError(
            f"claim {name!r}: the case {text(against)} was against it and then for it; expected an answer that depends "
            "on the case alone: seed whatever is drawn by a number of the case"
        )
    return Found(tally.first or len(tally.outcomes), against)


def evaluated(name: str, judge: Callable[[Case], bool], case: Case) -> bool:
    """Ask whether a claim holds in a case.

    Args:
        name: The claim, for messages.
        judge: Says so.
        case: The case.

    Returns:
        The answer.

    Raises:
        ClaimError: If the judge raises, or gives anything but True or False.
    """
    import numpy as np

    try:
        answer = judge(json.loads(text(case)))
    except ClaimError:
        raise
    except Exception as error:
        raise ClaimError(
            f"claim {name!r}: {type(error).__name__}: {error} in the case {text(case)}; expected True or False; mend "
            "its predicate, or let its strategy give no such case"
        ) from error
    if not isinstance(answer, bool | np.bool_):
        raise ClaimError(
            f"claim {name!r}: {type(answer).__name__} {answer!r:.80} in the case {text(case)}; expected True or False"
        )
    return bool(answer)


def text(case: Case) -> str:
    """Write a case as JSON.

    Args:
        case: The case.

    Returns:
        One line.
    """
    return json.dumps(case, allow_nan=False)


def identity(case: Case) -> str:
    """Write a case so that equal ones are written alike, in whatever order a strategy gave their keys.

    Args:
        case: The case.

    Returns:
        One line.

    Example:
        >>> identity({"n": 1, "m": 2}) == identity({"m": 2, "n": 1})
        True
    """
    return json.dumps(case, allow_nan=False, sort_keys=True)


def draw_seed(seed: int, *words: str) -> int:
    """Derive a seed of its own for each claim.

    Args:
        seed: Of all of them.
        *words: What tells it from the others.

    Returns:
        A whole number below 2^64.
    """
    digest = hashlib.sha256("\n".join([str(seed), *words]).encode()).digest()
    return int.from_bytes(digest[:8], "big")


class _Tally:
    """Judges cases, each once, and counts them."""

    def __init__(self, name: str, judge: Callable[[Case], bool]) -> None:
        self.name = name
        self.judge = judge
        self.asked = 0
        self.given = 0
        self.first = 0
        self.outcomes: dict[str, bool] = {}
        self.error: ClaimError | None = None

    def __call__(self, case: Any) -> None:
        if self.error is not None:
            return
        self.given += 1
        try:
            words = _checked(self.name, case)
            key = identity(case)
            if key not in self.outcomes:
                self.outcomes[key] = evaluated(self.name, self.judge, case)
        except ClaimError as error:
            self.error = error
            return
        if not self.outcomes[key]:
            self.first = self.first or len(self.outcomes)
            raise _AgainstError(json.loads(words))


class _Shrinker(_Tally):
    """Makes smaller the case in which a tally met an error."""

    def __init__(self, tally: _Tally) -> None:
        super().__init__(tally.name, tally.judge)
        self.tally = tally

    def __call__(self, case: Any) -> None:
        try:
            evaluated(self.name, self.judge, json.loads(_checked(self.name, case)))
        except ClaimError as error:
            self.tally.error = error
            raise _AgainstError({}) from error


def _run(name: str, strategy: Any, test: _Tally, *, examples: int, seed: int) -> Case | None:
    import hypothesis
    from hypothesis import HealthCheck, Phase, Verbosity
    from hypothesis import strategies as st

    @st.composite
    def counted(draw: Any) -> Any:
        test.asked += 1
        return draw(strategy)

    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=False,
        database=None,
        deadline=None,
        verbosity=Verbosity.quiet,
        phases=(Phase.generate, Phase.shrink),
        print_blob=False,
        report_multiple_bugs=False,
        # how fast the machine is must not decide; all other checks stand
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.differing_executors,
            HealthCheck.function_scoped_fixture,
            HealthCheck.nested_given,
        ],
    )

    def tested(case: Any) -> None:
        test(case)

    try:
        with _no_constants_of_modules():
            hypothesis.seed(draw_seed(seed, name))(settings(hypothesis.given(counted())(tested)))()
    except _AgainstError as against:
        return against.case
    except Exception as error:  # of the strategy, or hypothesis's own, such as of a failed health check
        if test.error is None:
            reason = " ".join(str(error).split())
            raise ClaimError(
                f"claim {name!r}: its strategy cannot be searched: {type(error).__name__}: {reason:.300}; mend it"
            ) from error
    return None


@contextmanager
def _no_constants_of_modules() -> Iterator[None]:
    # Hypothesis draws now and then a number that stands in the code of a loaded module: then what else was loaded would
    # decide which cases are drawn. No setting turns that off; a backend of one's own needs the same inner names.
    try:
        module: Any = importlib.import_module("hypothesis.internal.conjecture.providers")
        provider, cache, none = module.HypothesisProvider, module.CONSTANTS_CACHE.cache, module.Constants()
        kept = provider.__dict__["_local_constants"]
    except (ImportError, AttributeError, KeyError, TypeError) as error:
        warnings.warn(
            f"hypothesis has changed inside ({type(error).__name__}: {error}): which cases are drawn depends on what "
            "else is loaded; install the hypothesis that is named in the provenance of an archive to get its cases",
            ReproducibilityWarning,
            stacklevel=2,
        )
        yield
        return
    cache.clear()
    provider._local_constants = none
    try:
        yield
    finally:
        provider._local_constants = kept
        cache.clear()


def _checked(name: str, case: Any) -> str:
    try:
        key = text(case)
        plain = isinstance(case, dict) and json.loads(key) == case
    except (TypeError, ValueError, RecursionError):
        plain = False
    if not plain:
        raise ClaimError(
            f"claim {name!r}: its strategy gave {case!r:.200}, expected a dict of plain JSON: whole numbers, finite "
            'floats, bools, text, lists and dicts; write a fraction as "1/3"'
        )
    return key
