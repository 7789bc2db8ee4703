"""Tables whose length differs from moment to moment: joined, compacted, archived, read back."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope import netcdf
from reluscope.archive import ArchiveWriter
from reluscope.errors import ObservationError
from reluscope.joining import Increment, compact, join
from reluscope.measurement import measure_states
from reluscope.observation import observe
from reluscope_plugins import patterns
from reluscope_plugins.patterns.counts import pattern_counts
from reluscope_plugins.patterns.similarity import between_moments, pattern_jaccard_last

ABOUT = {"long_name": "table", "units": "1"}
LAB = rs.Lab(plugins=[patterns])


def table(epochs: list[int], rows: list[list[int]], sites: list[str]) -> xr.Dataset:
    """Lay out one ragged row of keys for each epoch, and one value for each epoch and site."""
    keys = np.zeros((len(epochs), max(map(len, rows))), np.uint64)
    for row, values in zip(keys, rows, strict=True):
        row[: len(values)] = values
    bits = np.arange(len(epochs) * len(sites)).reshape(len(epochs), len(sites))
    return xr.Dataset(
        {"key": (("epoch", "pattern"), keys, ABOUT), "bits": (("epoch", "site"), bits, ABOUT)},
        {"epoch": ("epoch", epochs, ABOUT), "site": ("site", np.array(sites, np.str_), ABOUT)},
    )


KEYS = st.integers(0, 2**64 - 1)


@st.composite
def runs(draw: st.DrawFn) -> list[Increment]:
    records = []
    for _ in range(draw(st.integers(1, 8))):
        epochs = draw(st.lists(st.integers(0, 4), min_size=1, max_size=2, unique=True))
        rows = [draw(st.lists(KEYS, max_size=5)) for _ in epochs]
        sites = draw(st.sampled_from([["a"], ["a", "b"], ["b"]]))
        records.append(Increment("/table", {"seed": draw(st.integers(0, 2))}, table(epochs, rows, sites)))
    return records


def cells(records: list[Increment]) -> dict[tuple[int, int], list[int]]:
    """The last row that each point recorded at each epoch."""
    found = {}
    for one in records:
        for place, epoch in enumerate(one.data.epoch.values.tolist()):
            found[int(one.point["seed"]), epoch] = one.data["key"].values[place].tolist()
    return found


@given(runs())
def test_rows_are_the_last_recorded_filled_up_with_zeros(records: list[Increment]) -> None:
    data = join(records)[0]["/table"]
    expected = cells(records)
    assert data["key"].dims == ("seed", "epoch", "pattern")
    assert data["key"].dtype == np.uint64
    assert data.sizes["pattern"] == max(one.data.sizes["pattern"] for one in records)
    for seed, epoch in itertools.product(data.seed.values.tolist(), data.epoch.values.tolist()):
        row = data["key"].sel(seed=seed, epoch=epoch).values.tolist()
        wanted = expected.get((seed, epoch), [])
        assert row == wanted + [0] * (len(row) - len(wanted))


@given(runs(), st.lists(st.integers(0, 8)))
def test_compacting_changes_nothing(records: list[Increment], cuts: list[int]) -> None:
    edges = sorted({0, len(records), *(cut for cut in cuts if cut < len(records))})
    parts = [part for a, b in itertools.pairwise(edges) for part in compact(records[a:b])]
    whole, joined = join(records)[0]["/table"], join(parts)[0]["/table"]
    xr.testing.assert_identical(whole, joined)
    assert [v.dtype for v in whole.variables.values()] == [v.dtype for v in joined.variables.values()]


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_points_does_not_matter(records: list[Increment], shuffle: random.Random) -> None:
    seeds = sorted({int(one.point["seed"]) for one in records})
    shuffle.shuffle(seeds)
    sorted_by_point = [one for seed in seeds for one in records if one.point["seed"] == seed]
    xr.testing.assert_identical(join(records)[0]["/table"], join(sorted_by_point)[0]["/table"])


def test_a_record_of_a_cell_takes_the_place_of_a_longer_one() -> None:
    records = [
        Increment("/t", {}, table([0, 1], [[1, 2, 3], [4, 5, 6]], ["a"])),
        Increment("/t", {}, table([1], [[7]], ["a"])),
    ]
    assert join(records)[0]["/t"]["key"].values.tolist() == [[1, 2, 3], [7, 0, 0]]


def test_growing_tables_become_one_record() -> None:
    records = [Increment("/t", {"seed": 1}, table([epoch], [list(range(epoch))], ["a"])) for epoch in range(6)]
    (one,) = compact(records)
    assert one.data.sizes == {"epoch": 6, "pattern": 5, "site": 1}
    assert one.data["bits"].dtype == np.int64


def test_an_archive_keeps_keys_exactly_where_a_point_has_no_table(tmp_path: Path) -> None:
    keys = [2**64 - 1, 2**63 + 1, 2**53 + 1]
    writer = ArchiveWriter(tmp_path / "run.nc", attrs={})
    with writer:
        for seed in (0, 1, 2):
            outcome = xr.Dataset({"diverged": ((), seed == 1, ABOUT)})
            writer.append("outcome", outcome, {"seed": seed})
            if seed != 1:
                for epoch in (0, 1):
                    writer.append("t", table([epoch], [keys[: 1 + epoch + seed // 2]], ["a"]), {"seed": seed})
                    writer.flush()
        writer.append("t", table([0], [[]], ["a"]), {"seed": 1})
        assert writer.recorded("t", {"seed": 2})["key"].values.tolist() == [[*keys[:2], 0], keys]
        assert not writer.recorded("t", {"seed": 3})
        sofar = rs.open_archive(tmp_path / "run.nc")["t/key"]
        writer.finish()
    found = rs.open_archive(tmp_path / "run.nc", verify=True)["t"]
    assert found["key"].dtype == sofar.dtype == np.uint64
    assert found["key"].sel(seed=2, epoch=1).values.tolist() == keys
    assert found["key"].sel(seed=0, epoch=1).values.tolist() == [*keys[:2], 0]
    assert not found["key"].sel(seed=1).values.any()
    assert np.isnan(found["bits"].sel(seed=1, epoch=1))


def test_reading_back_opens_only_the_parts_that_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    decode = netcdf.decode
    monkeypatch.setattr(netcdf, "decode", lambda path: opened.append(Path(path).name) or decode(path))  # type: ignore[func-returns-value]

    def append(writer: ArchiveWriter, seed: int) -> None:
        for epoch in (0, 1):
            writer.append("t", table([epoch], [[1 + seed, 2**63 + epoch]], ["a"]), {"seed": seed})
            writer.append("other", table([epoch], [[3]], ["a"]), {"seed": seed})
            writer.flush({"seed": seed})

    with ArchiveWriter(tmp_path / "run.nc", attrs={}) as writer:
        for seed in range(3):
            append(writer, seed)
        assert writer.recorded("t", {"seed": 1})["key"].values.tolist() == [[2, 2**63], [2, 2**63 + 1]]
        assert opened == ["part-000002.nc", "part-000003.nc"]
    opened.clear()
    with ArchiveWriter(tmp_path / "run.nc", attrs={}, resume=True) as writer:
        append(writer, 3)
        for _ in range(2):  # what an earlier run wrote must be looked at, once
            assert writer.recorded("t", {"seed": 3})["key"].values.tolist() == [[4, 2**63], [4, 2**63 + 1]]
        assert opened == [*(f"part-{number:06d}.nc" for number in range(8)), "part-000006.nc", "part-000007.nc"]
        opened.clear()
        assert writer.recorded("t", {"seed": 0})["key"].values.tolist() == [[1, 2**63], [1, 2**63 + 1]]
        assert opened == ["part-000000.nc", "part-000001.nc"]


def network(widths: tuple[int, ...], seed: int) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise((3, *widths)):
            layers += [nn.Linear(before, after), nn.ReLU()]
        return nn.Sequential(*layers)


X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))


def dense(model: nn.Module) -> dict[str, Counter[tuple[bool, ...]]]:
    observation = observe(model, X)
    return {site: Counter(map(tuple, observation.pattern[site].tolist())) for site in observation.sites}


def slow_jaccard(one: Counter[Any], other: Counter[Any]) -> float:
    every = set(one) | set(other)
    return sum(min(one[p], other[p]) for p in every) / sum(max(one[p], other[p]) for p in every)


def kept(models: list[nn.Module], point: dict[str, int], **params: Any) -> list[Increment]:
    counter = pattern_counts(**params)
    records = []
    for epoch, model in enumerate(models):
        (state,) = measure_states(model, [X[:30], X[30:]], [pattern_jaccard_last.bind(**params)])
        moment = counter.kept(state["value"]).expand_dims(epoch=[epoch])
        records.append(Increment("/t", point, moment.assign_coords(epoch=("epoch", [epoch], ABOUT))))
    return records


@pytest.mark.parametrize("params", [{}, {"exact": True}, {"seed": 5}], ids=str)
def test_any_two_moments_are_compared_also_of_networks_of_different_depth(params: dict[str, Any]) -> None:
    # the sites of the deeper one stand between those of the other, whose activations have other places then
    models = {
        0: [network((4, 70), seed) for seed in range(3)],
        1: [network((4, 5, 70), seed) for seed in range(3)],
        2: [network((4,), seed) for seed in range(2)],
    }
    for deep in models[1]:
        deep.add_module("last", nn.ReLU())
    records = [record for point, several in models.items() for record in kept(several, {"depth": point}, **params)]  # type: ignore[arg-type]
    random.Random(0).shuffle(records)
    data = join(records)[0]["/t"]
    assert data["pattern_key"].dtype == data["pattern_count"].dtype == np.uint64
    found = between_moments(data, "epoch")
    assert found.dims == ("depth", "epoch", "other_epoch", "site")
    assert found.attrs["units"] == "1"
    for depth, several in models.items():
        counts = [dense(model) for model in several]
        for (first, one), (second, other) in itertools.product(enumerate(counts), repeat=2):
            row = found.sel(depth=depth, epoch=first, other_epoch=second)
            for site in data.site.values.tolist():
                value = float(row.sel(site=site))
                assert value == slow_jaccard(one[site], other[site]) if site in one else np.isnan(value)
    assert np.isnan(found.sel(depth=2, epoch=2)).all()
    assert np.isnan(found.sel(depth=2, other_epoch=2)).all()
    alone = between_moments(
        join([record for record in records if record.point == {"depth": 0}])[0]["/t"].isel(depth=0), "epoch"
    )
    xr.testing.assert_equal(alone, found.sel(depth=0, site=alone.site).drop_vars("depth"))


def test_moments_of_something_else_are_refused() -> None:
    with pytest.raises(ObservationError, match=r"no 'pattern_key', expected a table of pattern counts; pass the group"):
        between_moments(table([0], [[1]], ["a"]), "epoch")
    data = join(kept([network((4,), 0)], {}))[0]["/t"]
    with pytest.raises(ObservationError, match=r"no dim 'step'.*epoch"):
        between_moments(data, "step")


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.sampled_from([3, 70]), st.booleans())
def test_what_is_kept_is_restored(seeds: list[int], width: int, exact: bool) -> None:
    models = [network((width, 4), seed) for seed in seeds]
    data = join(kept(models, {}, exact=exact))[0]["/t"]
    counter = pattern_counts(exact=exact)
    for place, model in enumerate(models):
        restored = counter.finish(counter.restored(data.isel(epoch=place)))
        for site, expected in dense(model).items():
            assert restored[site].samples == len(X)
            assert sorted(restored[site].counts.tolist()) == sorted(expected.values())
