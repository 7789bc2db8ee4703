"""Keys of patterns: exact up to 64 bits, a universal hash beyond."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.stats import binom, poisson
from torch import Tensor, nn

from reluscope import kernels
from reluscope.errors import ObservationError
from reluscope.observation import Observation, observe
from reluscope.packing import pack_states
from reluscope_plugins.patterns import keys
from reluscope_plugins.patterns.keys import false_merge_bound, global_keys, row_keys, sample_keys, sample_pieces
from reluscope_plugins.patterns.table import counted, entries

Words = npt.NDArray[np.uint64]
ERROR = 1e-6
"""Probability with which a test of chance may fail although all is well."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def packed_rows(states: Tensor) -> Tensor:
    return pack_states(states, 1, bits=1)


def reference_words(states: Tensor) -> Tensor:
    """Words of 64 units as the reference code of the source makes them: its int64 gives bit 63 the weight -1."""
    weights = torch.tensor([2**place for place in range(63)] + [-1])
    rows = torch.nn.functional.pad(states.long(), (0, -states.shape[1] % 64)).reshape(len(states), -1, 64)
    return (rows * weights).sum(-1)


def reference_slots(words: Tensor, slots: int) -> Tensor:
    """Place of each row in the list of a fixed size: algorithms 1 and 2 of the source."""
    found = torch.full((len(words),), 1610612741)
    for column in words.T:
        found = (column * 402653189) ^ (found * 805306457)
    return found % slots


# Up to 64 bits


@pytest.mark.parametrize("units", [*range(1, 18), 31, 32, 33, 63, 64])
def test_a_pattern_that_fits_is_its_own_key(units: int) -> None:
    states = torch.rand(300, units) < 0.5
    expected = [sum(1 << unit for unit, active in enumerate(row) if active) for row in states.tolist()]
    assert row_keys(packed_rows(states)).tolist() == expected
    assert row_keys(packed_rows(states), seed=5).tolist() == expected


def test_bit_63_is_a_bit_like_any_other() -> None:
    states = torch.zeros(5, 64, dtype=torch.bool)
    states[1, 0] = states[1, 63] = True  # 2^0 - 1 = 0: the reference takes it for the pattern without an active unit
    states[2, :63] = True
    states[3, :2] = states[3, 63] = True  # 2^0 + 2^1 - 1 = 2^1
    states[4, 1] = True
    words = reference_words(states)[:, 0].tolist()
    assert len({tuple(row) for row in states.tolist()}) == 5
    assert words[0] == words[1]
    assert words[3] == words[4]
    states = torch.cat([states, torch.rand(2000, 64) < 0.5])
    found = row_keys(packed_rows(states))
    assert len(set(found.tolist())) == len({tuple(row) for row in states.tolist()}) == 2005
    assert int(found[1]) == 2**63 + 1


def test_the_references_words_merge_pairs_that_differ_in_two_units() -> None:
    # of all patterns with unit 0 silent: each is confused with the one that has units 0 and 63 active besides
    states = torch.rand(1000, 64) < 0.5
    states[:, [0, 63]] = False
    twins = states.clone()
    twins[:, [0, 63]] = True
    assert torch.equal(reference_words(states), reference_words(twins))
    assert not set(row_keys(packed_rows(states)).tolist()) & set(row_keys(packed_rows(twins)).tolist())


def layer(distinct: int) -> Tensor:
    """Patterns of a linear layer of 64 units on normal data of eight dims, so many distinct ones: `(row, byte)`."""
    generator = np.random.default_rng(0)
    weight, bias = generator.normal(size=(8, 64)).astype(np.float32), generator.normal(size=64).astype(np.float32)
    points = generator.normal(size=(1_000_000, 8)).astype(np.float32)
    packed = np.concatenate(
        [np.packbits(part @ weight + bias > 0, axis=1, bitorder="little") for part in np.split(points, 8)]
    )
    first = np.sort(np.unique(packed.view(np.uint64)[:, 0], return_index=True)[1])
    return torch.from_numpy(packed[: first[distinct - 1] + 1])


def test_a_list_of_a_fixed_size_loses_patterns_and_a_table_none() -> None:
    # Of one word A, h = A Q xor a constant. Modulo 2^20 only the low 20 bits of A take part: the first 20 units, whose
    # hyperplanes cut a space of eight dims into few cells. An ideal hash would spread the patterns over all slots.
    distinct, slots = 897_047, 2**20
    packed = layer(distinct)
    words = torch.from_numpy(packed.numpy().view(np.int64))
    kept = len(torch.unique(reference_slots(words, slots)))
    assert kept == len(torch.unique(words & (slots - 1))) <= sum(math.comb(20, dim) for dim in range(9))
    assert 1 - kept / distinct > 0.95
    ideal = -slots * math.expm1(distinct * math.log1p(-1 / slots))
    assert kept < ideal / 10
    found = entries(counted(packed, 64))
    assert len(found[0]) == distinct
    # beside 64 silent units the same patterns are hashed, or kept whole: each was seen as often
    wide = torch.cat([packed, torch.zeros_like(packed)], 1)
    for exact in (False, True):
        assert np.array_equal(np.sort(entries(counted(wide, 128, exact=exact))[1]), np.sort(found[1]))


# More than 64 bits


def hashed_reference(rows: npt.NDArray[np.uint8], seed: int) -> list[int]:
    """The hash in Python's integers, one row after the other."""
    pieces = rows.view(np.uint32)
    factors = keys._factors(pieces.shape[1], seed, 0, 0)
    added = keys._added(seed)
    found = []
    for row in pieces.tolist():
        low, high = (
            ((int(added[half]) + sum(int(a) * x for a, x in zip(factors[:, half], row, strict=True))) % 2**64) >> 32
            for half in (0, 1)
        )
        found.append(low + (high << 32))
    return found


@pytest.mark.parametrize("units", [65, 128, 129, 600])
@pytest.mark.parametrize("seed", [0, 7])
def test_hash_is_multiply_shift(units: int, seed: int) -> None:
    rows = packed_rows(torch.rand(50, units) < 0.5)
    assert row_keys(rows, seed=seed).tolist() == hashed_reference(rows.numpy(), seed)


def test_factors_are_drawn_at_random() -> None:
    factors = keys._factors(1000, 0, 0, 0)
    assert len(np.unique(factors)) == 2000
    assert (factors & np.uint64(1)).any()
    assert len({keys._factors(3, seed, stream, first).tobytes() for seed, stream, first in np.ndindex(3, 3, 3)}) == 27
    assert not factors.flags.writeable


def test_what_is_added_is_no_factor() -> None:
    # If b were the first factor a, patterns with 2^32 - 1 in their first piece would have 2^32 a before the others: no
    # carry comes from it, and 1 and 1 + 2^20 in the next piece agree in a half with probability 2^-31, not 2^-32.
    none = torch.zeros(1, 16, dtype=torch.uint8)
    for seed in range(20):
        key = int(row_keys(none, seed=seed)[0])
        halves = {key & 0xFFFFFFFF, key >> 32}
        drawn = np.concatenate([keys._factors(4, seed, 0, first) for first in (0, keys._PIECES)])
        assert not halves & set((drawn >> np.uint64(32)).ravel().tolist())


def test_a_half_agrees_no_more_often_than_theory_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the pair above, over the second factors for which a half can agree at all: those that times 2^20 are within
    # 2^32 of 0, a share of 2^-31. Null: half of these agree, that is 2^-32 of all; binomial, error 1e-6.
    rows = torch.from_numpy(np.array([[2**32 - 1, 1, 0, 0], [2**32 - 1, 1 + 2**20, 0, 0]], np.uint32).view(np.uint8))
    draw, agree, seeds = np.random.default_rng(0), 0, 4000
    drawn = keys._factors

    def factors(count: int, seed: int, stream: int, first: int) -> npt.NDArray[np.uint64]:
        found = drawn(count, seed, stream, first).copy()
        if first == 0:
            near = draw.integers(1 - 2**12, 2**12, size=2) % 2**44
            found[1] = near.astype(np.uint64) + (draw.integers(0, 2**20, size=2).astype(np.uint64) << np.uint64(44))
        return found

    monkeypatch.setattr(keys, "_factors", factors)
    for seed in range(seeds):
        one, other = row_keys(rows, seed=seed).tolist()
        agree += (one >> 32 == other >> 32) + (one & 0xFFFFFFFF == other & 0xFFFFFFFF)
    lower, upper = binom.ppf([ERROR / 2, 1 - ERROR / 2], 2 * seeds, 0.5)
    assert lower <= agree <= upper


def test_hash_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = packed_rows(torch.rand(200, 300) < 0.5)
    whole = row_keys(rows)
    order = torch.randperm(200)
    assert np.array_equal(row_keys(rows[order]), whole[order.numpy()])
    assert np.array_equal(np.concatenate([row_keys(part) for part in rows.split([1, 0, 150, 49])]), whole)
    monkeypatch.setattr(kernels, "ALONE", 1)
    assert np.array_equal(row_keys(rows), whole)
    assert row_keys(rows[:0]).shape == (0,)


def test_keys_of_another_seed_are_others() -> None:
    rows = packed_rows(torch.rand(500, 100) < 0.5)
    first, second = row_keys(rows, seed=0), row_keys(rows, seed=1)
    assert not set(first.tolist()) & set(second.tolist())
    assert np.array_equal(first, row_keys(rows, seed=0))


@pytest.mark.parametrize("pieces", [keys._PIECES, 7, 4])
@pytest.mark.parametrize("units", [65, 300, 1000])
def test_an_accelerator_makes_the_same_keys(units: int, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # torch's own functions, which also run here; long rows are hashed in several goes
    monkeypatch.setattr(keys, "_PIECES", pieces)
    rows = packed_rows(torch.rand(60, units) < 0.5)
    assert np.array_equal(keys._hashed_on_device(rows, 3), row_keys(rows, seed=3))


def test_truncated_hash_collides_as_often_as_theory_has_it() -> None:
    # Null: of patterns drawn at random the upper 16 bits of each half are together uniform, 32 bits. Of 2^18 patterns
    # 8 pairs agree in expectation, with 30 seeds 240; so few among so many are of Poisson's law. Error 1e-6.
    patterns, seeds, collisions = 1 << 18, 30, 0
    rows = torch.randint(256, (patterns, 16), dtype=torch.uint8)
    for seed in range(seeds):
        key = row_keys(rows, seed=seed)
        short = np.sort((key >> np.uint64(16) & np.uint64(0xFFFF)) | (key >> np.uint64(48) << np.uint64(16)))
        seen = np.unique(short, return_counts=True)[1]
        collisions += int((seen * (seen - 1) // 2).sum())
    lower, upper = poisson.ppf([ERROR / 2, 1 - ERROR / 2], seeds * patterns * (patterns - 1) / 2 / 2**32)
    assert lower <= collisions <= upper


def test_any_two_patterns_collide_with_the_same_probability_over_seeds() -> None:
    # Null: for any two patterns, however alike, the upper 8 bits of a half agree for a seed with probability 2^-8, and
    # seeds are independent: binomial. Fourteen counts share an error of 1e-6.
    seeds, units = 3000, 96
    pairs = torch.zeros(7, 2, units, dtype=torch.bool)
    pairs[0, 1, 0] = pairs[1, 1, 95] = pairs[2, 1, 31] = True  # one unit
    pairs[3, 1] = True  # none and all
    pairs[4, 0, ::2] = pairs[4, 1, 1::2] = True
    pairs[5, 0, :32] = pairs[5, 1, 32:64] = True  # two pieces that change places
    pairs[6] = torch.rand(2, units) < 0.5
    rows = packed_rows(pairs.reshape(14, units))
    collisions = np.zeros((2, 7), int)
    for seed in range(seeds):
        key = row_keys(rows, seed=seed).reshape(7, 2)
        for half, shift in enumerate((24, 56)):
            short = key >> np.uint64(shift) & np.uint64(0xFF)
            collisions[half] += short[:, 0] == short[:, 1]
    lower, upper = binom.ppf([ERROR / 28, 1 - ERROR / 28], seeds, 2.0**-8)
    assert (collisions >= lower).all(), collisions
    assert (collisions <= upper).all(), collisions


# What is said of collisions


def test_bound_against_birthdays() -> None:
    # the exact probability that of n keys out of 2^64 any two agree, in logarithms
    for patterns in (2, 10, 1000, 100_000):
        exact = -math.expm1(math.fsum(math.log1p(-i / 2**64) for i in range(patterns)))
        bound = false_merge_bound(patterns, 65)
        assert exact <= bound * (1 + 1e-12)
        assert bound == pytest.approx(exact, rel=patterns**2 / 2**64 + 1e-9)
    assert false_merge_bound(2, 65) == 2.0**-64
    assert false_merge_bound(20_000_000, 512) == pytest.approx(1.084e-5, rel=1e-3)
    assert false_merge_bound(2**40, 512) == 1.0
    assert [false_merge_bound(n, 512) for n in (0, 1)] == [0.0, 0.0]
    assert false_merge_bound(10**12, 64) == 0.0


# Global patterns


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 9, 2), nn.ReLU6(), nn.Flatten(), nn.Linear(81, 70), nn.ReLU()
    )


def global_patterns(observation: Observation) -> list[bytes]:
    shape = (observation.samples, -1)
    parts = [observation.pattern[site].reshape(shape).to(torch.uint8) for site in observation.sites]
    return [row.numpy().tobytes() for row in torch.cat(parts, 1)]


def test_global_keys_tell_what_global_patterns_tell() -> None:
    x = torch.randn(40, 1, 6, 6)
    x[20:30] = x[:10]
    observation = observe(network(), x)
    found = global_keys(observation)
    patterns = global_patterns(observation)
    assert found.shape == (40,)
    assert found.dtype == np.uint64
    assert len(set(found.tolist())) == len(set(patterns)) < 40
    for i in range(40):
        for j in range(i):
            assert (found[i] == found[j]) == (patterns[i] == patterns[j])
    assert not set(found.tolist()) & set(global_keys(observation, seed=1).tolist())


def test_global_keys_do_not_depend_on_the_batch() -> None:
    model, x = network().double(), torch.randn(12, 1, 6, 6, dtype=torch.float64)
    whole = global_keys(observe(model, x))
    parts = [global_keys(observe(model, part, patterns_only=True)) for part in x.split([5, 1, 6])]
    assert np.array_equal(np.concatenate(parts), whole)


def test_one_unit_of_one_position_of_any_site_makes_another_global_pattern() -> None:
    class Sites(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x[:, :4].reshape(-1, 2, 2)).sum() + torch.relu(x[:, 4:]).sum() + x[:, :1]

    x = -torch.ones(9, 8)
    x[torch.arange(8), torch.arange(8)] = 1
    found = global_keys(observe(Sites(), x))
    assert len(set(found.tolist())) == 9


class Paths(nn.Module):
    """Takes one of two ways, as wide as each other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.first(x) if x.sum() > 0 else self.second(-x)
        return out


def test_the_same_bits_at_another_site_are_another_global_pattern() -> None:
    model, x = Paths(), torch.ones(1, 5)
    first, second = observe(model, x), observe(model, -x)
    assert (first.sites, second.sites) == (("first#0",), ("second#0",))
    assert torch.equal(first.packed["first#0"], second.packed["second#0"])
    assert global_keys(first).tolist() != global_keys(second).tolist()
    x = torch.tensor([[-1.0, -1.0, 0.0]])  # silent everywhere: no factor of any bit takes part
    silent, other = observe(nn.Sequential(nn.Identity(), nn.ReLU()), x), observe(nn.ReLU(), x)
    assert silent.sites != other.sites
    assert global_keys(silent).tolist() != global_keys(other).tolist()


def test_keys_of_samples_at_one_site() -> None:
    model, x = network(), torch.randn(30, 1, 6, 6)
    x[20:] = x[:10]
    observation = observe(model, x)
    for site in observation.sites:
        pattern = observation.pattern[site].reshape(30, -1).to(torch.uint8)
        expected = len({row.numpy().tobytes() for row in pattern})
        assert len(set(sample_keys(observation, site).tolist())) == expected
        pieces = sample_pieces(observation, site)
        assert pieces.dtype == np.uint32
        assert len(np.unique(pieces, axis=0)) == expected
    dense = observation.sites[-1]
    assert np.array_equal(sample_keys(observation, dense), row_keys(observation.packed[dense]))


def test_rows_that_belong_to_no_sample_are_refused() -> None:
    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ torch.relu(self.weight * 1).T)

    observation = observe(Weights(), torch.randn(4, 5))
    assert observation.site["relu#0"].positions == 0
    with pytest.raises(ObservationError, match=r"'relu#0': its rows do not belong to samples"):
        global_keys(observation)
