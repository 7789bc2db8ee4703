"""Arguments of the conversion to a number system: what they must be, and how many samples each layer gets."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

from reluscope.errors import QuantizationError, UnknownNameError, nearest

Samples = int | Mapping[str, int]


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
        return dict.fromkeys(layers, _positive(samples, "samples"))
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
    return {name: _positive(samples.get(name, samples.get("")), f"samples of layer {name!r}") for name in layers}


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


def check_numbers(prune: Any, exact_products: Any, seed: Any, fold_batchnorm: Any) -> None:
    """See to it that arguments of `reluscope.quantize_` are of their kind.

    Args:
        prune: As it takes it.
        exact_products: Likewise.
        seed: Likewise.
        fold_batchnorm: Likewise.

    Raises:
        QuantizationError: If one is not.
    """
    if isinstance(prune, bool) or not isinstance(prune, int | float) or not 0.0 <= prune < 1.0:
        raise QuantizationError(f"prune: got {prune!r}, expected a share from 0 to below 1, such as 0.25")
    if not isinstance(exact_products, int) or isinstance(exact_products, bool) or exact_products < 0:
        raise QuantizationError(
            f"exact_products: got {exact_products!r}, expected a whole number of multiplications from 0 on; 0 draws "
            "all outputs from the normal distribution"
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or not -(2**63) <= seed < 2**64:
        raise QuantizationError(f"seed: got {seed!r}, expected a whole number from -2^63 to 2^64 - 1, such as 0")
    if not isinstance(fold_batchnorm, bool):
        raise QuantizationError(f"fold_batchnorm: got {fold_batchnorm!r}, expected True or False")


def _positive(value: Any, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1 or isinstance(value, bool):
        raise QuantizationError(f"{what}: got {value!r}, expected a whole number from 1 on")
    return number
