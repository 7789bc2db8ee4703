"""The verifier refutes each claim on stochastic binarization once a sign, a constant or an index is off."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch

from reluscope.lab import Lab
from reluscope.verification import judge
from reluscope_plugins.number_systems.psb import PSB


def moments(mantissa: int, scale: int, samples: int = 1) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    """Return w, 2^e, and mean and variance of w_n, from the closed forms."""
    weight = mantissa * Fraction(2) ** scale
    octave = Fraction(1)
    while octave > abs(weight):
        octave /= 2
    while 2 * octave <= abs(weight):
        octave *= 2
    p = abs(weight) / octave - 1
    return weight, octave, weight, octave**2 * p * (1 - p) / samples


def mean_from_above(mantissa: int, scale: int, samples: int) -> bool:
    weight, octave, _, _ = moments(mantissa, scale)
    p = abs(weight) / octave - 1
    return (1 if weight > 0 else -1) * 2 * octave * (1 + p) == weight  # e one too large


def mean_without_sign(mantissa: int, scale: int, samples: int) -> bool:
    weight, _, mean, _ = moments(mantissa, scale, samples)
    return abs(mean) == weight


def variance_with_two(mantissa: int, scale: int) -> bool:
    weight, octave, _, variance = moments(mantissa, scale)
    return variance == 2 * octave * abs(weight) - 2 * octave**2 - weight**2


def variance_with_e(mantissa: int, scale: int) -> bool:
    weight, octave, _, variance = moments(mantissa, scale)
    return variance == 3 * octave * abs(weight) - octave**2 - weight**2  # 2^(2e), not 2^(2e + 1)


def variance_below_a_ninth(mantissa: int, scale: int, samples: int) -> bool:
    weight, _, _, variance = moments(mantissa, scale, samples)
    return variance <= weight**2 / (9 * samples)


def variance_below_of_square(mantissa: int, scale: int, samples: int) -> bool:
    weight, _, _, variance = moments(mantissa, scale, samples)
    return variance <= weight**2 / (8 * samples**2)


def single_below_a_ninth(mantissa: int, scale: int) -> bool:
    return variance_below_a_ninth(mantissa, scale, 1)


def relative_below_a_ninth(mantissa: int, scale: int, samples: int) -> bool:
    _, _, mean, variance = moments(mantissa, scale, samples)
    return variance / mean**2 <= Fraction(1, 9 * samples)


def relative_of_one_sample_more(mantissa: int, scale: int, samples: int) -> bool:
    _, _, mean, variance = moments(mantissa, scale, samples)
    return variance / mean**2 <= Fraction(1, 8 * (samples + 1))


def greatest_at_three_fifths(exponent: int, probability: str) -> bool:
    p = Fraction(probability)
    return p * (1 - p) <= Fraction(3, 5) * Fraction(2, 5)


def relative_greatest_at_two_fifths(exponent: int, probability: str) -> bool:
    p, q = Fraction(probability), Fraction(2, 5)
    return p * (1 - p) / (1 + p) ** 2 <= q * (1 - q) / (1 + q) ** 2


def shift_one_less(x: int, mantissa: int, scale: int, bits: list[int]) -> bool:
    return shift_add(x, mantissa, scale, bits, exponent=-1)


def shift_by_n_less(x: int, mantissa: int, scale: int, bits: list[int]) -> bool:
    return shift_add(x, mantissa, scale, bits, back=1)


def shift_without_sign(x: int, mantissa: int, scale: int, bits: list[int]) -> bool:
    return shift_add(x, mantissa, scale, bits, sign=False)


def shift_add(
    x: int, mantissa: int, scale: int, bits: list[int], exponent: int = 0, back: int = 0, sign: bool = True
) -> bool:
    weight, octave, _, _ = moments(mantissa, scale)
    encoded = PSB().encode(torch.tensor([float(weight)], dtype=torch.float64))
    drawn = Fraction(PSB().from_counts(encoded, torch.tensor([sum(bits)]), len(bits)).item())
    shifted = sum(x * octave * Fraction(2) ** (exponent + bit) for bit in bits) / len(bits) * 2**back
    return bool((-shifted if sign and weight < 0 else shifted) == x * drawn)


MUTANTS = {
    "psb_unbiased": [mean_from_above, mean_without_sign],
    "psb_variance": [variance_with_two, variance_with_e, single_below_a_ninth],
    "psb_variance_bound": [variance_below_a_ninth, variance_below_of_square],
    "psb_relative_bound": [relative_below_a_ninth, relative_of_one_sample_more],
    "psb_variance_maximum": [greatest_at_three_fifths],
    "psb_relative_maximum_at_third": [relative_greatest_at_two_fifths],
    "psb_shift_add": [shift_one_less, shift_by_n_less, shift_without_sign],
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
