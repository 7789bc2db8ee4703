"""Successive moments: each compared with the right one, by whatever way the run went."""

from __future__ import annotations

import itertools
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
from reluscope.entries import Metric
from reluscope.errors import ObservationError, PluginError
from reluscope.joining import Increment, join
from reluscope.observation import Observation, observe
from reluscope.parts import PartsFolder, check_plain
from reluscope.series import Series, _arrays, _tensors
from reluscope_plugins import patterns, performance

LAB = rs.Lab(plugins=[patterns, performance])
JACCARD = ["pattern_jaccard_first", "pattern_jaccard_previous", "pattern_jaccard_last"]
X = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
DATA = [X[:20], X[20:]]
ABOUT = {"long_name": "optimizer steps taken", "units": "1"}


def moments(count: int = 4) -> list[nn.Sequential]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 70), nn.ReLU())
        found = []
        for _ in range(count):
            found.append(model)
            model = nn.Sequential(
                *(type(m)(m.in_features, m.out_features) if isinstance(m, nn.Linear) else m for m in model)
            )
            for new, old in zip(model.parameters(), found[-1].parameters(), strict=True):
                new.data = old.data + 0.1 * torch.randn_like(old)
        return found


def counts(model: nn.Module) -> dict[str, Counter[Any]]:
    observation = observe(model, X)
    return {site: Counter(map(tuple, observation.pattern[site].tolist())) for site in observation.sites}


def jaccard(one: Counter[Any], other: Counter[Any]) -> float:
    every = set(one) | set(other)
    return sum(min(one[p], other[p]) for p in every) / sum(max(one[p], other[p]) for p in every)


def reference(models: list[nn.Sequential]) -> dict[str, list[list[float]]]:
    """Each moment against the first, the one before and the last, by dictionaries."""
    found = list(map(counts, models))
    others = {
        "pattern_jaccard_first": [found[0]] * len(found),
        "pattern_jaccard_previous": [found[0], *found[:-1]],
        "pattern_jaccard_last": [found[-1]] * len(found),
    }
    return {
        name: [[jaccard(now[site], then[site]) for site in now] for now, then in zip(found, several, strict=True)]
        for name, several in others.items()
    }


def metrics(*names: str) -> list[Metric]:
    return [LAB.metrics[name] for name in names]


def dated(data: xr.Dataset, step: int) -> xr.Dataset:
    return data.expand_dims(step=[step]).assign_coords(step=("step", [step], ABOUT))


def record(series: Series, models: list[nn.Sequential], start: int = 0) -> list[Increment]:
    records = []
    for step, model in enumerate(models, start):
        data, kept = series.measure(model, DATA)
        records.append(Increment("/now", {}, dated(data, step)))
        records += [Increment(f"/{name}", {}, dated(table, step)) for name, table in kept.items()]
    return records


def joined(series: Series, records: list[Increment]) -> xr.Dataset:
    groups = join(records)[0]
    compared = series.compared_with_last({name: groups[f"/{name}"] for name in series.keeps}, "step")
    return groups["/now"].assign(compared.data_vars)


@pytest.mark.parametrize("params", [{}, {"exact": True}, {"seed": 9}], ids=str)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_each_moment_is_compared_with_the_right_one(count: int, params: dict[str, Any]) -> None:
    models = moments(count)
    series = Series([metric.bind(**params) for metric in metrics(*JACCARD)], lab=LAB)
    found = joined(series, record(series, models))
    for name, expected in reference(models).items():
        np.testing.assert_array_equal(found[name].transpose("step", "site"), expected, err_msg=name)
    assert series.keeps == ["pattern_counts"]


def test_changes_are_those_since_the_moment_before() -> None:
    models = moments()
    series = Series(metrics("pattern_changes", "pattern_turnover"), lab=LAB)
    found = joined(series, record(series, models))
    every = list(map(counts, models))
    for step, site in itertools.product(range(4), every[0]):
        now, before = set(every[step][site]), set(every[max(0, step - 1)][site])
        at = found.sel(step=step, site=site)
        assert float(at.pattern_changes) == len(now) / len(before) - 1
        assert float(at.pattern_turnover) == 1 - len(now & before) / len(now | before)


@pytest.mark.parametrize("stop", [0, 1, 2, 3])
def test_a_series_taken_up_in_the_middle_gives_the_same(stop: int, tmp_path: Path) -> None:
    models = moments()
    names = [*JACCARD, "pattern_changes", "global_pattern_entropy", "pattern_entropy"]
    whole = Series(metrics(*names), lab=LAB)
    expected = joined(whole, record(whole, models))
    first = Series(metrics(*names), lab=LAB)
    records = record(first, models[:stop])
    state = first.state()
    check_plain(state)
    folder = PartsFolder(tmp_path)
    folder.write_checkpoint({"series": state}, 0)  # as a run does: torch.save, and loaded without unpickling
    kept = folder.read_checkpoint()
    assert kept is not None
    second = Series(metrics(*names), lab=LAB)
    second.load(kept[0]["series"])
    xr.testing.assert_identical(joined(second, records + record(second, models[stop:], stop)), expected)


def test_a_state_is_of_its_own() -> None:
    models = moments(2)
    series = Series(metrics("pattern_jaccard_first"), lab=LAB)
    record(series, models[:1])
    state = series.state()
    before = torch.cat([words for site in _words(state) for words in site]).clone()
    record(series, models[1:])
    assert torch.equal(torch.cat([words for site in _words(state) for words in site]), before)


def _words(state: dict[str, Any]) -> list[Any]:
    (first,) = state["first"].values()
    return [table["words"] for table in first["value"].values()]


PLAIN = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64),
        st.floats(allow_nan=False),
        st.text(max_size=3),
        st.sampled_from(["uint64", "int8", "float32", "bool", "uint16", "complex64", "float16"]).map(
            lambda dtype: np.arange(6).reshape(2, 3).astype(dtype)[:, ::-1]
        ),
        st.just(np.array([2**64 - 1], np.uint64)),
        st.just(np.array(["a", "longer"])),
        st.just(np.array(3.5)),
        st.just(np.zeros((0, 2), np.uint8)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from(["text", "dict", "value", ""]), inner, max_size=2),
    ),
    max_leaves=6,
)


@given(PLAIN)
def test_any_plain_state_survives_a_checkpoint(state: Any) -> None:
    coded = _tensors(state)
    check_plain(coded)
    found = _arrays(coded)
    same(found, state)


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert type(found) is type(expected)
        assert found == expected


def test_numbers_of_numpy_become_plain() -> None:
    assert _tensors({"a": np.uint64(2**64 - 1), "b": np.str_("x"), "c": np.bool_(True)}) == {
        "a": 2**64 - 1,
        "b": "x",
        "c": True,
    }


@pytest.mark.parametrize("name", ["pattern_jaccard_first", "pattern_jaccard_previous", "pattern_jaccard_last"])
@pytest.mark.parametrize(
    "changed",
    [
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 71), nn.ReLU()),
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 70), nn.GELU()),
        nn.Sequential(nn.Linear(3, 6), nn.ReLU()),
        nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 70), nn.ReLU(), nn.ReLU()),
    ],
    ids=["wider", "other activation", "site gone", "site more"],
)
def test_another_network_is_refused(name: str, changed: nn.Module) -> None:
    series = Series(metrics(name), lab=LAB)
    record(series, moments(2))
    with pytest.raises(ObservationError, match=rf"metric '{name}': site '\d#0' was .* expected the same network"):
        series.measure(changed, DATA)


def test_whoever_compares_nothing_may_change_the_network() -> None:
    series = Series(metrics("pattern_entropy"), lab=LAB)
    record(series, moments(1))
    data, _ = series.measure(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), DATA)
    assert data.sizes["site"] == 1


class Unkept:
    def measure(self, observation: Observation) -> int:
        return observation.samples

    def merge(self, first: int, second: int) -> int:
        return first + second

    def finish(self, state: int) -> int:
        return state


class Kept(Unkept):
    def __init__(self, *, of: int = 1) -> None:
        self.of = of

    def kept(self, state: int) -> xr.Dataset:
        return xr.Dataset({"total": ((), state, ABOUT)})

    def restored(self, data: xr.Dataset) -> int:
        return int(data["total"])


def last(name: str, counted: type, function: Any = lambda found, end: found / end) -> Metric:
    return Metric(name=name, summary="Made", definition=function, of=counted, compared_with="last")


def test_what_cannot_be_kept_is_refused_at_once() -> None:
    half = type("Half", (Kept,), {"restored": None})
    with pytest.raises(PluginError, match="'lost' compares with the last moment, but Unkept has no method 'kept'"):
        Series([last("lost", Unkept)])
    with pytest.raises(PluginError, match="Half has no method 'restored'"):
        Series([last("lost", half)])
    with pytest.raises(PluginError, match="Unkept has no method 'kept'"):
        rs.Watch(moments(1)[0], [last("lost", Unkept)], DATA, lab=LAB)


def test_two_tables_of_one_name_are_refused() -> None:
    Series([last("one", Kept), last("two", Kept), last("three", Kept).bind(of=1)])
    with pytest.raises(PluginError, match=r"'one' and 'two' compare .* tables of one name, 'Kept'"):
        Series([last("one", Kept), last("two", Kept).bind(of=2)])
    namesake = type("Kept", (Kept,), {"__module__": "elsewhere"})
    with pytest.raises(PluginError, match="tables of one name"):
        Series([last("one", Kept), last("two", namesake)])


def test_a_keeper_that_fails_is_named() -> None:
    wrong = type("Wrong", (Kept,), {"kept": lambda self, state: 3})
    broken = type("Broken", (Kept,), {"kept": lambda self, state: 1 / 0})
    unread = type("Unread", (Kept,), {"restored": lambda self, data: data["nothing"]})
    with pytest.raises(PluginError, match=r"metric 'one': kept gave int, expected an xarray\.Dataset"):
        Series([last("one", wrong)]).measure(moments(1)[0], DATA)
    with pytest.raises(PluginError, match="metric 'one': kept raised ZeroDivisionError"):
        Series([last("one", broken)]).measure(moments(1)[0], DATA)
    series = Series([last("one", unread)])
    records = record(series, moments(1))
    with pytest.raises(PluginError, match="metric 'one': restored raised KeyError"):
        joined(series, records)


def test_namesakes_do_not_get_one_anothers_reference() -> None:
    double = type("Kept", (Kept,), {"__module__": "elsewhere", "measure": lambda self, o: 2 * o.samples})
    several = [
        Metric(name=name, summary="Made", definition=lambda a, b: a - b, of=counted, compared_with="previous")
        for name, counted in (("one", Kept), ("two", double))
    ]
    series = Series(several)
    model = moments(1)[0]
    series.measure(model, DATA)
    data, _ = series.measure(model, [*DATA, X[:3]])
    assert (int(data.one), int(data.two)) == (3, 6)


def test_only_what_waits_is_measured() -> None:
    series = Series(metrics("pattern_jaccard_last"), lab=LAB)
    data, kept = series.measure(moments(1)[0], DATA)
    assert not data.data_vars
    assert data.attrs == {"samples": 50}
    assert list(kept) == ["pattern_counts"]
    compared = series.compared_with_last({"pattern_counts": dated(kept["pattern_counts"], 0)}, "step")
    assert compared.pattern_jaccard_last.values.tolist() == [[1.0, 1.0]]
    assert compared.activation.values.tolist() == ["relu", "relu"]


def test_two_moments_are_in_memory_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import weakref

    from reluscope_plugins.patterns import counts as module

    alive: list[weakref.ref[Any]] = []
    most: list[int] = []
    original = module.Distribution

    class Seen(original):  # type: ignore[misc, valid-type]
        def __init__(self, table: Any) -> None:
            super().__init__(table)
            alive.append(weakref.ref(self))
            most.append(sum(ref() is not None for ref in alive))

    series = Series(metrics("pattern_jaccard_last"), lab=LAB)
    records = record(series, moments(6))
    monkeypatch.setattr(module, "Distribution", Seen)
    joined(series, records)
    assert len(alive) > 10
    assert max(most) <= 4  # two sites of two moments


def test_an_empty_pass_is_an_error() -> None:
    with pytest.raises(ObservationError, match="gave no batch"):
        Series(metrics("pattern_jaccard_first")).measure(moments(1)[0], [])
