"""Cases from people: plain JSON, with the types that the claim's strategy gives."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from reluscope.counterexample_search import Case, search, text
from reluscope.errors import RecipeError

DRAWN = 100
"""Cases whose types are compared with those of one case."""

_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


def read_case(words: str) -> dict[str, Any]:
    """Read a case that somebody typed.

    Args:
        words: JSON.

    Returns:
        The case.

    Raises:
        RecipeError: If it is not a JSON object, or a number in it is not finite.

    Example:
        >>> read_case('{"n": 3, "x": "1/3"}')
        {'n': 3, 'x': '1/3'}
    """
    try:
        case = json.loads(words, parse_constant=_not_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"not JSON ({error}); give the case as `--json` prints it, in single quotes") from error
    if not isinstance(case, dict):
        raise RecipeError(f'got {words:.80}, expected a JSON object such as {{"n": 3}}')
    return case


def check_types(name: str, strategy: Any, case: Case) -> None:
    """See to it that a case has the types of the cases that a claim is about.

    Whether its numbers lie where the strategy draws them cannot be told.

    Args:
        name: The claim.
        strategy: A hypothesis strategy of cases.
        case: The case.

    Raises:
        RecipeError: If its keys are those of none of a hundred cases, or a value is of a type that none has there.
        ClaimError: If the strategy cannot be searched.

    Example:
        >>> from hypothesis import strategies
        >>> check_types("a", strategies.just({"n": [1, 2]}), {"n": [1, 2.5]})
        Traceback (most recent call last):
        reluscope.errors.RecipeError: claim 'a': n[] is 2.5, expected a whole number as in the case {"n": [1, 2]}; ...
    """
    known: set[tuple[str, type]] = set()
    example: list[Case] = []

    def look(drawn: Case) -> bool:
        known.update((place, type(value)) for place, value in _values(drawn))
        example.append(drawn)
        return True

    search(name, strategy, look, examples=DRAWN, seed=0)
    if all(set(drawn) != set(case) for drawn in example):
        raise RecipeError(
            f"claim {name!r}: the case has {_listed(case)}, expected {_listed(example[0])} as in the case "
            f"{text(example[0]):.200}; give the same keys"
        )
    for place, value in _values(case):
        fitting = {kind for where, kind in known if where == place}
        if type(value) in fitting or (type(value) is int and float in fitting) or not fitting:
            continue
        expected = " or ".join(sorted(_NAMES[kind] for kind in fitting))
        raise RecipeError(
            f"claim {name!r}: {place} is {json.dumps(value):.60}, expected {expected} as in the case "
            f"{text(example[0]):.200}; give one of that kind"
        )


def _values(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    if place:
        yield place, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _values(part, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for part in value:
            yield from _values(part, f"{place}[]")


def _listed(case: Case) -> str:
    return ", ".join(map(repr, sorted(case))) or "nothing"


def _finite(words: str) -> float:
    number = float(words)
    if not math.isfinite(number):
        _not_finite(words)
    return number


def _not_finite(words: str) -> NoReturn:
    raise ValueError(f"{words} is no finite number")
