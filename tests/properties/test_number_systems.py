"""Laws of the stochastic number systems, over all float32 weights, by exact moments: no sampling, no rounding."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from reluscope_plugins.number_systems.bernoulli import Bernoulli
from reluscope_plugins.number_systems.psb import PSB

TINY, LARGEST = 2.0**-149, float(torch.finfo(torch.float32).max)
WEIGHTS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SAMPLES = st.integers(1, 10_000)


def floor_log2(value: Fraction) -> int:
    """The greatest e with 2^e <= value."""
    exponent = value.numerator.bit_length() - value.denominator.bit_length()
    return exponent if Fraction(2) ** exponent <= value else exponent - 1


def parts(weight: float) -> tuple[int, int, Fraction]:
    encoded = PSB().encode(torch.tensor([weight]))
    return int(encoded.sign), int(encoded.exponent), Fraction(float(encoded.probability))


def edges(test):
    """Zero, subnormal numbers, powers of two and their neighbours, and the ends of the range."""
    for weight in (
        0.0,
        -0.0,
        TINY,
        -3 * TINY,
        2.0**-126 - TINY,
        2.0**-126,
        1.0,
        -(2.0**-30),
        1 - 2.0**-24,  # log2 of it rounds to 0, and with e = 0 or |w| / 2^e = 2 the code would be wrong
        2 - 2.0**-23,
        2.0**24 - 1,
        2.0**127,
        LARGEST,
        -LARGEST,
    ):
        test = example(weight, 3)(test)
    return test


@edges
@given(WEIGHTS, SAMPLES)
def test_exact_moments_of_psb(weight: float, samples: int) -> None:
    """E[w~] = w; the variance of (4.10)'s line, and the bounds (4.10) and (4.11)."""
    w = Fraction(weight)
    sign, exponent, probability = parts(weight)
    if w == 0:
        assert (sign, exponent, probability) == (0, 0, 0)
        return
    assert sign == (1 if w > 0 else -1)
    assert exponent == floor_log2(abs(w))
    assert 0 <= probability < 1
    octave = Fraction(2) ** exponent
    low, high = sign * octave, sign * 2 * octave
    mean = low * (1 - probability) + high * probability
    variance = ((low - mean) ** 2 * (1 - probability) + (high - mean) ** 2 * probability) / samples
    assert mean == w
    assert variance == (3 * octave * abs(w) - 2 * octave**2 - w**2) / samples
    assert variance <= w**2 / (8 * samples)
    assert variance / mean**2 <= Fraction(1, 8 * samples)  # squares of both sides of (4.11)


def test_the_bound_is_met_at_four_thirds() -> None:
    """w = 4/3 has the largest relative variance, and the float next to it comes as near to 1/8 as floats lie dense."""
    w = Fraction(float(torch.tensor(4 / 3)))
    ratio = (3 * w - 2 - w**2) / w**2
    assert Fraction(1, 8) - Fraction(1, 10**12) < ratio <= Fraction(1, 8)


@edges
@given(WEIGHTS, st.integers(1, 2**22))
def test_variance_and_ends(weight: float, samples: int) -> None:
    """`variance` and `from_counts` are the exact ones but for float32's rounding, range and subnormal numbers."""
    system = PSB()
    encoded = system.encode(torch.tensor([weight]))
    w, (sign, exponent, _) = Fraction(weight), parts(weight)
    octave = Fraction(2) ** exponent * abs(sign)
    expected = (3 * octave * abs(w) - 2 * octave**2 - w**2) / samples
    got = float(system.variance(encoded, samples))
    if expected <= Fraction(LARGEST) / 2 and octave**2 < Fraction(LARGEST) / samples:
        # three roundings of relative size 2^-24 (product, samples as float, quotient), and the spacing near zero
        assert abs(Fraction(got) - expected) <= expected * 4 / 2**24 + Fraction(TINY)
    for count in {0, samples // 3, samples}:
        exact = sign * octave * (1 + Fraction(count, samples))
        bound = Fraction(LARGEST)
        exact = max(min(exact, bound), -bound)
        drawn = float(system.from_counts(encoded, torch.tensor([count]), samples))
        assert abs(Fraction(drawn) - exact) <= abs(exact) * Fraction(1, 2**24) * (1 + Fraction(1, 2**20)) + TINY / 2


@edges
@given(WEIGHTS, st.integers(0, 23))
def test_rounded_probability_is_the_nearest(weight: float, bits: int) -> None:
    """No number with so many bits of probability lies nearer, save beyond the largest float."""
    got = Fraction(float(PSB(probability_bits=bits).encode(torch.tensor([weight])).value))
    w = Fraction(weight)
    if w == 0:
        assert got == 0
        return
    octave = Fraction(2) ** floor_log2(abs(w))
    steps = (abs(w) / octave - 1) * 2**bits
    options = [octave * (1 + Fraction(step, 2**bits)) for step in (int(steps), int(steps) + 1)]
    options = [option for option in options if option <= Fraction(LARGEST)]
    assert abs(got) in options
    assert abs(abs(got) - abs(w)) == min(abs(option - abs(w)) for option in options)
    assert (got > 0) == (w > 0)
    if len(options) == 2 and abs(options[0] - abs(w)) == abs(options[1] - abs(w)) and bits:
        kept = (abs(got) / Fraction(2) ** floor_log2(abs(got)) - 1) * 2**bits
        assert kept.denominator == 1
        assert kept % 2 == 0


@given(st.lists(WEIGHTS, min_size=1, max_size=8), st.integers(1, 5))
def test_few_octaves(values: list[float], bits: int) -> None:
    """A weight is kept, or becomes the nearer of zero and the least one kept."""
    weight = torch.tensor(values)
    got = [Fraction(float(value)) for value in PSB(exponent_bits=bits).encode(weight).value]
    exact = [Fraction(float(value)) for value in weight]
    largest = max(abs(w) for w in exact)
    if largest == 0:
        assert got == exact
        return
    least = Fraction(2) ** max(floor_log2(largest) - (2**bits - 2), -149)
    for w, value in zip(exact, got, strict=True):
        if abs(w) >= least:
            assert value == w
        else:
            assert abs(value) == (least if abs(w) > least / 2 else 0)
            assert value == 0 or (value > 0) == (w > 0)


@given(st.lists(WEIGHTS, min_size=1, max_size=6))
def test_moments_of_bernoulli(values: list[float]) -> None:
    """E[B_w] = w but for the rounding of the probability to double precision."""
    encoded = Bernoulli().encode(torch.tensor(values))
    scale = Fraction(float(encoded.scale))
    for value, probability in zip(encoded.value.tolist(), encoded.probability.tolist(), strict=True):
        assert 0 <= probability <= 1
        assert abs(Fraction(probability) * scale - abs(Fraction(value))) <= abs(Fraction(value)) / 2**53


@pytest.mark.parametrize("width", [32, 64])
def test_double_precision_and_half_precision_are_exact(width: int) -> None:
    """Every float16 and bfloat16, and float64 of any exponent."""
    if width == 32:
        codes = torch.arange(-(2**15), 2**15).to(torch.int16)
        weights = [codes.view(torch.float16), codes.view(torch.bfloat16)]
    else:
        generator = torch.Generator().manual_seed(0)
        mantissa = 1 + torch.rand(4000, generator=generator, dtype=torch.float64)
        exponent = torch.randint(-1074, 1024, (4000,), generator=generator)
        half = exponent // 2
        weights = [mantissa * 2.0 ** half.double() * 2.0 ** (exponent - half).double()]
    for weight in weights:
        weight = weight[weight.isfinite()]
        encoded = PSB().encode(weight)
        exponent = encoded.exponent.int()
        half = exponent // 2
        back = encoded.sign * (1 + encoded.probability.double())
        back = back * 2.0 ** half.double() * 2.0 ** (exponent - half).double()
        assert torch.equal(back, weight.double())
        assert bool(((encoded.probability >= 0) & (encoded.probability < 1)).all())
