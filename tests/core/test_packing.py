"""Patterns as bits against loops over single units, in every layout that a network may have."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from reluscope import kernels, packing, random_state
from reluscope.errors import ObservationError, UnknownNameError
from reluscope.layout import rows
from reluscope.observation import observe
from reluscope.packing import WINNER_BITS, pack, pack_states, row_bytes, unpack
from reluscope.sites import pattern

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LAYOUTS = ("dense", "transposed", "sequence", "one_dim", "image", "channels_last", "strided", "volume")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def draw(layout: str, samples: int, units: int, side: int, dtype: torch.dtype) -> tuple[Tensor, int]:
    """Pre-activations of that layout, and the dim that counts units."""
    shapes = {
        "dense": (samples, units),
        "transposed": (units, samples),
        "sequence": (samples, side, units),
        "one_dim": (samples, units, side),
        "volume": (samples, units, 2, side, 1),
        "strided": (samples, units + 1, side, 2),
    }
    z = torch.randn(shapes.get(layout, (samples, units, side, 3))).to(dtype)
    if layout == "transposed":
        return z.T, 1
    if layout == "channels_last":
        return z.contiguous(memory_format=torch.channels_last), 1
    if layout == "strided":
        return z[:, 1:, :, :1], 1
    return z, 2 if layout == "sequence" else 1


def dense_reference(states: Tensor, channel: int, bits: int) -> list[list[int]]:
    """Bytes of each row, bit by bit in loops."""
    units = states.shape[channel]
    table = []
    for row in states.movedim(channel, -1).reshape(-1, units).tolist():
        line = [0] * row_bytes(bits * units)
        for unit, state in enumerate(row):
            for place in range(bits):
                position = bits * unit + place
                line[position // 8] += ((int(state) >> place) & 1) << (position % 8)
        table.append(line)
    return table


@pytest.mark.parametrize("bits", range(1, 300))
def test_a_row_is_one_integer_or_several_of_64_bits(bits: int) -> None:
    size = row_bytes(bits)
    assert size in (1, 2, 4) or size % 8 == 0
    assert 8 * size >= bits
    assert size == 1 or size // 2 * 8 < bits or (size > 8 and size * 8 - bits < 64)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("units", [1, 2, 7, 8, 9, 16, 17, 24, 31, 32, 33, 63, 64, 65, 130])
def test_every_layout(layout: str, units: int) -> None:
    z, channel = draw(layout, 3, units, 5, torch.float32)
    assert pack(z, channel, 0.0, None)[0].tolist() == dense_reference(z > 0, channel, 1)
    assert pack_states(z > 0, channel, bits=1).tolist() == dense_reference(z > 0, channel, 1)
    states = pattern(z, -0.5, 0.5)
    assert pack(z, channel, -0.5, 0.5)[0].tolist() == dense_reference(states, channel, 2)
    assert pack_states(states, channel, bits=2).tolist() == dense_reference(states, channel, 2)


@given(
    layout=st.sampled_from(LAYOUTS),
    samples=st.integers(0, 9),
    units=st.integers(1, 130),
    side=st.integers(0, 19),
    dtype=st.sampled_from(DTYPES),
    alone=st.sampled_from([1, 64, 999, kernels.ALONE]),
    threads=st.integers(1, 4),
    bounds=st.sampled_from([(0.0, None), (0.1, None), (None, 0.25), (0.0, 6.0), (-1, 1)]),
)
def test_any_shape_in_any_number_of_threads(
    layout: str, samples: int, units: int, side: int, dtype: torch.dtype, alone: int, threads: int, bounds: Any
) -> None:
    z, channel = draw(layout, samples, units, side, dtype)
    states = pattern(z, *bounds)
    bits = 1 if states.dtype == torch.bool else 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "ALONE", alone)
        patch.setattr(torch, "get_num_threads", lambda: threads)
        packed = pack(z, channel, *bounds)[0]
        again = pack_states(states, channel, bits=bits)
    assert packed.dtype == torch.uint8
    assert packed.shape == (z.numel() // units, row_bytes(bits * units))
    assert packed.tolist() == again.tolist() == dense_reference(states, channel, bits)
    assert torch.equal(unpack(packed, units, bits=bits), rows(states, channel))
    # what runs on an accelerator is in torch's own functions, which give the same here
    assert torch.equal(packing._pack_on_device(rows(states, channel), bits), packed)


@pytest.mark.parametrize("rows_at_once", [1, 2, 3, 64])
def test_what_fails_in_any_thread_is_raised_and_what_is_wrong_in_any_is_told(rows_at_once: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        seen: list[range] = []

        def well_but_for_the_last(part: slice) -> bool:
            seen.append(range(part.start, part.stop))
            return part.stop < rows_at_once

        assert not kernels.shared_out(rows_at_once, well_but_for_the_last, 3 * kernels.ALONE)
        assert sorted(row for part in seen for row in part) == list(range(rows_at_once))
        assert len(seen) == min(3, rows_at_once)

        def broken_at_the_last(part: slice) -> bool:
            return not 1 / (rows_at_once - part.stop)

        with pytest.raises(ZeroDivisionError):
            kernels.shared_out(rows_at_once, broken_at_the_last, 3 * kernels.ALONE)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [0.0, 0.1, -0.3, 1 / 3])
def test_a_value_at_the_threshold_is_not_active(dtype: torch.dtype, value: float) -> None:
    at = torch.tensor(value, dtype=dtype)
    z = torch.stack([torch.nextafter(at, at - 1), at, torch.nextafter(at, at + 1)]).reshape(1, 3)
    assert pack(z, 1, value, None)[0].tolist() == [[0b100]]
    assert pack(z, 1, None, value)[0].tolist() == [[0b001]]
    # between: above the lower threshold, and below the upper one
    assert unpack(pack(z, 1, value, value + 1)[0], 3, bits=2).tolist() == [[0, 0, 1]]
    assert unpack(pack(z, 1, value - 1, value)[0], 3, bits=2).tolist() == [[1, 2, 2]]
    if dtype != torch.bfloat16:  # there torch's threshold compares in float32, its comparison in bfloat16
        assert pack(z, 1, value, None)[0].tolist() == pack_states(F.threshold(z, value, -9.0) != -9, 1, bits=1).tolist()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [1e6, -1e6, 3e38, float("inf"), float("-inf")])
def test_a_threshold_that_the_dtype_does_not_hold(dtype: torch.dtype, value: float) -> None:
    z = torch.tensor([[-5.0, 0.0, 7.0]], dtype=dtype)
    assert pack(z, 1, value, None)[0].tolist() == [[0b000 if value > 0 else 0b111]]
    assert pack(z, 1, None, value)[0].tolist() == [[0b111 if value > 0 else 0b000]]


def test_a_shrink_is_silent_between_its_thresholds() -> None:
    z = torch.tensor([[-1.0, -0.5, 0.0, 0.5, 1.0]])
    packed = pack(z, 1, -0.5, 0.5, outer=True)[0]
    assert unpack(packed, 5, bits=2).tolist() == [[2, 0, 0, 0, 1]]


def test_a_threshold_for_each_unit() -> None:
    z = torch.randn(4, 5, 3, 3)
    bounds = torch.randn(5, 1, 1)
    assert pack(z, 1, bounds, None)[0].tolist() == dense_reference(z > bounds, 1, 1)
    assert pack(z, 1, None, bounds)[0].tolist() == dense_reference(z < bounds, 1, 1)
    states = (z > bounds).int() + (z >= bounds + 1).int()
    assert pack(z, 1, bounds, bounds + 1)[0].tolist() == dense_reference(states, 1, 2)


def test_a_view_of_negated_numbers() -> None:
    z = torch.complex(torch.randn(3, 9), torch.randn(3, 9)).conj().imag
    assert z.is_neg()
    assert pack(z, 1, 0.0, None)[0].tolist() == dense_reference(z > 0, 1, 1)


def test_winners_of_a_pool() -> None:
    _, winners = F.max_pool2d(torch.randn(2, 3, 8, 8), 2, return_indices=True)
    packed = pack_states(winners, 1, bits=WINNER_BITS)
    assert packed.shape == (2 * 16, 16)
    assert torch.equal(unpack(packed, 3, bits=WINNER_BITS), rows(winners, 1))
    assert len(torch.unique(packed, dim=0)) == len(torch.unique(rows(winners, 1), dim=0))


def test_what_is_packed_is_left_alone() -> None:
    z = torch.randn(3, 4, 5, 5, requires_grad=True)
    kept = z.detach().clone()
    assert not pack(z, 1, 0.0, None)[0].requires_grad
    assert torch.equal(z, kept)


class Kinds(nn.Module):
    """Every kind of threshold, a pool, a sequence, a reused in-place module and a tensor as a bound."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.relu, self.slope = nn.ReLU(inplace=True), nn.PReLU(5)
        self.line, self.head = nn.Linear(16, 9), nn.Linear(9, 3)
        self.register_buffer("bound", torch.linspace(-1, 1, 9))

    def forward(self, x: Tensor) -> Tensor:
        h = self.relu(self.norm(self.conv(x)))
        h = self.slope(h - 0.5)
        h = F.max_pool2d(F.threshold(h, 0.1, 0.0), 2)
        h = F.softshrink(self.line(h.flatten(2)), 0.1)
        h = F.relu6(h + 0.2)
        h = torch.clamp(h, min=self.bound)
        h = torch.clamp_max(h, 0.7)
        h = F.hardtanh(h.mean(1))
        out: Tensor = self.head(self.relu(h))
        return out


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 70), nn.ReLU(), nn.Linear(70, 9), nn.LeakyReLU(), nn.Linear(9, 1), nn.GELU())


def convolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 7, 3), nn.BatchNorm2d(7), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(7, 9, 2), nn.ReLU6()
    )


CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "mlp": (mlp, (5, 6)),
    "convolution": (convolution, (3, 2, 8, 8)),
    "kinds": (Kinds, (3, 2, 8, 8)),
    "one_dim": (lambda: nn.Sequential(nn.Conv1d(1, 11, 3), nn.ReLU()), (4, 1, 12)),
    "resnet18": (lambda: torchvision.models.resnet18(weights=None), (2, 3, 32, 32)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("case", CASES)
def test_patterns_alone_are_the_same_patterns(case: str, training: bool, dtype: torch.dtype) -> None:
    build, shape = CASES[case]
    model = build().to(dtype).train(training)
    x = torch.randn(shape).to(dtype)
    before, states, modes = (
        copy.deepcopy(model.state_dict()),
        random_state.capture(),
        [m.training for m in model.modules()],
    )
    whole, alone = observe(model, x), observe(model, x, patterns_only=True)
    assert alone.sites == whole.sites
    assert alone.pools == whole.pools
    assert alone.site == whole.site
    assert torch.equal(alone.output, whole.output)
    for site in (*whole.sites, *whole.pools):
        about = whole.site[site]
        assert torch.equal(alone.packed[site], whole.packed[site])
        assert torch.equal(alone.pattern[site], whole.pattern[site])
        assert alone.pattern[site].dtype == whole.pattern[site].dtype
        assert whole.packed[site].shape == (len(whole.pattern[site]), row_bytes(about.bits * about.units))
        assert torch.equal(unpack(whole.packed[site], about.units, bits=about.bits), whole.pattern[site])
        assert about.positions * whole.samples == len(whole.packed[site])
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert [m.training for m in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    after = random_state.capture()
    assert all(torch.equal(states[key], after[key]) for key in states if isinstance(states[key], Tensor))


def test_patterns_alone_take_a_thirty_second_of_the_memory() -> None:
    observation = observe(nn.Sequential(nn.Linear(3, 128), nn.ReLU()), torch.randn(50, 3), patterns_only=True)
    packed = observation.packed["1#0"]
    assert packed.untyped_storage().nbytes() * 32 == 50 * 128 * 4


def test_pre_activations_that_were_not_kept_are_refused() -> None:
    observation = observe(mlp(), torch.randn(4, 6), patterns_only=True)
    with pytest.raises(UnknownNameError, match=r"'1#0': only its pattern was kept; .*leaves patterns_only=True out"):
        observation.preactivation["1#0"]
    with pytest.raises(ObservationError, match="keeps no graph"):
        observation.affine()


def test_patterns_alone_have_no_affine_map() -> None:
    with pytest.raises(ObservationError, match="affine=True and patterns_only=True, expected one"):
        observe(mlp(), torch.randn(4, 6), affine=True, patterns_only=True)


class Overflows(nn.Module):
    """One value that is not finite before its second ReLU, though input and parameters are."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.line = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.line(x)).clone()
        h[1, 2] = self.value
        return torch.nan_to_num(torch.relu(h))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("value", "what"), [("nan", "1 NaN"), ("inf", "1 Inf"), ("-inf", "1 Inf")])
@pytest.mark.parametrize("patterns_only", [False, True])
def test_what_is_not_finite_is_named(value: str, what: str, patterns_only: bool, dtype: torch.dtype) -> None:
    model = Overflows(float(value)).to(dtype)
    with pytest.raises(ObservationError, match=rf"site 'relu#1': the pre-activation holds {what} among 12 values"):
        observe(model, torch.randn(4, 3).to(dtype), patterns_only=patterns_only)


@pytest.mark.parametrize("patterns_only", [False, True])
def test_opposite_infinities_do_not_cancel(patterns_only: bool) -> None:
    class Both(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            infinite = torch.where(x > 0, torch.inf, -torch.inf)
            return torch.nan_to_num(torch.relu(infinite))

    with pytest.raises(ObservationError, match="site 'relu#0': the pre-activation holds 4 Inf"):
        observe(Both(), torch.tensor([[1.0, -1.0], [2.0, -2.0]]), patterns_only=patterns_only)


@pytest.mark.parametrize("patterns_only", [False, True])
def test_a_sum_that_overflows_is_not_taken_for_an_infinite_value(patterns_only: bool) -> None:
    x = torch.full((2, 4), 3e38)
    observation = observe(nn.ReLU(), x, patterns_only=patterns_only)
    assert observation.pattern["relu#0"].all()


def test_numbers_of_numpy_are_not_touched_by_later_writes() -> None:
    class Writes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            h = x * 1
            y = torch.relu(h)
            h.fill_(-1)
            return y

    x = torch.randn(3, 8)
    observation = observe(Writes(), x, patterns_only=True)
    assert np.array_equal(np.unpackbits(observation.packed["relu#0"].numpy(), axis=1, bitorder="little"), x.numpy() > 0)


def test_packing_within_inference_mode_leaves_later_packing_as_it_is() -> None:
    z = torch.randn(4, 16, 9, 9, generator=torch.Generator().manual_seed(0))
    expected = pack_states(z > 0, 1, bits=1)
    found: list[torch.Tensor] = []

    def work() -> None:  # a thread of its own has packed nothing before
        with torch.inference_mode():
            found.append(pack(z, 1, 0.0, None)[0])
        found.append(pack(z, 1, 0.0, None)[0])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 2
    assert all(torch.equal(one, expected) for one in found)


@given(
    layout=st.sampled_from(LAYOUTS),
    units=st.integers(1, 130),
    dtype=st.sampled_from(DTYPES),
    bounds=st.sampled_from([(0.0, None), (None, 0.25), (0.0, 6.0)]),
    bad=st.sampled_from([None, float("nan"), float("inf"), float("-inf")]),
    place=st.floats(0, 1, exclude_max=True),
)
def test_any_value_that_is_not_finite_is_noticed(
    layout: str, units: int, dtype: torch.dtype, bounds: Any, bad: float | None, place: float
) -> None:
    z, channel = draw(layout, 3, units, 5, dtype)
    if bad is not None:
        index = np.unravel_index(int(place * z.numel()), z.shape)
        z[tuple(map(int, index))] = bad
    assert pack(z, channel, *bounds)[1] == (bad is None)


def test_huge_values_have_no_trouble() -> None:
    for dtype in (torch.float32, torch.float64):
        z = torch.full((2, 9, 5, 5), torch.finfo(dtype).max, dtype=dtype)
        packed, finite = pack(z, 1, 0.0, None)
        assert finite
        assert packed.view(torch.int16).unique().tolist() == [2**9 - 1]


def test_winners_of_a_single_channel() -> None:
    """One channel leaves an odd stride behind, which torch's views of bytes refuse."""
    model = torch.nn.Sequential(torch.nn.MaxPool2d(3, 2, 1), torch.nn.ReLU())
    observation = observe(model, torch.randn(4, 1, 5, 5, generator=torch.Generator().manual_seed(1)))
    packed, pattern = observation.packed["0#0"], observation.pattern["0#0"]
    assert torch.equal(packed.contiguous().view(torch.int32).flatten().long(), pattern.flatten())
