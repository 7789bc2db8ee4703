"""Integer layers against sums of Python's own integers, against their simulation, and against torch's layers."""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import ReluscopeError
from reluscope_plugins.number_systems.integer_layers import (
    Outputs,
    Precision,
    Weights,
    integer_conv2d,
    integer_linear,
)


def cut(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def shift(value: int, places: int) -> int:
    return value << places if places >= 0 else value >> -places


def half_to_even(value: int, places: int) -> int:
    return value << -places if places < 0 else round(value / 2**places)  # exact: 32 bits in a float of 53


class Reference(NamedTuple):
    value: int
    accumulator: int
    overflows: int
    saturated: bool


def reference(
    x: list[int], sign: list[int], exponent: list[int], counts: list[int], bias: int, at: Precision
) -> Reference:
    """One output: each sample's shift and addition on its own, in the order of the inputs."""
    total = overflows = 0
    for number, s, e, successes in zip(x, sign, exponent, counts, strict=True):
        for b in [0] * (at.samples - successes) + [1] * successes:
            if s == 0:
                continue
            wide = shift(number, e + b + at.guard_bits)
            overflows += wide != cut(wide)
            wide = total + s * cut(wide)
            overflows += wide != cut(wide)
            total = cut(wide)
    wide = (total >> at.sample_bits) + bias
    overflows += wide != cut(wide)
    accumulator = cut(wide)
    rounded = half_to_even(accumulator, at.places)
    return Reference(min(max(rounded, -(2**15)), 2**15 - 1), accumulator, overflows, not -(2**15) <= rounded < 2**15)


class Case(NamedTuple):
    x: torch.Tensor
    weights: Weights
    counts: torch.Tensor
    at: Precision


SIZES = {"small": 100, "full": 2**15 - 1}
EXPONENTS = {"usual": (-8, 3), "wide": (-60, 40), "very small": (-1074, -20), "very large": (10, 900)}


@st.composite
def linear_cases(draw: st.DrawFn, exponents: str | None = None) -> Case:
    rows, inputs, outputs = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    samples = 2 ** draw(st.integers(0, 5))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low, high = EXPONENTS[exponents or draw(st.sampled_from(["usual", "usual", "usual", *EXPONENTS]))]
    most = SIZES[draw(st.sampled_from(sorted(SIZES)))]
    own = draw(st.booleans())
    x = generator.integers(-most - 1, most + 1, (rows, inputs))
    sign, exponent = generator.integers(-1, 2, (outputs, inputs)), generator.integers(low, high + 1, (outputs, inputs))
    counts = generator.integers(0, samples + 1, (rows, outputs, inputs) if own else (outputs, inputs))
    bias = generator.integers(-(2**31), 2**31, outputs) >> draw(st.integers(0, 31))
    at = Precision(samples, draw(st.integers(0, 12)), draw(st.integers(-6, 14)), draw(st.integers(0, 14)))
    weights = Weights(
        torch.from_numpy(sign.astype(np.int8)),
        torch.from_numpy(exponent.astype(np.int16)),
        torch.from_numpy(bias.astype(np.int32)),
    )
    return Case(torch.from_numpy(x.astype(np.int16)), weights, torch.from_numpy(counts), at)


@given(case=linear_cases())
def test_linear_equals_plain_integers(case: Case) -> None:
    found = integer_linear(*case)
    assert [each.dtype for each in found] == [torch.int16, torch.int32, torch.int64, torch.bool, torch.bool]
    counts = case.counts.expand(len(case.x), *case.weights.sign.shape)
    for row, output in itertools.product(range(len(case.x)), range(len(case.weights.sign))):
        expected = reference(
            case.x[row].tolist(),
            case.weights.sign[output].tolist(),
            case.weights.exponent[output].tolist(),
            counts[row, output].tolist(),
            int(case.weights.bias[output]),
            case.at,
        )
        got = (found.values, found.accumulators, found.overflows, found.saturated)
        assert Reference(*(each[row, output].item() for each in got)) == expected


def test_no_rows_at_all() -> None:
    case = one_output([1, 2], [0, 0])
    for simulated in (False, True):
        assert integer_linear(case.x[:0], *case[1:], simulated=simulated).values.shape == (0, 1)


def check_same(integer: Outputs, simulated: Outputs) -> None:
    assert torch.equal(integer.values, simulated.values)
    assert torch.equal(integer.accumulators, simulated.accumulators)
    assert torch.equal(integer.saturated, simulated.saturated)
    assert (integer.possible >= simulated.overflows).all()  # what overflows in every order did so in this one
    assert (integer.possible <= simulated.possible).all()


@given(case=linear_cases())
def test_linear_equals_simulation(case: Case) -> None:
    check_same(integer_linear(*case), integer_linear(*case, simulated=True))


def one_output(x: list[int], exponents: list[int], samples: int = 1, signs: list[int] | None = None) -> Case:
    sign = torch.tensor([signs or [1] * len(x)], dtype=torch.int8)
    weights = Weights(sign, torch.tensor([exponents], dtype=torch.int16), torch.zeros(1, dtype=torch.int32))
    counts = torch.zeros(1, len(x), dtype=torch.int64)
    return Case(torch.tensor([x], dtype=torch.int16), weights, counts, Precision(samples, 0, 0, 0))


def test_overflow_is_flagged_and_wraps_in_both() -> None:
    case = one_output([2**14, 2**14, 100], [16, 16, 0])  # 2^30 + 2^30 + 100 = 2^31 + 100
    integer, simulated = integer_linear(*case), integer_linear(*case, simulated=True)
    check_same(integer, simulated)
    assert integer.accumulators.item() == -(2**31) + 100
    assert integer.overflows.item() == 1
    assert simulated.overflows.item()


def test_overflow_that_comes_back_is_counted_and_called_possible() -> None:
    case = one_output([2**14, 2**14, 2**14], [16, 16, 16], signs=[1, 1, -1])
    integer, simulated = integer_linear(*case), integer_linear(*case, simulated=True)
    check_same(integer, simulated)
    assert integer.accumulators.item() == 2**30
    assert integer.overflows.item() == 2
    assert simulated.possible.item()
    assert not simulated.overflows.item()


def test_bits_that_a_left_shift_loses_are_counted_for_each_sample() -> None:
    case = one_output([3, -1], [40, 31], samples=4)
    integer, simulated = integer_linear(*case), integer_linear(*case, simulated=True)
    check_same(integer, simulated)
    assert integer.overflows.item() == 4 + 2  # four shifts of 3 by 40; of four times -2^31 each second addition
    assert simulated.overflows.item()


def test_bits_lost_by_shifts_that_cancel_are_flagged_in_both() -> None:
    case = one_output([5, 5], [40, 40], signs=[1, -1])
    integer, simulated = integer_linear(*case), integer_linear(*case, simulated=True)
    check_same(integer, simulated)
    assert integer.overflows.item() == 2
    assert simulated.overflows.item()


def test_subtracting_the_least_number() -> None:
    case = one_output([-1], [31], signs=[-1])
    integer = integer_linear(*case)
    check_same(integer, integer_linear(*case, simulated=True))
    assert integer.overflows.item() == 1
    assert integer.accumulators.item() == -(2**31)


@given(case=linear_cases("usual"))
def test_without_lost_bits_it_is_the_float_layer(case: Case) -> None:
    # x up to 2^7, 2^e up to 2^3, 8 + 5 bits before all shifts, 32 samples, 5 inputs: below 2^31
    x = (case.x >> 8).to(torch.int16)
    guard = 8 + case.at.sample_bits
    at = dataclasses.replace(case.at, guard_bits=guard)
    weights = case.weights._replace(bias=case.weights.bias >> 8)
    found = integer_linear(x, weights, case.counts, at)
    assert not found.overflows.any()
    weight = weights.sign * 2.0 ** weights.exponent.double() * (1 + case.counts.double() / at.samples)
    scale = 2.0 ** (at.input_bits + guard)
    inputs, bias = x.double() / 2.0**at.input_bits, weights.bias.double() / scale
    if weight.dim() == 2:
        expected = F.linear(inputs, weight, bias)
    else:
        expected = torch.einsum("ri,roi->ro", inputs, weight) + bias
    assert torch.equal(found.accumulators.double() / scale, expected)
    rounded = torch.round(expected * 2.0**at.output_bits).clamp(-(2.0**15), 2.0**15 - 1)
    assert torch.equal(found.values.double(), rounded)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Case, dict[str, object]]:
    groups, kernel = draw(st.integers(1, 2)), [draw(st.integers(1, 3)) for _ in range(2)]
    options = {
        "stride": [draw(st.integers(1, 2)) for _ in range(2)],
        "padding": [draw(st.integers(0, 2)) for _ in range(2)],
        "dilation": [draw(st.integers(1, 2)) for _ in range(2)],
        "groups": groups,
    }
    channels, outputs = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    size = [draw(st.integers(5, 6)) for _ in range(2)]
    samples = 2 ** draw(st.integers(0, 3))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))

    def integers(low: int, high: int, shape: list[int], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(low, high, shape, generator=generator).to(dtype)

    shape = [outputs, channels, *kernel]
    rows = draw(st.integers(1, 2))
    x = integers(-128, 128, [rows, channels * groups, *size], torch.int16)
    weights = Weights(
        integers(-1, 2, shape, torch.int8),
        integers(-6, 3, shape, torch.int16),
        integers(-1000, 1000, [outputs], torch.int32),
    )
    at = Precision(samples, 4, 6 + samples.bit_length() - 1, 4)
    return Case(x, weights, integers(0, samples + 1, shape, torch.int64), at), options


@given(drawn=convolutions())
def test_convolution_is_the_float_layer_and_its_simulation(drawn: tuple[Case, dict[str, object]]) -> None:
    case, options = drawn
    found = integer_conv2d(*case, **options)  # type: ignore[arg-type]
    check_same(found, integer_conv2d(*case, **options, simulated=True))  # type: ignore[arg-type]
    weights, at = case.weights, case.at
    weight = weights.sign * 2.0 ** weights.exponent.double() * (1 + case.counts.double() / at.samples)
    scale = 2.0 ** (at.input_bits + at.guard_bits)
    expected = F.conv2d(case.x.double() / 16, weight, weights.bias.double() / scale, **options)  # type: ignore[arg-type]
    assert not found.overflows.any()
    assert torch.equal(found.accumulators.double() / scale, expected)
    own = case.counts.expand(*found.values[:, 0].shape, *weights.sign.shape)
    again = integer_conv2d(case.x, weights, own, at, **options)  # type: ignore[arg-type]
    assert torch.equal(again.accumulators, found.accumulators)


def test_each_position_of_a_convolution_takes_its_own_counts() -> None:
    weights = Weights(
        torch.ones(2, 1, 1, 1, dtype=torch.int8),
        torch.zeros(2, 1, 1, 1, dtype=torch.int16),
        torch.zeros(2, dtype=torch.int32),
    )
    x = torch.full((2, 1, 3, 4), 8, dtype=torch.int16)
    counts = torch.randint(0, 5, (2, 3, 4, 2, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    for simulated in (False, True):
        found = integer_conv2d(x, weights, counts, Precision(4, 0, 0, 0), simulated=simulated)
        assert torch.equal(found.values.long(), 8 + 2 * counts[..., 0, 0, 0].movedim(3, 1))


def test_threads_do_not_change_a_bit() -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (600, 600)
    weights = Weights(
        torch.ones(shape, dtype=torch.int8),
        torch.randint(-6, 1, shape, generator=generator).to(torch.int16),
        torch.zeros(600, dtype=torch.int32),
    )
    x = torch.randint(-128, 128, (200, 600), generator=generator).to(torch.int16)
    counts = torch.randint(0, 2, shape, generator=generator)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(integer_linear(x, weights, counts, Precision(1, 4, 6, 4)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0].accumulators, found[1].accumulators)


@pytest.mark.parametrize("samples", [0, -4, 3, 100, 2**17, 2.0, True])
def test_samples_must_be_a_power_of_two(samples: int) -> None:
    with pytest.raises(ReluscopeError, match="expected a power of two"):
        Precision(samples, 8, 8, 8)


def test_bad_tensors_are_named() -> None:
    case = one_output([1, 2], [0, 0])
    with pytest.raises(ReluscopeError, match=r"x: got torch\.float32"):
        integer_linear(case.x.float(), *case[1:])
    with pytest.raises(ReluscopeError, match="3 inputs, expected the 2"):
        integer_linear(torch.zeros(1, 3, dtype=torch.int16), *case[1:])
    with pytest.raises(ReluscopeError, match=r"sign: got torch\.int64"):
        integer_linear(case.x, case.weights._replace(sign=case.weights.sign.long()), *case[2:])
    with pytest.raises(ReluscopeError, match=r"counts: got torch\.int64"):
        integer_linear(*case[:2], case.counts[:, :1], case.at)
    for wrong in (2, -1):
        with pytest.raises(ReluscopeError, match=r"expected within 0\.\.1"):
            integer_linear(*case[:2], case.counts + wrong, case.at)
    kernel = torch.ones(1, 1, 3, 3)
    weights = Weights(kernel.to(torch.int8), kernel.to(torch.int16), torch.zeros(1, dtype=torch.int32))
    for size in ((1, 1, 2, 5), (1, 3), (1, 1, 3, 3, 3)):
        with pytest.raises(ReluscopeError, match="height and width"):
            integer_conv2d(torch.zeros(size, dtype=torch.int16), weights, kernel.long(), case.at)
    with pytest.raises(ReluscopeError, match="2 channels"):
        integer_conv2d(torch.zeros(1, 2, 3, 3, dtype=torch.int16), weights, kernel.long(), case.at)


def test_a_simulation_that_would_round_is_refused() -> None:
    case = one_output([2**15 - 1] * 128, [15] * 128, samples=2**16)
    with pytest.raises(ReluscopeError, match=r"expected less than 2\^52"):
        integer_linear(*case, simulated=True)
