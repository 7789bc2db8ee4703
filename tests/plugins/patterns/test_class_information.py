"""What patterns say of the class, against dictionaries of tuples and labels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator

import pytest
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope_plugins.patterns import class_information
from reluscope_plugins.patterns.counts import class_pattern_counts
from reluscope_plugins.patterns.estimators import corrected_entropy, interval
from reluscope_plugins.patterns.multiplicities import multiplicities

NAMES = ("pattern_entropy_given_class", "pattern_class_information")


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def pairs(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Counter[tuple[int, tuple[int, ...]]]]:
    """How often each class comes with each pattern, by loops; a position has the class of its image."""
    found: dict[str, Counter[tuple[int, tuple[int, ...]]]] = {}
    for x, y in batches:
        observation = observe(model, x)
        for site in observation.sites:
            seen = found.setdefault(site, Counter())
            rows = observation.pattern[site].tolist()
            for number, row in enumerate(rows):
                seen[int(y[number * len(y) // len(rows)]), tuple(map(int, row))] += 1
    return found


def dense_entropy(seen: Counter[Hashable]) -> float:
    return -math.fsum(n / seen.total() * math.log2(n / seen.total()) for n in seen.values())


def marginal(seen: Counter[tuple[int, tuple[int, ...]]], part: int) -> Counter[Hashable]:
    found: Counter[Hashable] = Counter()
    for pair, n in seen.items():
        found[pair[part]] += n
    return found


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
    x, y = torch.randn(120, *shape), torch.tensor([-1, 0, 0, 7] * 30)
    model, batches = build(), list(zip(x.split([50, 1, 69]), y.split([50, 1, 69]), strict=True))
    ds = rs.measure(model, batches, [getattr(class_information, name).bind(exact=exact) for name in NAMES])
    for site, seen in pairs(model, batches).items():
        found = ds.sel(site=site)
        classes, patterns = marginal(seen, 0), marginal(seen, 1)
        units = len(next(iter(seen))[1])
        given = dense_entropy(Counter(dict(seen))) - dense_entropy(classes)
        information = dense_entropy(classes) + dense_entropy(patterns) - dense_entropy(Counter(dict(seen)))
        assert float(found.pattern_entropy_given_class) == pytest.approx(given, rel=1e-12, abs=1e-12)
        assert float(found.pattern_class_information) == pytest.approx(information, rel=1e-12, abs=1e-12)
        assert float(found.pattern_class_information) <= dense_entropy(classes) + 1e-12
        limit = units * math.log2(3 if network == "three_states" or site == "4#0" else 2)
        each = {label: multiplicities([n for pair, n in seen.items() if pair[0] == label]) for label in classes}
        share = {label: n / classes.total() for label, n in classes.items()}
        corrected = math.fsum(share[label] * corrected_entropy(part, limit=limit) for label, part in each.items())
        assert float(found.pattern_entropy_given_class_corrected) == pytest.approx(corrected, rel=1e-12)
        ends = {label: interval(part, limit=limit) for label, part in each.items()}
        expected = [math.fsum(share[label] * ends[label][end] for label in ends) for end in (0, 1)]
        assert found.pattern_entropy_given_class_interval.values.tolist() == pytest.approx(expected, rel=1e-12)
        total = corrected_entropy(multiplicities(list(patterns.values())), limit=limit)
        clipped = min(max(total - corrected, 0.0), total, dense_entropy(classes))
        assert float(found.pattern_class_information_corrected) == pytest.approx(clipped, rel=1e-9, abs=1e-9)
        once = sum(n == 1 for n in seen.values())
        assert float(found.class_pattern_singleton_share) == once / len(seen)
        assert float(found.class_pattern_saturated) == float(once >= 0.9 * seen.total())
    assert ds.bound.values.tolist() == ["lower", "upper"]
    assert ds.pattern_class_information.attrs["units"] == "bit"


def plain(x: Tensor, y: Tensor) -> dict[str, list[float]]:
    ds = rs.measure(nn.Sequential(nn.Identity(), nn.ReLU()), [(x, y)], list(NAMES))
    return {str(name): variable.values.ravel().tolist() for name, variable in ds.data_vars.items()}


def test_extremes() -> None:
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)
    eight = torch.arange(8)
    cases = {
        "the pattern is the class": (corners.repeat(20, 1), eight.repeat(20), 0.0, 3.0),
        "independent": (corners.repeat(20, 1), torch.arange(10).repeat_interleave(16), 3.0, 0.0),
        "one pattern": (torch.ones(40, 3), torch.arange(40) % 4, 0.0, 0.0),
        "one class": (corners.repeat(5, 1), torch.zeros(40, dtype=torch.long), 3.0, 0.0),
        "one sample": (corners[:1], eight[:1], 0.0, 0.0),
        "all distinct, two classes": (corners, eight % 2, 2.0, 1.0),
    }
    for name, (x, y, given, information) in cases.items():
        found = plain(x, y)
        assert found["pattern_entropy_given_class"] == pytest.approx([given], abs=1e-12), name
        assert found["pattern_class_information"] == pytest.approx([information], abs=1e-12), name
        assert found["class_pattern_saturated"] == [float("all distinct" in name or "one sample" in name)], name


def test_they_bring_what_tells_how_far_to_trust_them() -> None:
    data = [(torch.randn(30, 2), torch.arange(30) % 3)]
    common = {"class_pattern_singleton_share", "class_pattern_saturated"}
    given, information = (set(rs.measure(mlp(), data, name).data_vars) for name in NAMES)
    assert given == {
        *common,
        "pattern_entropy_given_class",
        "pattern_entropy_given_class_corrected",
        "pattern_entropy_given_class_interval",
    }
    assert information == {*common, "pattern_class_information", "pattern_class_information_corrected"}


def test_counting_in_place_is_merging() -> None:
    model, counts = mlp(), class_pattern_counts()
    batches = [(torch.randn(n, 2), torch.randint(4, (n,))) for n in (1, 40, 3, 40)]
    observations = [observe(model, x, target=y) for x, y in batches]
    state, merging = counts.measure(observations[0]), counts.measure(observations[0])
    for observation in observations[1:]:
        counts.update(state, observation)
        merging = counts.merge(merging, counts.measure(observation))
    one, other = counts.finish(state), counts.finish(merging)
    assert one.keys() == other.keys()
    for site in one:
        assert one[site].keys() == other[site].keys() == {"0", "1", "2", "3", ""}
        for label in one[site]:
            assert one[site][label].counts.tolist() == other[site][label].counts.tolist()
            assert one[site][label].samples == other[site][label].samples


@pytest.mark.parametrize(
    ("labels", "got"),
    [
        (torch.rand(5), r"shape \(5,\) of torch.float32"),
        (torch.zeros(5, 3, dtype=torch.long), r"shape \(5, 3\) of torch.int64"),
        ([1, 2, 3, 4, 5], "list"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: object, got: str) -> None:
    observation = observe(mlp(), torch.randn(5, 2), target=labels)
    with pytest.raises(ObservationError, match=f"'pattern_class_information': targets: got {got}, expected integer"):
        class_information.pattern_class_information.measure(observation)


def test_a_batch_without_labels_is_refused() -> None:
    with pytest.raises(ObservationError, match="'pattern_entropy_given_class' needs targets"):
        rs.measure(mlp(), [torch.randn(5, 2)], "pattern_entropy_given_class")


def test_rows_that_belong_to_no_sample_have_no_class() -> None:
    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 5))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ torch.relu(self.weight * 1).T)

    with pytest.raises(ObservationError, match=r"'relu#0': its rows do not belong to samples, so they have no class"):
        rs.measure(Weights(), [(torch.randn(4, 5), torch.arange(4))], "pattern_class_information")
