"""Totals against dictionaries of tuples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.observation import observe
from reluscope_plugins.patterns.counts import pattern_counts
from reluscope_plugins.patterns.table import Table, of_words
from reluscope_plugins.patterns.total import most_frequent_pattern, pattern_false_merge_bound, pattern_total


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def counters(model: nn.Module, batches: list[Tensor]) -> dict[str, Counter[tuple[int, ...]]]:
    """How often each pattern comes, by loops."""
    found: dict[str, Counter[tuple[int, ...]]] = {}
    for x in batches:
        observation = observe(model, x)
        for site in observation.sites:
            rows = observation.pattern[site].tolist()
            found.setdefault(site, Counter()).update(tuple(map(int, row)) for row in rows)
    return found


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


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, ...]]:
    build, shape = NETWORKS[request.param]
    return build(), shape


@pytest.mark.parametrize("exact", [False, True])
def test_dictionary(network: tuple[nn.Module, tuple[int, ...]], exact: bool) -> None:
    model, shape = network
    batches = list(torch.randn(60, *shape).split([1, 30, 29]))
    expected = counters(model, batches)
    metrics = [metric.bind(exact=exact) for metric in (pattern_total, most_frequent_pattern)]
    ds = rs.measure(model, batches, metrics)
    assert ds.site.values.tolist() == list(expected)
    for site, seen in expected.items():
        assert float(ds.pattern_total.sel(site=site)) == len(seen)
        assert float(ds.most_frequent_pattern.sel(site=site)) == max(seen.values()) / seen.total()
    bounds = ds.pattern_false_merge_bound
    for site, seen in expected.items():
        pairs = len(seen) * (len(seen) - 1) / 2
        hashed = not exact and site == ds.site.values[-1]  # the last site alone has more than 64 bits
        assert float(bounds.sel(site=site)) == (pairs * 2.0**-64 if hashed else 0.0)
    assert ds.pattern_total.attrs["false_merge_probability"] == float(bounds.sum())
    assert ds.pattern_total.attrs["units"] == "1"


def test_one_sample_one_pattern_and_all_distinct() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
    one = torch.randn(1, 2)
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 7)
    for net, x, total, share in (
        (model, one, 1, 1.0),
        (model, one.expand(9, 2), 1, 1.0),
        (nn.Sequential(nn.Identity(), nn.ReLU()), corners, 128, 1 / 128),
    ):
        ds = rs.measure(net, [x], ["pattern_total", "most_frequent_pattern"])
        assert ds.pattern_total.values.tolist() == [total]
        assert ds.most_frequent_pattern.values.tolist() == [share]


def test_total_brings_its_bound_which_is_of_the_whole_network() -> None:
    model = nn.Sequential(nn.Linear(2, 100), nn.ReLU(), nn.Linear(100, 200), nn.ReLU())
    ds = rs.measure(model, [torch.randn(500, 2)], "pattern_total")
    assert set(ds.data_vars) == {"pattern_total", "pattern_false_merge_bound"}
    totals = ds.pattern_total.values
    expected = [n * (n - 1) / 2 / 2**64 for n in totals]
    assert ds.pattern_false_merge_bound.values.tolist() == expected
    assert ds.pattern_total.attrs["false_merge_probability"] == sum(expected) > 0


def test_a_bound_is_a_probability() -> None:
    # 10^10 distinct patterns of 128 bits would be needed to see it; so the state says what it might
    def state(number: int) -> Table:
        return {**of_words(torch.arange(4).numpy().view("uint64"), 128), "rows": number}

    found = pattern_counts().finish({"a": state(4), "b": state(5)})
    for distribution in found.values():
        distribution.__dict__["multiplicities"] = type("Many", (), {"distinct": 10**10})()
    bounds = pattern_false_merge_bound.implementation()(found)
    assert bounds == {"a": 1.0, "b": 1.0}
    assert pattern_total.implementation()(found).attrs["false_merge_probability"] == 1.0


def test_ranges_are_declared() -> None:
    assert (pattern_total.minimum, pattern_total.maximum) == (0.0, None)
    for metric in (most_frequent_pattern, pattern_false_merge_bound):
        assert (metric.minimum, metric.maximum) == (0.0, 1.0)
    assert pattern_total.brings == (pattern_false_merge_bound,)
