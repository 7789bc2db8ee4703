"""The verifier refutes each claim on stochastic binarization once a sign, a constant or an index is off."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_catalog.claims import hartmann_number_systems as claims
from reluscope_plugins.number_systems.psb import PSB


class DoubledMean(PSB):
    """A number system that is wrong about what it draws on average."""

    def mean(self, encoded: Any) -> torch.Tensor:
        return 2 * super().mean(encoded)


def of_another_probability(encoded: Any, samples: int) -> tuple[Fraction, Fraction]:
    """Return the moments for 1 - p in place of p."""
    octave = Fraction(2) ** int(encoded.exponent)
    return moments(PSB().encode(encoded.sign * float(3 * octave) - encoded.value), samples)


def variance_with_e(octave: Fraction, weight: Fraction) -> Fraction:
    """Return what has 2^(2e) in place of 2^(2e + 1)."""
    return 3 * octave * abs(weight) - octave**2 - weight**2


def variance_with_two(octave: Fraction, weight: Fraction) -> Fraction:
    return 2 * octave * abs(weight) - 2 * octave**2 - weight**2


def a_ninth(samples: int) -> Fraction:
    return Fraction(1, 9 * samples)


def of_one_sample_more(samples: int) -> Fraction:
    return Fraction(1, 8 * (samples + 1))


def of_the_squared_number(samples: int) -> Fraction:
    return Fraction(1, 8 * samples**2)


def from_the_shift_below(x: int, sign: int, exponent: int, bits: list[int]) -> Fraction:
    return shift_add(x, sign, exponent - 1, bits)


def without_the_mean(x: int, sign: int, exponent: int, bits: list[int]) -> Fraction:
    return len(bits) * shift_add(x, sign, exponent, bits)


def without_the_sign(x: int, sign: int, exponent: int, bits: list[int]) -> Fraction:
    return shift_add(x, abs(sign), exponent, bits)


moments = claims._moments
shift_add = claims._shift_add

CODE = "reluscope_catalog.claims.hartmann_number_systems:"
MUTANTS: dict[str, list[Any]] = {
    "psb_unbiased": [{f"{CODE}PSB": DoubledMean}, {f"{CODE}_moments": of_another_probability}],
    "psb_variance": [
        {f"{CODE}_printed_variance": variance_with_two},
        {f"{CODE}_printed_variance": variance_with_e},
        {f"{CODE}_share": a_ninth},
    ],
    "psb_variance_bound": [{f"{CODE}_share": a_ninth}, {f"{CODE}_share": of_the_squared_number}],
    "psb_relative_bound": [{f"{CODE}_share": a_ninth}, {f"{CODE}_share": of_one_sample_more}],
    "psb_variance_maximum": [{f"{CODE}_MIDWAY": Fraction(3, 5)}],
    "psb_relative_maximum_at_third": [{f"{CODE}_THIRD": Fraction(2, 5)}, {f"{CODE}_share": a_ninth}],
    "psb_shift_add": [
        {f"{CODE}_shift_add": from_the_shift_below},
        {f"{CODE}_shift_add": without_the_mean},
        {f"{CODE}_shift_add": without_the_sign},
    ],
}


@pytest.mark.parametrize("field", ["value", "exponent", "probability"])
def test_a_number_system_that_is_off_is_noticed(field: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claims are on what the library computes, not on the formulas alone."""
    encoded = PSB.encode

    def off(self: PSB, weight: torch.Tensor) -> Any:
        code = encoded(self, weight)
        changed = {"value": 2 * code.value, "exponent": code.exponent + 1, "probability": code.probability / 2}
        kept = {key: getattr(code, key) for key in ("value", "sign", "exponent", "probability", "octave")}
        return type("Code", (), kept | {field: changed[field]})()

    monkeypatch.setattr(PSB, "encode", off)
    assert judge(lab.claims["psb_unbiased"], examples=20).verdict == "refuted"


def test_the_relative_variance_is_refuted_at_a_third(lab: Lab) -> None:
    verdict = judge(lab.claims["psb_relative_maximum"])
    assert verdict.counterexample == {"exponent": 0, "probability": "1/3"}
