"""Tables of patterns against a dictionary, however rows are split, merged, cut into chunks and kept waiting."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluscope.packing import pack_states
from reluscope_plugins.patterns import table as tables
from reluscope_plugins.patterns.counts import Distribution
from reluscope_plugins.patterns.table import Table, add, chunks, counted, empty, entries, merged, settled, shared

Rows = list[tuple[bool, ...]]


@st.composite
def batches(draw: st.DrawFn, count: int) -> tuple[int, list[Rows]]:
    """Bits of a pattern, and batches of rows that repeat some patterns."""
    bits = draw(
        st.one_of(st.integers(1, 24), st.sampled_from([31, 32, 33, 63, 64, 65, 127, 128, 129]), st.integers(1, 200))
    )
    distinct = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    share = draw(st.sampled_from([0.02, 0.5, 0.98]))
    patterns = [tuple(row) for row in (generator.random((distinct, bits)) < share).tolist()]
    sizes = draw(st.lists(st.integers(0, 80), min_size=count, max_size=count))
    return bits, [[patterns[i] for i in generator.integers(distinct, size=size)] for size in sizes]


@contextmanager
def small(chunk: int, few: int, waiting: float) -> Iterator[None]:
    """Chunks of few entries, and few that wait."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK", chunk)
        patch.setattr(tables, "_FEW", few)
        patch.setattr(tables, "WAITING", waiting)
        yield


sizes = st.builds(small, st.integers(1, 20), st.integers(0, 40), st.sampled_from([0.0, 0.2, 2.0]))


def packed(rows: Rows, bits: int) -> torch.Tensor:
    states = torch.tensor(rows, dtype=torch.bool).reshape(len(rows), bits)
    return pack_states(states, 1, bits=1)


def count(rows: Rows, bits: int, exact: bool = False) -> Table:
    return counted(packed(rows, bits), bits, exact=exact)


def whole(pattern: tuple[bool, ...]) -> tuple[int, ...]:
    """A pattern as the 64-bit words that an exact table holds."""
    number = sum(1 << place for place, active in enumerate(pattern) if active)
    return tuple(number >> shift & (2**64 - 1) for shift in range(0, len(pattern), 64))


def words_of(words: npt.NDArray[np.uint64]) -> list[Any]:
    return [tuple(row) for row in words.tolist()] if words.ndim == 2 else words.tolist()


def check(table: Table, rows: Rows, bits: int, exact: bool) -> None:
    """The table says what a dictionary of tuples says."""
    reference = Counter(rows)
    words, counts = entries(table)
    assert table["rows"] == len(rows) == counts.sum()
    found = words_of(words)
    assert found == sorted(set(found))
    if exact and bits > 64:
        assert dict(zip(found, counts.tolist(), strict=True)) == {whole(row): n for row, n in reference.items()}
    elif bits <= 64:
        assert dict(zip(found, counts.tolist(), strict=True)) == {whole(row)[0]: n for row, n in reference.items()}
    else:  # keys are in another order; which pattern each is of is asked of each pattern alone
        keys = {entries(count([row], bits))[0].tolist()[0]: n for row, n in reference.items()}
        assert dict(zip(found, counts.tolist(), strict=True)) == keys
    parts = list(chunks(table))
    assert [word for part, _ in parts for word in words_of(part)] == found
    assert [n for _, part in parts for n in part.tolist()] == counts.tolist()
    distribution = Distribution(table)
    assert distribution.counts.tolist() == counts.tolist()
    assert distribution.distinct == len(reference)
    seen = Counter(reference.values())
    assert distribution.multiplicities.count.tolist() == sorted(seen)
    assert distribution.multiplicities.patterns.tolist() == [seen[n] for n in sorted(seen)]


def frozen(*parts: Table) -> None:
    """From now on writing into any chunk raises."""
    for table in parts:
        for name in ("words", "counts", "new_words", "new_counts"):
            for chunk in table[name]:
                chunk.flags.writeable = False


@given(data=batches(count=6), small=sizes, exact=st.booleans())
def test_a_stream_is_counted_as_a_dictionary_counts_it(data: Any, small: Any, exact: bool) -> None:
    bits, parts = data
    with small:
        table, seen = empty(bits, exact=exact), []
        for rows in parts:
            add(table, count(rows, bits, exact))
            seen += rows
            check(table, seen, bits, exact)
        check(settled(table), seen, bits, exact)


@given(data=batches(count=3), small=sizes, exact=st.booleans())
def test_merging_is_commutative_and_associative_and_has_an_identity(data: Any, small: Any, exact: bool) -> None:
    bits, (a, b, c) = data
    with small:
        first, second, third = (count(rows, bits, exact) for rows in (a, b, c))
        frozen(first, second, third)
        kept = copy.deepcopy((first, second, third))
        ways = [
            merged(merged(first, second), third),
            merged(first, merged(second, third)),
            merged(third, merged(second, first)),
            merged(merged(merged(empty(bits, exact=exact), second), merged(third, empty(bits, exact=exact))), first),
        ]
        for way in ways:
            frozen(way)
        # a merge of merges, whose chunks are shared, and its like in place
        twice = merged(ways[0], ways[1])
        add(ways[2], ways[3])
        for table in (twice, ways[2]):
            check(table, 2 * (a + b + c), bits, exact)
        for table in (ways[0], ways[1], ways[3]):
            check(table, a + b + c, bits, exact)
        np.testing.assert_equal((first, second, third), kept)


@given(data=batches(count=5), small=sizes, exact=st.booleans())
def test_adding_in_place_is_merging(data: Any, small: Any, exact: bool) -> None:
    bits, parts = data
    with small:
        in_place, merging = empty(bits, exact=exact), empty(bits, exact=exact)
        for rows in parts:
            one = count(rows, bits, exact)
            frozen(one, merging)
            add(in_place, one)
            merging = merged(merging, one)
            np.testing.assert_equal(entries(in_place), entries(merging))
            assert in_place["rows"] == merging["rows"]
        snapshot = copy.deepcopy(merging)
        settled(merging)
        entries(merging)
        list(chunks(merging))
        np.testing.assert_equal(merging, snapshot)


@given(data=batches(count=4), small=sizes)
def test_whole_patterns_and_hashes_agree(data: Any, small: Any) -> None:
    bits, (a, b, c, d) = data
    with small:
        found = {}
        for exact in (False, True):
            first, second = (merged(count(x, bits, exact), count(y, bits, exact)) for x, y in ((a, b), (c, d)))
            distributions = Distribution(first), Distribution(merged(first, second))
            least = np.minimum(*shared(first, second))
            found[exact] = [
                *((one.distinct, one.multiplicities.count.tolist()) for one in distributions),
                sorted(least.tolist()),
            ]
    assert found[True] == found[False]


@given(data=batches(count=2), small=sizes, exact=st.booleans())
def test_what_two_tables_share(data: Any, small: Any, exact: bool) -> None:
    bits, (a, b) = data
    with small:
        first, second = count(a, bits, exact), count(b, bits, exact)
        one, other = shared(first, second)
        here, there = Counter(a), Counter(b)
        common = here.keys() & there.keys()
        pairs = sorted(zip(one.tolist(), other.tolist(), strict=True))
        assert pairs == sorted((here[row], there[row]) for row in common)
        assert [sorted(part.tolist()) for part in shared(second, first)] == [sorted(x.tolist()) for x in (other, one)]


@given(data=batches(count=3), small=sizes)
def test_a_weak_hash_does_not_matter_where_patterns_are_kept_whole(data: Any, small: Any) -> None:
    bits, parts = data
    with small, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "row_keys", lambda rows, seed=0: np.asarray(rows)[:, 0].astype(np.uint64) & np.uint64(1))
        table, seen = empty(max(bits, 65), exact=True), []
        for rows in parts:
            padded = [(*row, *(False for _ in range(65 - bits))) for row in rows]
            add(table, count(padded, max(bits, 65), exact=True))
            seen += padded
        assert dict(zip(words_of(entries(table)[0]), entries(table)[1].tolist(), strict=True)) == {
            whole(row): n for row, n in Counter(seen).items()
        }
        weak = count(seen, max(bits, 65), exact=False)
        assert len(entries(weak)[0]) <= 2


@given(
    parts=st.lists(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 2**34)), max_size=20), min_size=1, max_size=6),
    small=sizes,
)
def test_counts_beyond_32_bits(parts: list[list[tuple[int, int]]], small: Any) -> None:
    def of(pairs: list[tuple[int, int]]) -> Table:
        totals: Counter[int] = Counter()
        for word, number in pairs:
            totals[word] += number
        table = empty(40)
        if totals:
            ordered = sorted(totals)
            numbers = [totals[word] for word in ordered]
            dtype = np.uint32 if sum(numbers) < 2**32 else np.uint64
            table["words"], table["counts"] = [np.array(ordered, np.uint64)], [np.array(numbers, dtype)]
            table["rows"] = sum(numbers)
        return table

    with small:
        reference: Counter[int] = Counter()
        table, merging = empty(40), empty(40)
        for pairs in parts:
            for word, number in pairs:
                reference[word] += number
            add(table, of(pairs))
            merging = merged(of(pairs), merging)
        for found in (table, merging):
            words, counts = entries(found)
            assert dict(zip(words.tolist(), counts.tolist(), strict=True)) == dict(reference)
            assert found["rows"] == reference.total()
            if reference:
                assert Distribution(found).multiplicities.count[-1] == max(reference.values())
