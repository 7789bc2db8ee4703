"""How two moments differ, against dictionaries of tuples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from reluscope.entries import Metric
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.series import Series
from reluscope_plugins.patterns import similarity
from reluscope_plugins.patterns.counts import pattern_counts

Seen = Counter[tuple[int, ...]]
METRICS = (
    similarity.pattern_changes,
    similarity.pattern_turnover,
    similarity.pattern_jaccard_first,
    similarity.pattern_jaccard_previous,
    similarity.pattern_jaccard_last,
)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def counters(model: nn.Module, batches: list[Tensor]) -> dict[str, Seen]:
    found: dict[str, Seen] = {}
    for x in batches:
        observation = observe(model, x)
        for site in observation.sites:
            rows = observation.pattern[site].tolist()
            found.setdefault(site, Counter()).update(tuple(map(int, row)) for row in rows)
    return found


def changes(now: Seen, before: Seen) -> float:
    return (len(now) - len(before)) / len(before)


def turnover(now: Seen, before: Seen) -> float:
    return len(now.keys() ^ before.keys()) / len(now.keys() | before.keys())


def jaccard(now: Seen, other: Seen) -> float:
    patterns = now.keys() | other.keys()
    return sum(min(now[p], other[p]) for p in patterns) / sum(max(now[p], other[p]) for p in patterns)


REFERENCES: dict[str, tuple[Callable[[Seen, Seen], float], Callable[[int, int], int]]] = {
    "pattern_changes": (changes, lambda moment, last: max(moment - 1, 0)),
    "pattern_turnover": (turnover, lambda moment, last: max(moment - 1, 0)),
    "pattern_jaccard_first": (jaccard, lambda moment, last: 0),
    "pattern_jaccard_previous": (jaccard, lambda moment, last: max(moment - 1, 0)),
    "pattern_jaccard_last": (jaccard, lambda moment, last: last),
}
"""Name to a reference, and to the moment that it compares a moment with."""


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 70), nn.LeakyReLU(), nn.Linear(70, 1))


def three_states() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 6), nn.Hardtanh(-0.5, 0.5), nn.Linear(6, 40), nn.Softshrink(0.1), nn.Linear(40, 3)
    )


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 67, 2), nn.ReLU6())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (2,)),
    "three_states": (three_states, (2,)),
    "convolution": (convolution, (1, 8, 8)),
}


def moved(model: nn.Module) -> None:
    """A step of training, as far as patterns can tell."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.03)


def finished(metric: Metric, states: list[Any], references: list[Any]) -> list[xr.DataArray]:
    return [metric.finish(state, reference) for state, reference in zip(states, references, strict=True)]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_dictionary(network: str, exact: bool) -> None:
    build, shape = NETWORKS[network]
    model, batches = build(), list(torch.randn(80, *shape).split([50, 30]))
    metrics = [metric.bind(exact=exact) for metric in METRICS]
    series, seen, rows, tables = Series(metrics), [], [], []
    for moment in range(4):
        if moment:
            moved(model)
        seen.append(counters(model, batches))
        dataset, kept = series.measure(model, batches)
        rows.append(dataset)
        tables.append(kept["pattern_counts"])
    longest = max(table.sizes["pattern"] for table in tables)
    filled = [table.pad(pattern=(0, longest - table.sizes["pattern"]), constant_values=0) for table in tables]
    joined = xr.concat(filled, dim=xr.DataArray(range(4), dims="epoch", name="epoch"))
    last = series.compared_with_last({"pattern_counts": joined}, "epoch")
    partly = 0
    for name, (reference, other) in REFERENCES.items():
        for moment in range(4):
            found = last[name].isel(epoch=moment) if name == "pattern_jaccard_last" else rows[moment][name]
            assert found.dims == ("site",)
            for site, now in seen[moment].items():
                expected = reference(now, seen[other(moment, 3)][site])
                assert float(found.sel(site=site)) == pytest.approx(expected, rel=1e-15, abs=1e-15)
                partly += 0 < expected < 1
    assert partly >= 9, "the case is too easy"
    # with itself
    assert (last.pattern_jaccard_last.isel(epoch=3) == 1).all()
    assert (rows[0].pattern_jaccard_first == 1).all()
    assert (rows[0].pattern_changes == 0).all()
    assert (rows[0].pattern_turnover == 0).all()


def states(model: nn.Module, x: Tensor, **params: Any) -> Any:
    return similarity.pattern_turnover.bind(**params).measure(observe(model, x))


def test_extremes() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)
    half, other, one = corners[:8], corners[8:], corners[:1]
    table = {
        "same": (half, half, 0.0, 0.0, 1.0),
        "disjoint": (half, other, 0.0, 1.0, 0.0),
        "grown": (corners, half, 1.0, 0.5, 0.5),
        "shrunk": (one, corners, 1 / 16 - 1, 15 / 16, 1 / 16),
        "one sample each": (one, other[:1], 0.0, 1.0, 0.0),
        "weights count": (one.expand(9, 4), one, 0.0, 0.0, 1 / 9),
        "twice the samples": (half.repeat(2, 1), half, 0.0, 0.0, 0.5),
    }
    for name, (now, before, growth, turned, alike) in table.items():
        state, reference = states(model, now), states(model, before)
        found = [float(metric.finish(state, reference)[0]) for metric in METRICS]
        assert found == [growth, turned, alike, alike, alike], name


def test_jaccard_is_symmetric_and_exact_agrees() -> None:
    model = nn.Sequential(nn.Linear(3, 80), nn.ReLU())
    x = torch.randn(200, 3)
    for metric in METRICS[2:]:
        found = {}
        for exact in (False, True):
            one, other = states(model, x[:150], exact=exact), states(model, x[100:], exact=exact)
            bound = metric.bind(exact=exact)
            found[exact] = float(bound.finish(one, other)[0]), float(bound.finish(other, one)[0])
        assert found[True] == found[False]
        assert found[True][0] == found[True][1]
        assert 0 < found[True][0] < 1


def test_moments_of_other_networks_or_seeds_do_not_compare() -> None:
    model, x = nn.Sequential(nn.Linear(3, 80), nn.ReLU()), torch.randn(5, 3)
    with pytest.raises(ObservationError, match="pattern tables differ in seed: 0 and 1"):
        similarity.pattern_jaccard_first.finish(states(model, x), states(model, x, seed=1))
    with pytest.raises(ObservationError, match="merge only states of one network"):
        similarity.pattern_jaccard_first.finish(states(model, x), states(nn.Sequential(nn.Linear(3, 81), nn.ReLU()), x))


def test_what_is_kept_is_what_was_counted() -> None:
    model, x = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 90), nn.ReLU6()), torch.randn(300, 3)
    for exact in (False, True):
        counts = pattern_counts(exact=exact)
        state = counts.measure(observe(model, x))
        for _ in range(3):
            counts.update(state, observe(model, torch.randn(40, 3)))
        data = counts.kept(state)
        restored = counts.restored(data)
        assert data.sizes["pattern"] == sum(found.distinct for found in counts.finish(state).values())
        assert {site: found.samples for site, found in counts.finish(restored).items()} == {"1#0": 420, "3#0": 420}
        for site, found in counts.finish(state).items():
            again = counts.finish(restored)[site]
            assert np.array_equal(np.sort(again.counts), np.sort(found.counts))
        # and goes on counting
        counts = pattern_counts()
        plain = counts.measure(observe(model, x))
        assert similarity.jaccard(counts.finish(plain), counts.finish(restored))["1#0"] == pytest.approx(300 / 420)
        counts.update(restored, observe(model, x))
        assert counts.finish(restored)["3#0"].samples == 720


def test_a_site_of_which_nothing_is_kept_is_empty() -> None:
    counts = pattern_counts()
    data = counts.kept(counts.measure(observe(nn.Sequential(nn.Linear(3, 5), nn.ReLU()), torch.randn(9, 3))))
    nothing = data.assign(pattern_count=data.pattern_count * 0)
    restored = counts.restored(nothing)
    assert counts.finish(restored)["1#0"].counts.tolist() == []
    counts.update(restored, observe(nn.Sequential(nn.Linear(3, 5), nn.ReLU()), torch.randn(9, 3)))
    assert counts.finish(restored)["1#0"].samples == 9


def test_ranges_are_declared() -> None:
    assert similarity.pattern_changes.minimum == -1.0
    assert similarity.pattern_changes.maximum is None
    for metric in METRICS[1:]:
        assert (metric.minimum, metric.maximum) == (0.0, 1.0)
    assert [metric.compared_with for metric in METRICS] == ["previous", "previous", "first", "previous", "last"]
