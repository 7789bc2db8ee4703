"""Each number system against what its definition says, in plain Python, and on awkward weights."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from reluscope.errors import NotFiniteError, PluginError, QuantizationError, RecipeError
from reluscope.lab import Lab
from reluscope.number_system import Counted, System
from reluscope.testing import check_number_system
from reluscope_plugins.number_systems.bernoulli import Bernoulli
from reluscope_plugins.number_systems.bf16 import BF16
from reluscope_plugins.number_systems.binary import Binary
from reluscope_plugins.number_systems.deterministic import Deterministic
from reluscope_plugins.number_systems.fixed16 import Fixed16
from reluscope_plugins.number_systems.float32 import Float32
from reluscope_plugins.number_systems.psb import PSB
from reluscope_plugins.number_systems.ternary import Ternary
from reluscope_plugins.number_systems.uniform import Uniform

NAMES = ["bernoulli", "bf16", "binary", "fixed16", "float32", "psb", "ternary", "uniform"]
LARGEST = torch.finfo(torch.float32).max


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed))


def test_the_systems_are_there() -> None:
    assert sorted(Lab().number_systems) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_laws(name: str) -> None:
    check_number_system(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_entry_says_what_the_instance_says(name: str) -> None:
    entry = Lab().number_systems[name]
    system = entry.build()
    assert isinstance(system, System)
    assert system.bits == entry.bits
    assert dict(system.operations) == dict(entry.operations)
    assert system.stochastic == isinstance(system, Counted) == (name in {"psb", "bernoulli"})


@pytest.mark.parametrize(
    "system",
    [PSB(2), PSB(0), PSB(exponent_bits=2), PSB(4, 4), Uniform(2), Uniform(16), Fixed16(0), Fixed16(15)],
)
def test_laws_at_other_parameters(system: System) -> None:
    check_number_system(system)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(name: str, bad: float) -> None:
    system = Lab().number_systems[name].build()
    with pytest.raises(NotFiniteError, match=r"1 (NaN|Inf) among 3 values.*expected finite"):
        system.encode(torch.tensor([0.0, bad, 1.0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_ends_of_the_range(name: str) -> None:
    """Subnormal and huge weights, together and apart, give finite numbers with their sign."""
    system = Lab().number_systems[name].build()
    tiny = 2.0**-149
    for values in ([LARGEST, -LARGEST, 2.0**127], [tiny, -3 * tiny, 2.0**-126], [LARGEST, tiny, 0.0, -0.0], [tiny]):
        weight = torch.tensor(values, requires_grad=True)
        encoded = system.encode(weight)
        for result in (system.decode(encoded), system.draw(encoded, 3, generator())):
            assert bool(result.isfinite().all())
            assert bool((result * weight.sign() >= 0).all())
            assert not result.requires_grad


@pytest.mark.parametrize("name", NAMES)
def test_a_weight_is_never_written_to_and_comes_back_alike_in_any_layout(name: str) -> None:
    system = Lab().number_systems[name].build()
    weight = normal(4, 6, 3, 3)
    layouts = [weight, weight.to(memory_format=torch.channels_last), weight.flip(0).flip(0)]
    drawn = [system.draw(system.encode(one), 16, generator(3)) for one in layouts]
    assert all(torch.equal(one, drawn[0]) for one in drawn)
    double = system.draw(system.encode(weight.double()), 16, generator(3))
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), drawn[0])


def test_psb_draws_one_of_two_powers_of_two() -> None:
    weight = torch.tensor([3.0, -0.3, 0.0, 1.0])
    system = PSB()
    encoded = system.encode(weight)
    assert encoded.value.data_ptr() == weight.data_ptr()
    seen = {tuple(system.draw(encoded, 1, generator(seed)).tolist()) for seed in range(60)}
    assert seen == {(high, low, 0.0, 1.0) for high in (2.0, 4.0) for low in (-0.25, -0.5)}


def test_psb_of_the_largest_float_stays_finite() -> None:
    system = PSB()
    encoded = system.encode(torch.tensor([LARGEST]))
    assert system.draw(encoded, 1, generator()).tolist() == [LARGEST]
    double = system.encode(torch.tensor([LARGEST], dtype=torch.float64))
    assert system.draw(double, 1, generator()).tolist() == [2.0**128]


def test_bits_of_psb() -> None:
    assert (PSB().bits, PSB(4, 4).bits, PSB(probability_bits=2).bits, PSB(exponent_bits=5).bits) == (32, 9, 11, 29)


def test_psb_with_few_codes_uses_no_more() -> None:
    """With 3 bits of exponent and 2 of probability a sign, one of 7 octaves and one of 4 probabilities, or zero."""
    values = PSB(2, 3).encode(normal(20_000)).value.abs().unique()
    assert len(values) <= 1 + 7 * 4
    assert len(values) > 20


def test_psb_rounds_half_to_even_and_into_the_next_octave() -> None:
    values = PSB(probability_bits=2).encode(torch.tensor([1.125, -1.375, 1.625, 1.875, 1.13])).value
    assert values.tolist() == [1.0, -1.5, 1.5, 2.0, 1.25]


def test_fixed16_against_fractions() -> None:
    weight = torch.cat([normal(300) * 40, torch.tensor([0.5, 1.5, 2.5, -0.5, -2.5]) / 256, torch.tensor([1e4, -1e4])])
    encoded = Fixed16().encode(weight)
    expected = [round(Fraction(value) * 256) for value in weight.tolist()]  # half to even
    assert encoded.codes.tolist() == [min(max(code, -(2**15)), 2**15 - 1) for code in expected]
    assert encoded.saturated == sum(not -(2**15) <= code < 2**15 for code in expected) >= 2
    assert Fixed16().decode(encoded).tolist() == [code / 256 for code in encoded.codes.tolist()]


@pytest.mark.parametrize(("value", "saturated"), [(127.99609375, 0), (127.998, 0), (127.99805, 1), (-128.001, 0)])
def test_fixed16_counts_what_saturates(value: float, saturated: int) -> None:
    """What rounds to an end of the grid is not beyond it."""
    assert Fixed16().encode(torch.tensor([value])).saturated == saturated


@pytest.mark.parametrize("bits", [2, 3, 8, 16])
def test_uniform_is_the_nearest_level(bits: int) -> None:
    weight = normal(200, seed=1).double()
    levels = [weight.abs().max() * k / (2 ** (bits - 1) - 1) for k in range(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1))]
    grid = torch.stack(levels)
    expected = grid[torch.searchsorted((grid[1:] + grid[:-1]) / 2, weight)]
    torch.testing.assert_close(Uniform(bits).decode(Uniform(bits).encode(weight)), expected, rtol=1e-14, atol=1e-15)


def test_ternary_and_binary_against_plain_loops() -> None:
    values = normal(101, seed=2).double().tolist()
    mean = math.fsum(map(abs, values)) / len(values)
    kept = [value for value in values if abs(value) > 0.7 * mean]
    scale = math.fsum(map(abs, kept)) / len(kept)
    ternary, binary = (system.decode(system.encode(torch.tensor(values, dtype=torch.float64))).tolist()
                       for system in (Ternary(), Binary()))  # fmt: skip
    assert ternary == pytest.approx([math.copysign(scale, v) if v in kept else 0.0 for v in values], rel=1e-14)
    assert binary == pytest.approx([math.copysign(mean, v) for v in values], rel=1e-14)


def test_bf16_is_torchs() -> None:
    weight = normal(100)
    assert torch.equal(BF16().decode(BF16().encode(weight)), weight.bfloat16().float())
    largest = float(torch.finfo(torch.bfloat16).max)
    assert BF16().decode(BF16().encode(torch.tensor([LARGEST]))).tolist() == [largest]


def test_float32_rounds_double_precision() -> None:
    weight = normal(50)
    assert Float32().encode(weight).data_ptr() == weight.data_ptr()
    double = weight.double() * (1 + 2.0**-40)
    assert torch.equal(Float32().decode(Float32().encode(double)), weight.double())
    with pytest.raises(NotFiniteError):
        Float32().encode(torch.tensor([1e300], dtype=torch.float64))


def test_bernoulli_draws_the_largest_or_nothing() -> None:
    weight = torch.tensor([2.0, -1.0, 0.0])
    encoded = Bernoulli().encode(weight)
    seen = {tuple(Bernoulli().draw(encoded, 1, generator(seed)).tolist()) for seed in range(40)}
    assert seen == {(2.0, -2.0, 0.0), (2.0, 0.0, 0.0)}


def test_more_counts_refine() -> None:
    """Counts of 5 and of 11 samples add up to counts of 16, which are from_counts' to read."""
    system = PSB()
    encoded = system.encode(normal(1000))
    total = system.counts(encoded, 5, generator(1)) + system.counts(encoded, 11, generator(2))
    drawn = system.from_counts(encoded, total, 16)
    octave = 2.0 ** encoded.exponent.double()
    torch.testing.assert_close(drawn.double().abs() / octave, 1 + total.double() / 16, rtol=1e-7, atol=0)


@pytest.mark.parametrize("system", [PSB(), Bernoulli()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_formula_of_other_devices_is_that_of_the_cpu(system: PSB | Bernoulli, dtype: torch.dtype) -> None:
    """Bit for bit; subnormals, the largest and zero among the weights, more of them than a block holds."""
    largest = torch.finfo(dtype).max
    edges = torch.tensor([0.0, 1.0, -(2.0**-130), largest, -largest / 2], dtype=torch.float64).to(dtype)
    encoded = system.encode(torch.cat([normal(9000).to(dtype), edges]))
    counts = system.counts(encoded, 100, generator(0))
    assert torch.equal(system.from_counts(encoded, counts, 100), system._formula(encoded, counts, 100))


@pytest.mark.parametrize("system", [PSB(probability_bits=4), Bernoulli()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_where_the_weight_is(system: PSB | Bernoulli, dtype: torch.dtype) -> None:
    """Whatever device new tensors are made on: here one that holds no values."""
    weight = normal(50).to(dtype)
    encoded = system.encode(weight)
    counts, drawn = system.counts(encoded, 3, generator(0)), system.draw(encoded, 3, generator(0))
    with torch.device("meta"):
        assert torch.equal(system.counts(encoded, 3, generator(0)), counts)
        found = system.draw(encoded, 3, generator(0))
        assert torch.equal(system.from_counts(encoded, counts, 3), drawn)
    assert torch.equal(found, drawn)
    assert found.dtype == dtype


def test_numbers_of_numpys_types() -> None:
    plain, other = PSB(4, 5), PSB(np.int64(4), np.uint8(5))
    assert vars(other) == vars(plain)
    assert all(type(value) is int for value in vars(other).values())
    assert type(Uniform(np.int16(3)).bits) is type(Fixed16(np.int64(4)).fraction_bits) is int
    weight = normal(50)
    drawn = plain.draw(plain.encode(weight), 3, generator(0))
    assert torch.equal(other.draw(other.encode(weight), np.int64(3), generator(0)), drawn)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PSB(probability_bits=-1), r"probability_bits: got -1, expected a whole number from 0 to 52"),
        (lambda: PSB(exponent_bits=0), r"exponent_bits: got 0, expected a whole number from 1 to 11"),
        (lambda: Uniform(bits=1), r"bits: got 1, expected a whole number from 2 to 16"),
        (lambda: Fixed16(fraction_bits=2.5), r"fraction_bits: got 2.5, expected a whole number from 0 to 15"),
        (
            lambda: PSB().draw(PSB().encode(normal(2)), 0, generator()),
            r"samples: got 0, expected a whole number from 1",
        ),
        (lambda: PSB().counts(PSB().encode(normal(2)), 1.5, generator()), r"samples: got 1.5, expected a whole number"),
        (lambda: Lab().number_systems["psb"].build(bit=3), r"unknown parameter 'bit'"),
    ],
)
def test_bad_parameters(build, message: str) -> None:
    with pytest.raises((RecipeError, PluginError, QuantizationError), match=message):
        build()


def test_integers_are_no_weights() -> None:
    with pytest.raises(TypeError, match=r"torch.int64: expected floating point"):
        PSB().encode(torch.arange(3))


class TestLawsAreHeeded:
    """Systems that break one law each."""

    @pytest.mark.parametrize(
        ("broken", "law"),
        [
            (type("Biased", (PSB,), {"mean": lambda self, e: e.value * 1.001}), "mean"),
            (type("Wide", (PSB,), {"variance": lambda self, e, n: PSB.variance(self, e, n) * 1.1}), "variance"),
            (type("Constant", (PSB,), {"variance": lambda self, e, n: PSB.variance(self, e, 1)}), "falls with"),
            (
                type("Seedless", (PSB,), {"draw": lambda self, e, n, g: PSB.draw(self, e, n, generator(g.seed()))}),
                "same seed",
            ),
            (
                type("Tied", (PSB,), {"draw": lambda self, e, n, g: PSB.draw(self, e, n, generator(1))}),
                "counts|mean|independence",
            ),
            (type("Open", (Float32,), {"encode": lambda self, w: w.detach()}), "refused"),
            (type("Rude", (BF16,), {"encode": lambda self, w: BF16.encode(self, w.mul_(1.5))}), "left as it is"),
            (type("Drift", (Float32,), {"decode": lambda self, e: e * 1.1}), "to itself"),
            (type("Free", (Float32,), {"bits": 0}), "bits is positive"),
            (type("Bare", (Deterministic,), {}), "offers"),
        ],
        ids=lambda value: value.__name__ if isinstance(value, type) else "",
    )
    def test_a_broken_system_is_found(self, broken, law: str) -> None:
        with pytest.raises(AssertionError, match=rf"number system '\w+' breaks a law: .*({law})"):
            check_number_system(broken())


@pytest.mark.parametrize("samples", [1, 16, 700])
@pytest.mark.parametrize("name", ["psb", "bernoulli"])
def test_drawing_over_the_code_draws_the_same(name: str, samples: int) -> None:
    system = Lab().number_systems[name].build()
    weight = torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    expected = system.draw(system.encode(weight), samples, torch.Generator().manual_seed(1))
    encoded = system.encode(weight.clone())
    drawn = system.draw_over(encoded, samples, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, expected)
    assert drawn.data_ptr() == encoded.value.data_ptr()
