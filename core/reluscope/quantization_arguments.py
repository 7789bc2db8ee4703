"""Arguments of the conversion to a number system: what they must be, and how many samples each layer gets."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

from reluscope.errors import QuantizationError, ReluscopeError, UnknownNameError, nearest

Samples = int | Mapping[str, int]


def whole_number(
    name: str,
    value: Any,
    least: int,
    most: float = math.inf,
    *,
    hint: str = "",
    error: type[ReluscopeError] = QuantizationError,
) -> int:
    """See to it that an argument is a whole number within bounds.

    Args:
        name: Of the argument.
        value: What was got: of any integer type, such as numpy's, but no bool.
        least: Its least value.
        most: Its greatest.
        hint: What to say beside.
        error: What is raised.

    Returns:
        The value, as an int.

    Raises:
        ReluscopeError: Of the type `error`, if it is not.

    Example:
        >>> whole_number("bits", 8, 2, 16)
        8
    """
    number = int(value) if isinstance(value, numbers.Integral) and not isinstance(value, bool) else None
    if number is None or not least <= number <= most:
        upto = "on" if most == math.inf else f"to {most}"
        raise error(f"{name}: got {value!r}, expected a whole number from {least} {upto}{hint}")
    return number


def checked_seed(seed: Any) -> int:
    """See to it that a seed is one.

    Args:
        seed: What was got.

    Returns:
        The seed, as an int, which `torch.Generator.manual_seed` takes.

    Raises:
        QuantizationError: If it is no whole number, or beyond 64 bits.
    """
    return whole_number("seed", seed, -(2**63), 2**64 - 1, hint=", such as 0")


def resolved_samples(samples: Samples, layers: Mapping[str, Any], skipped: Mapping[str, str]) -> dict[str, int]:
    """Find the number of samples of each layer.

    Args:
        samples: For all layers, or layer name to number; `""` names all others.
        layers: Name to converted layer.
        skipped: Name of another module to why it is not converted.

    Returns:
        Name to number, of each converted layer.

    Raises:
        QuantizationError: If a number is not a positive integer, one is missing, or a layer is not converted.
        UnknownNameError: If there is no such layer.
    """
    if not isinstance(samples, Mapping):
        return dict.fromkeys(layers, whole_number("samples", samples, 1))
    for name in samples:
        if name not in layers and name != "":
            if skipped.get(name):
                raise QuantizationError(f"samples: layer {name!r} is not converted: {skipped[name]}; leave it out")
            raise UnknownNameError(f"samples: unknown layer {name!r}. {nearest(str(name), layers)}")
    missing = [name for name in layers if name not in samples]
    if missing and "" not in samples:
        raise QuantizationError(
            f"samples: layer {missing[0]!r} has no number, expected one for each converted layer; add it, or the key "
            "'' for all others"
        )
    return {name: whole_number(f"samples of layer {name!r}", samples.get(name, samples.get("")), 1) for name in layers}


def check_limit(system: Any, numbers: Mapping[str, int]) -> None:
    """See to it that a number system can draw so many samples.

    Args:
        system: An instance.
        numbers: Name of a layer to its number of samples.

    Raises:
        QuantizationError: If one is more than the system takes.
    """
    most = getattr(system, "most_samples", None)
    for name, number in numbers.items():
        if most is not None and number > most:
            raise QuantizationError(
                f"samples of layer {name!r}: got {number}, expected at most {most}, beyond which "
                f"{type(system).__name__} cannot draw; take fewer, or the number system 'float32'"
            )


def checked_share(name: str, value: Any) -> float:
    """See to it that an argument is a share.

    Args:
        name: Of the argument.
        value: What was got: of any real type, such as numpy's, but no bool.

    Returns:
        The value, as a float.

    Raises:
        QuantizationError: If it is no number from 0 to below 1.

    Example:
        >>> checked_share("prune", 0.25)
        0.25
    """
    if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0.0 <= float(value) < 1.0:
        raise QuantizationError(f"{name}: got {value!r}, expected a share from 0 to below 1, such as 0.25")
    return float(value)
