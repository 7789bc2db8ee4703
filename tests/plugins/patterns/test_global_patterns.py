"""Patterns of the whole network against a dictionary of tuples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.observation import observe
from reluscope_plugins.patterns import global_patterns
from reluscope_plugins.patterns.estimators import corrected_entropy, interval
from reluscope_plugins.patterns.keys import false_merge_bound
from reluscope_plugins.patterns.multiplicities import multiplicities

Seen = Counter[tuple[int, ...]]
NAMES = ("global_pattern_total", "global_pattern_entropy")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def dictionary(model: nn.Module, batches: list[Tensor]) -> Seen:
    """How often all sites, and all their positions, are in which state together."""
    seen: Seen = Counter()
    for x in batches:
        observation = observe(model, x)
        for sample in range(len(x)):
            states: list[int] = []
            for site in observation.sites:
                rows = observation.pattern[site]
                positions = len(rows) // len(x)
                states += rows[sample * positions : (sample + 1) * positions].flatten().int().tolist()
            seen[tuple(states)] += 1
    return seen


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 70), nn.LeakyReLU(), nn.Linear(70, 1))


def narrow() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))


def three_states() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.Hardtanh(-0.5, 0.5), nn.Linear(3, 2), nn.Softshrink(0.1), nn.Linear(2, 3))


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2), nn.ReLU6())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "mlp": (mlp, (2,), 75.0),
    "narrow": (narrow, (2,), 5.0),
    "three_states": (three_states, (2,), 5 * math.log2(3)),
    "convolution": (convolution, (1, 6, 6), 2 * 16 + 3 * math.log2(3)),
}
"""Name to network, shape of a sample, bits that the entropy cannot exceed."""


@pytest.mark.parametrize("network", NETWORKS)
def test_dictionary(network: str) -> None:
    build, shape, limit = NETWORKS[network]
    x = torch.randn(100, *shape)
    x[60:] = x[:40]
    model, batches = build(), list(x.split([33, 1, 66]))
    ds = rs.measure(model, batches, list(NAMES))
    seen = dictionary(model, batches)
    counts = multiplicities(list(seen.values()))
    assert ds.global_pattern_total.dims == ()
    assert float(ds.global_pattern_total) == len(seen)
    expected = -math.fsum(n / 100 * math.log2(n / 100) for n in seen.values())
    assert float(ds.global_pattern_entropy) == pytest.approx(expected, rel=1e-12)
    assert float(ds.global_pattern_entropy_corrected) == pytest.approx(
        corrected_entropy(counts, limit=limit), rel=1e-12
    )
    assert ds.global_pattern_entropy_interval.values.tolist() == pytest.approx(interval(counts, limit=limit), rel=1e-12)
    once = sum(n == 1 for n in seen.values())
    assert float(ds.global_pattern_singleton_share) == once / len(seen)
    assert float(ds.global_pattern_saturated) == float(once >= 90)
    assert float(ds.global_pattern_false_merge_bound) == false_merge_bound(len(seen), 65) > 0
    assert 1 < len(seen) < 100


def test_what_they_bring() -> None:
    model, x = mlp(), torch.randn(20, 2)
    total = rs.measure(model, [x], "global_pattern_total")
    assert set(total.data_vars) == {"global_pattern_total", "global_pattern_false_merge_bound"}
    ds = rs.measure(model, [x], "global_pattern_entropy")
    assert set(ds.data_vars) == {
        "global_pattern_entropy",
        "global_pattern_entropy_corrected",
        "global_pattern_entropy_interval",
        "global_pattern_singleton_share",
        "global_pattern_saturated",
        "global_pattern_false_merge_bound",
    }
    assert ds.global_pattern_entropy_interval.dims == ("bound",)
    assert ds.bound.values.tolist() == ["lower", "upper"]
    assert ds.global_pattern_entropy.attrs["units"] == "bit"


def test_extremes() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 6)
    for x, total, entropy, saturated in (
        (corners[:1], 1, 0.0, 1.0),
        (corners[:1].expand(50, 6), 1, 0.0, 0.0),
        (corners, 64, 6.0, 1.0),
        (corners.repeat(9, 1), 64, 6.0, 0.0),
    ):
        ds = rs.measure(model, [x], list(NAMES))
        assert float(ds.global_pattern_total) == total
        assert float(ds.global_pattern_entropy) == pytest.approx(entropy, rel=1e-15)
        assert float(ds.global_pattern_saturated) == saturated


def test_each_seed_counts_alike() -> None:
    model, x = mlp(), torch.randn(300, 2)
    totals = [float(global_patterns.global_pattern_total.bind(seed=seed)(observe(model, x))) for seed in range(5)]
    assert len(set(totals)) == 1


def test_a_cell_of_the_whole_network_lies_within_a_cell_of_each_site() -> None:
    model, x = mlp(), torch.randn(400, 2)
    ds = rs.measure(model, [x], ["global_pattern_total", "pattern_total"])
    assert float(ds.global_pattern_total) >= float(ds.pattern_total.max())
