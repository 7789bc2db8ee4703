"""Entropies against dictionaries of tuples, and what is said of how far they can be trusted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.observation import observe
from reluscope_plugins.patterns import entropy
from reluscope_plugins.patterns.estimators import corrected_entropy, interval
from reluscope_plugins.patterns.multiplicities import multiplicities

Seen = Counter[tuple[int, ...]]
BROUGHT = {"pattern_entropy_corrected", "pattern_entropy_interval", "pattern_singleton_share", "pattern_saturated"}
RELATIVE = {
    "relative_pattern_entropy_corrected",
    "relative_pattern_entropy_interval",
    "pattern_singleton_share",
    "pattern_saturated",
}


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


def dense_entropy(seen: Seen) -> float:
    return -math.fsum(n / seen.total() * math.log2(n / seen.total()) for n in seen.values())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 70), nn.LeakyReLU(), nn.Linear(70, 1))


def three_states() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 3), nn.Hardtanh(-0.5, 0.5), nn.Linear(3, 40), nn.Softshrink(0.1), nn.Linear(40, 3)
    )


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 67, 2), nn.ReLU6())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (mlp, (2,)),
    "three_states": (three_states, (2,)),
    "convolution": (convolution, (1, 8, 8)),
}


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_dictionary(network: str, exact: bool) -> None:
    build, shape = NETWORKS[network]
    model, batches = build(), list(torch.randn(90, *shape).split([40, 1, 49]))
    metrics = [metric.bind(exact=exact) for metric in (entropy.pattern_entropy, entropy.relative_pattern_entropy)]
    ds = rs.measure(model, batches, metrics)
    expected = counters(model, batches)
    assert ds.site.values.tolist() == list(expected)
    for site, seen in expected.items():
        found = ds.sel(site=site)
        bits = dense_entropy(seen)
        units = len(next(iter(seen)))
        limit = units * math.log2(2 if network != "three_states" and site != "4#0" else 3)
        greatest = min(limit, math.log2(seen.total()))
        counts = multiplicities(list(seen.values()))
        assert float(found.pattern_entropy) == pytest.approx(bits, rel=1e-12, abs=1e-12)
        assert float(found.relative_pattern_entropy) == pytest.approx(bits / greatest, rel=1e-12, abs=1e-12)
        assert 0 <= float(found.relative_pattern_entropy) <= 1
        corrected, ends = corrected_entropy(counts, limit=limit), interval(counts, limit=limit)
        assert float(found.pattern_entropy_corrected) == corrected
        assert found.pattern_entropy_interval.values.tolist() == list(ends)
        assert float(found.relative_pattern_entropy_corrected) == corrected / greatest
        assert found.relative_pattern_entropy_interval.values.tolist() == [end / greatest for end in ends]
        once = sum(n == 1 for n in seen.values())
        assert float(found.pattern_singleton_share) == once / len(seen)
        assert float(found.pattern_saturated) == float(once >= 0.9 * seen.total())
    assert ds.pattern_entropy.attrs["units"] == "bit"
    assert ds.relative_pattern_entropy.attrs["units"] == "1"


BOUND = "pattern_false_merge_bound"


def test_entropies_bring_what_tells_how_far_to_trust_them() -> None:
    model, batches = mlp(), [torch.randn(9, 2)]
    assert set(rs.measure(model, batches, "pattern_entropy").data_vars) == {"pattern_entropy", *BROUGHT, BOUND}
    relative = rs.measure(model, batches, "relative_pattern_entropy")
    assert set(relative.data_vars) == {"relative_pattern_entropy", *RELATIVE, BOUND}
    for name in ("pattern_entropy", "relative_pattern_entropy"):
        ds = rs.measure(model, batches, name)
        ends = ds[f"{name}_interval"]
        assert ends.dims == ("site", "bound")
        assert ds.bound.values.tolist() == ["lower", "upper"]
        middle = ds[f"{name}_corrected"]
        assert (ends.sel(bound="lower") <= middle).all()
        assert (middle <= ends.sel(bound="upper")).all()
        assert (ds[name] <= middle + 1e-12).all()


def corners(units: int) -> Tensor:
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * units)


def plain(x: Tensor) -> dict[str, list[float]]:
    model = nn.Sequential(nn.Identity(), nn.ReLU())
    ds = rs.measure(model, [x], ["pattern_entropy", "relative_pattern_entropy"])
    return {str(name): variable.values.ravel().tolist() for name, variable in ds.data_vars.items()}


def test_one_sample() -> None:
    found = plain(torch.ones(1, 5))
    assert found["pattern_entropy"] == [0.0]
    assert found["relative_pattern_entropy"] == [0.0]
    assert found["pattern_saturated"] == [1.0]
    assert found["pattern_singleton_share"] == [1.0]
    assert found["pattern_entropy_interval"] == [0.0, 5.0]  # nothing is known but the width


def test_one_pattern() -> None:
    found = plain(torch.ones(500, 5))
    assert found["pattern_entropy"] == found["pattern_entropy_corrected"] == found["relative_pattern_entropy"] == [0.0]
    assert found["pattern_saturated"] == [0.0]
    assert found["pattern_singleton_share"] == [0.0]
    assert found["pattern_entropy_interval"] == [0.0, 0.0]


def test_all_distinct_measures_the_sample_size() -> None:
    for units in (3, 6, 9):
        found = plain(corners(units))
        assert found["pattern_entropy"] == pytest.approx([units])
        assert found["relative_pattern_entropy"] == pytest.approx([1.0])
        assert max(found["relative_pattern_entropy"]) <= 1.0
        assert found["pattern_saturated"] == [1.0]


def test_every_pattern_equally_often_reaches_the_width() -> None:
    found = plain(corners(4).repeat(50, 1))
    assert found["pattern_entropy"] == [4.0]
    assert found["relative_pattern_entropy"] == [1.0]
    assert found["pattern_saturated"] == [0.0]
    assert found["pattern_entropy_corrected"] == [4.0]  # the limit: no more than the width allows


def test_three_states_have_more_room() -> None:
    x = torch.cartesian_prod(*[torch.tensor([-2.0, 0.0, 2.0])] * 3).repeat(40, 1)
    ds = rs.measure(nn.Sequential(nn.Identity(), nn.Hardtanh()), [x], ["pattern_entropy", "relative_pattern_entropy"])
    assert float(ds.pattern_entropy[0]) == pytest.approx(3 * math.log2(3), rel=1e-15)
    assert float(ds.relative_pattern_entropy[0]) == pytest.approx(1.0, rel=1e-15)


def test_saturation_begins_at_nine_samples_in_ten() -> None:
    own, shared = corners(7), torch.ones(1, 7) * 0 - 1  # the pattern without an active unit is the first corner
    nine = torch.cat([own[1:19], shared, shared])
    eight = torch.cat([own[1:18], shared, shared, shared])
    assert plain(nine)["pattern_saturated"] == [1.0]
    assert plain(eight)["pattern_saturated"] == [0.0]


def test_ranges_are_declared() -> None:
    for name in ("pattern_singleton_share", "pattern_saturated", "relative_pattern_entropy"):
        metric = getattr(entropy, name)
        assert (metric.minimum, metric.maximum, metric.units) == (0.0, 1.0, "1")
    for name in ("pattern_entropy", "pattern_entropy_corrected", "pattern_entropy_interval"):
        metric = getattr(entropy, name)
        assert (metric.minimum, metric.maximum, metric.units) == (0.0, None, "bit")
