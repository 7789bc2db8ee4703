"""Number systems: how the weights of a network are represented, and drawn at random."""

from __future__ import annotations

from reluscope.entries import NumberSystem
from reluscope.hookspecs import hookimpl

_MULTIPLY = {"multiply_add": 1.0}


@hookimpl
def reluscope_number_systems() -> list[NumberSystem]:
    """Return the number systems.

    Returns:
        Their entries.
    """
    return [
        _entry("float32:Float32", "Single precision: the weights as they are", 32, _MULTIPLY),
        _entry(
            "psb:PSB",
            "Progressive stochastic binarization: a sample is a power of two next to the weight",
            32,
            {"add": 1, "shift": 1, "random_bit": 1},
        ),
        _entry(
            "bernoulli:Bernoulli",
            "A sample is the largest weight or zero, with the weight as probability",
            32,
            {"add": 1, "random_bit": 1},
        ),
        _entry("bf16:BF16", "bfloat16: the range of single precision, 8 bits of precision", 16, _MULTIPLY),
        _entry("uniform:Uniform", "Equally spaced numbers, integers times one scale a tensor", 8, _MULTIPLY),
        _entry("ternary:Ternary", "One scale a tensor, with a sign or zero for each weight", 2, {"add": 1}),
        _entry("binary:Binary", "One scale a tensor, with a sign for each weight", 1, {"add": 1}),
        _entry("fixed16:Fixed16", "Fixed point with 16 bits, for intermediate results", 16, _MULTIPLY),
    ]


def _entry(definition: str, summary: str, bits: float, operations: dict[str, float]) -> NumberSystem:
    return NumberSystem(
        name=definition.partition(":")[0],
        summary=summary,
        definition=f"reluscope_plugins.number_systems.{definition}",
        bits=bits,
        operations=operations,
    )
