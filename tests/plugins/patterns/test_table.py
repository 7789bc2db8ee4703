"""Tables of patterns: their form, their memory, what they refuse. That they count right: tests/properties."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from reluscope.errors import ObservationError
from reluscope.packing import pack_states, row_bytes
from reluscope_plugins.patterns import table as tables
from reluscope_plugins.patterns.counts import Distribution
from reluscope_plugins.patterns.table import (
    Table,
    add,
    chunks,
    counted,
    empty,
    entries,
    merged,
    of_words,
    settled,
    shared,
)

BYTES = 24
"""Memory for each distinct pattern, beside one batch."""


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def numbered(start: int, count: int, bits: int = 64) -> torch.Tensor:
    """Distinct patterns in no order: a product with an odd number has an inverse modulo 2^64."""
    words = np.zeros((count, bits // 64), np.uint64)
    words[:, 0] = np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return torch.from_numpy(words.view(np.uint8))


def held(table: Table) -> int:
    """Bytes of all that a table holds."""
    return sum(
        array.nbytes for name in ("words", "counts", "new_words", "new_counts", "unsorted") for array in table[name]
    )


# Form


def test_a_table_of_nothing() -> None:
    for bits, exact, shape in ((3, False, (0,)), (65, False, (0,)), (65, True, (0, 2)), (64, True, (0,))):
        table = empty(bits, exact=exact)
        words, counts = entries(table)
        assert (words.shape, counts.shape, table["rows"]) == (shape, (0,), 0)
        assert list(chunks(table)) == []
        none = counted(torch.zeros(0, 16 if bits > 64 else 1, dtype=torch.uint8), bits, exact=exact)
        np.testing.assert_equal(none, table)
        np.testing.assert_equal(merged(none, table), table)
        assert [part.tolist() for part in shared(none, table)] == [[], []]
        found = Distribution(table)
        assert (found.samples, found.counts.tolist(), found.distinct) == (0, [], 0)


def test_words_are_in_order_and_chunks_of_limited_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 16)
    monkeypatch.setattr(tables, "_FEW", 8)
    generator = np.random.default_rng(0)
    table, seen = empty(40), Counter[int]()
    for size in (1, 300, 7, 7, 7, 7, 90, 90, 2, 500):
        words = generator.integers(0, 700, size=size, dtype=np.uint64) << np.uint64(20)
        add(table, of_words(words, 40))
        seen.update(words.tolist())
        assert all(len(chunk) < 2 * 16 for chunk in table["words"])
        assert [len(chunk) for chunk in table["words"]] == [len(chunk) for chunk in table["counts"]]
        together = np.concatenate([*table["words"], np.zeros(0, np.uint64)])
        assert (together[1:] > together[:-1]).all()
        waiting, settled_entries = (sum(map(len, table[name])) for name in ("new_counts", "counts"))
        assert waiting <= max(8, min(16, settled_entries), tables.WAITING * settled_entries)
        assert [(int(w), int(n)) for part in chunks(table) for w, n in zip(*part, strict=True)] == sorted(seen.items())
    assert len(table["words"]) > 10


def test_chunks_are_not_views_of_longer_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    # a view would keep all of the array in memory, also what was replaced
    monkeypatch.setattr(tables, "CHUNK", 16)
    monkeypatch.setattr(tables, "_FEW", 8)
    one_batch = counted(numbered(0, 1000), 64)
    several = empty(64)
    for start in range(0, 3000, 10):
        add(several, counted(numbered(start, 10), 64))
    for table in (one_batch, several, settled(several), merged(one_batch, several)):
        assert len(table["words"]) > 10
        for chunk in (*table["words"], *table["counts"]):
            assert chunk.base is None


def test_few_possible_patterns_are_counted_in_places() -> None:
    rows = torch.rand(20_000, 8) < 0.5
    table = empty(8)
    for part in rows.split(700):
        add(table, counted(pack_states(part, 1, bits=1), 8))
    add(table, copy.deepcopy(table))
    expected = sorted(Counter(sum(1 << i for i, on in enumerate(row) if on) for row in rows.tolist()).items())
    for found in (table, settled(table), merged(table, empty(8)), merged(empty(8), table)):
        words, counts = entries(found)
        assert list(zip(words.tolist(), counts.tolist(), strict=True)) == [(word, 2 * n) for word, n in expected]
    assert held(settled(table)) <= 12 * len(expected)
    # but not where this takes more memory than listing them
    few = empty(16)
    for start in range(0, 20_000, 100):
        add(few, of_words(np.arange(start, start + 100, dtype=np.uint16) * np.uint16(7) % np.uint16(2500), 16))
    assert len(entries(few)[0]) == 2500
    assert held(settled(few)) <= 12 * 2500


def test_counts_take_four_bytes_until_they_need_eight() -> None:
    table = counted(numbered(0, 10), 64)
    assert entries(table)[1].dtype == np.uint32
    great = of_words(np.arange(3, dtype=np.uint64), 64)
    great["counts"], great["rows"] = [np.array([2**32 - 2, 1, 5], np.uint32)], 2**32 + 4
    found = entries(merged(great, great))
    assert found[1].tolist() == [2**33 - 4, 2, 10]
    assert found[1].dtype == np.uint64
    one = of_words(np.zeros(1, np.uint64), 64)
    few = copy.deepcopy(great)
    few["counts"], few["rows"] = [np.array([2**32 - 1, 1, 5], np.uint32)], 2**32 + 5
    add(few, one)
    assert entries(few)[1].tolist() == [2**32, 1, 5]


def test_chunks_that_two_tables_share_are_never_written() -> None:
    first = counted(numbered(0, 50_000), 64)
    second = merged(first, empty(64))
    before = copy.deepcopy(first)
    for start in range(0, 100_000, 20_000):
        add(second, counted(numbered(start, 20_000), 64))
    np.testing.assert_equal(first, before)
    assert len(entries(second)[0]) == 100_000
    assert entries(second)[1].sum() == 150_000


def test_a_table_is_plain_data() -> None:
    table = merged(counted(numbered(0, 5000), 64), counted(numbered(2500, 5000), 64))
    np.testing.assert_equal(pickle.loads(pickle.dumps(table)), table)
    text = json.dumps({name: [part.tolist() for part in v] if isinstance(v, list) else v for name, v in table.items()})
    read: Table = json.loads(text)
    for name, dtype in (
        ("words", np.uint64),
        ("new_words", np.uint64),
        ("counts", np.uint32),
        ("new_counts", np.uint32),
    ):
        read[name] = [np.array(part, dtype) for part in read[name]]
    np.testing.assert_equal(entries(read), entries(table))


# What they refuse


@pytest.mark.parametrize(
    ("name", "other"),
    [("bits", empty(66)), ("seed", empty(65, seed=1)), ("exact", empty(65, exact=True))],
)
def test_counts_of_another_kind_are_refused(name: str, other: Table) -> None:
    table = counted(numbered(0, 4, bits=128), 65)
    before = copy.deepcopy(table)
    with pytest.raises(ObservationError, match=f"pattern tables differ in {name}: .*count both with the same network"):
        merged(table, other)
    with pytest.raises(ObservationError, match=f"pattern tables differ in {name}"):
        add(table, other)
    with pytest.raises(ObservationError, match=f"pattern tables differ in {name}: .*compare moments of one network"):
        shared(table, other)
    np.testing.assert_equal(table, before)


# Memory


def peaks(distinct: int, batch: int, bits: int) -> tuple[float, float]:
    """Bytes for each distinct pattern beside one batch, at the most: while counting, and with the metrics finished."""
    tracemalloc.start()
    try:
        counted(numbered(0, batch, bits), bits)
        one_batch = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        table = empty(bits)
        for start in range(0, distinct, batch):
            add(table, counted(numbered(start, batch, bits), bits))
        counting = tracemalloc.get_traced_memory()[1]
        found = Distribution(table)
        assert found.distinct == distinct
        assert found.multiplicities.count.tolist() == [1]
        finished = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return (counting - one_batch) / distinct, (finished - one_batch) / distinct


@pytest.mark.parametrize(("batch", "bits"), [(50_000, 64), (100_000, 128), (1_000_000, 64)])
def test_memory_of_two_million_patterns(batch: int, bits: int) -> None:
    counting, finished = peaks(2_000_000, batch, bits)
    assert counting <= BYTES
    assert finished <= BYTES


def test_comparing_two_tables_takes_no_third() -> None:
    def million(start: int) -> Table:
        table = empty(64)
        for first in range(start, start + 10**6, 50_000):
            add(table, counted(numbered(first, 50_000), 64))
        return table

    tracemalloc.start()
    try:
        before, now = million(0), million(500_000)
        tracemalloc.reset_peak()
        one, other = shared(now, before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert one.sum() == other.sum() == len(one) == 500_000
    assert peak <= BYTES * 2 * 10**6


@pytest.mark.parametrize("distinct", [1, 300, 10_000, 200_000])
def test_what_waits_takes_no_more_memory_than_what_was_merged(distinct: int) -> None:
    # few patterns that come again and again; a table for each site and class may be held
    table, batch = empty(64), numbered(0, distinct)
    few = 50_000
    for start in range(0, 300_000 if distinct < 20_000 else 10**6, 1000):
        place = torch.arange(start, start + 1000) * 7919 % distinct
        add(table, counted(batch[place], 64))
        if start % 50_000 == 0:
            assert held(table) <= BYTES * len(entries(table)[0]) + few
    assert len(entries(table)[0]) == distinct


SCALE = """
import json, resource, sys, tracemalloc
import numpy as np, torch
from reluscope_plugins.patterns.counts import Distribution
from reluscope_plugins.patterns.table import add, counted, empty

def numbered(start, count):
    words = np.arange(start, start + count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return torch.from_numpy(words.view(np.uint8).reshape(count, 8))

distinct, batch, trace = 20_000_000, 250_000, sys.argv[1] == "trace"
if trace:
    tracemalloc.start()
counted(numbered(0, batch), 64)
most = lambda: (
    tracemalloc.get_traced_memory()[1] if trace else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
)
one_batch = most()
table = empty(64)
for start in range(0, distinct, batch):
    add(table, counted(numbered(start, batch), 64))
found = Distribution(table)
print(json.dumps([found.distinct, found.samples, most() - one_batch]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["trace", "resident"])
def test_twenty_million_patterns_under_one_gibibyte(measure: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCALE, measure], capture_output=True, text=True, check=True, env=environment
    )
    distinct, samples, memory = json.loads(done.stdout)
    assert (distinct, samples) == (20_000_000, 20_000_000)
    assert memory < 2**30
    assert memory <= BYTES * distinct


@pytest.mark.parametrize("bits", [3, 16, 30, 64, 130])
@pytest.mark.parametrize("exact", [False, True])
def test_batches_that_wait_unsorted_are_counted(bits: int, exact: bool) -> None:
    random = np.random.default_rng(bits)
    kinds = random.integers(0, 256, size=(40, row_bytes(bits)), dtype=np.uint8)
    kinds[:, -(-bits // 8) :] = 0
    if bits % 8:
        kinds[:, bits // 8] &= 2 ** (bits % 8) - 1
    found, seen = tables.empty(bits, exact=exact), Counter[bytes]()
    for number in range(3 * tables.BATCHES):
        rows = kinds[random.integers(len(kinds), size=number % 5 * 7)]
        packed = torch.from_numpy(rows.copy())
        tables.count(found, packed)
        packed.zero_()  # it is the caller's
        seen.update(map(bytes, rows))
        before = copy.deepcopy(found)
        assert sorted(tables.entries(found)[1].tolist()) == sorted(seen.values())
        assert sum(len(words) for words, _ in tables.chunks(found)) == len(seen)
        both = tables.merged(found, tables.counted(torch.from_numpy(kinds.copy()), bits, exact=exact))
        assert both["rows"] == found["rows"] + len(kinds)
        assert int(tables.entries(both)[1].sum()) == both["rows"]
        for name, value in before.items():  # reading changed nothing
            if isinstance(value, list):
                assert len(value) == len(found[name])
                assert all(map(np.array_equal, value, found[name]))
