"""Number systems: how the weights of a network are represented, and drawn at random."""

from __future__ import annotations

from reluscope.entries import NumberSystem
from reluscope.hookspecs import hookimpl

_HERE = "reluscope_plugins.number_systems"


@hookimpl
def reluscope_number_systems() -> list[NumberSystem]:
    """Return the number systems.

    Returns:
        Their entries.
    """
    return [
        NumberSystem(
            name="float32",
            summary="Single precision: the weights as they are",
            definition=f"{_HERE}.float32:Float32",
            bits=32,
            operations={"multiply_add": 1},
        ),
        NumberSystem(
            name="psb",
            summary="Progressive stochastic binarization: a sample is a power of two next to the weight",
            definition=f"{_HERE}.psb:PSB",
            bits=32,
            operations={"add": 1, "shift": 1, "random_bit": 1},
        ),
        NumberSystem(
            name="fixed16",
            summary="Fixed point with 16 bits, for intermediate results",
            definition=f"{_HERE}.fixed16:Fixed16",
            bits=16,
            operations={"multiply_add": 1},
        ),
    ]
