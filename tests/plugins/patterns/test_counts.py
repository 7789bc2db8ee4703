"""Counts of patterns as states: they stream, merge across processes, and say where they stand."""

from __future__ import annotations

import copy
import math
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reluscope import monoid
from reluscope.errors import ObservationError
from reluscope.lab import Lab
from reluscope.measurement import assemble, measure, measure_states
from reluscope.observation import observe
from reluscope.testing import check_metric
from reluscope_plugins import patterns
from reluscope_plugins.patterns import reluscope_metrics
from reluscope_plugins.patterns.counts import Distribution, class_pattern_counts, global_pattern_counts, pattern_counts
from reluscope_plugins.patterns.table import counted


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


COUNTED = [metric for metric in reluscope_metrics() if metric.of is not None]
"""Metrics of the three states of counts."""

CLASSES = (pattern_counts, global_pattern_counts, class_pattern_counts)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 70, 2), nn.ReLU6(), nn.Flatten(), nn.Linear(630, 9), nn.PReLU()
    )


# States


@pytest.mark.parametrize("counts", CLASSES)
@pytest.mark.parametrize("exact", [False, True])
def test_counting_in_place_is_merging(counts: Any, exact: bool) -> None:
    instance = counts() if counts is global_pattern_counts else counts(exact=exact)
    model, batches = network(), [torch.randn(n, 1, 6, 6) for n in (3, 1, 20, 7)]
    observations = [observe(model, x, target=torch.arange(len(x)) % 3, patterns_only=True) for x in batches]
    parts = [instance.measure(observation) for observation in observations]
    kept = copy.deepcopy(parts)
    merging = parts[0]
    for part in parts[1:]:
        merging = instance.merge(merging, part)
    in_place = instance.measure(observations[0])
    for observation in observations[1:]:
        instance.update(in_place, observation)
    assert flat(instance.finish(in_place)) == flat(instance.finish(merging))
    np.testing.assert_equal(parts, kept)


def flat(found: Any) -> Any:
    """All that a finished state says, as plain lists."""
    if isinstance(found, Distribution):
        return found.samples, found.bits, found.limit, found.counts.tolist()
    return {key: flat(value) for key, value in sorted(found.items())}


def test_size_of_a_pattern_and_how_many_there_can_be() -> None:
    found = pattern_counts().finish(pattern_counts().measure(observe(network(), torch.randn(4, 1, 6, 6))))
    assert {site: (d.bits, d.samples) for site, d in found.items()} == {
        "1#0": (3, 64),
        "3#0": (140, 36),
        "6#0": (9, 4),
    }
    assert [d.limit for d in found.values()] == pytest.approx([3, 70 * math.log2(3), 9])
    whole = global_pattern_counts().finish(global_pattern_counts().measure(observe(network(), torch.randn(4, 1, 6, 6))))
    assert (whole.samples, whole.bits) == (4, 3 * 16 + 140 * 9 + 9)
    assert whole.limit == pytest.approx(3 * 16 + 70 * 9 * math.log2(3) + 9)


def test_finishing_changes_no_state_and_is_not_needed_twice() -> None:
    table = counted(torch.randint(256, (5000, 2), dtype=torch.uint8), 16)
    state = {"site": table}
    other = {"site": counted(torch.randint(256, (9000, 2), dtype=torch.uint8), 16)}
    merged = pattern_counts().merge(state, other)
    kept = copy.deepcopy(merged)
    found = pattern_counts().finish(merged)["site"]
    assert found.counts.sum() == found.samples == 14000
    assert found.distinct == len(found.counts)
    np.testing.assert_equal(merged, kept)


def test_a_site_that_not_every_batch_has() -> None:
    class Paths(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.always, self.sometimes = nn.ReLU(), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.always(x)
            return self.sometimes(-x) if x.sum() > 0 else h

    model, x = Paths(), torch.ones(4, 3)
    for instance in (pattern_counts(), class_pattern_counts()):
        observations = [observe(model, part, target=torch.zeros(4, dtype=torch.long)) for part in (-x, x, x)]
        state = instance.measure(observations[0])
        for observation in observations[1:]:
            instance.update(state, observation)
        finished = flat(instance.finish(state))
        first, *rest = (instance.measure(observation) for observation in observations)
        merged = instance.merge(instance.merge(first, rest[0]), rest[1])
        assert flat(instance.finish(merged)) == finished
        assert set(finished) == {"always#0", "sometimes#0"}
    plain = pattern_counts().finish(pattern_counts().measure(observations[0]))
    assert set(plain) == {"always#0"}


@pytest.mark.parametrize("counts", CLASSES)
def test_a_merged_state_shares_nothing_that_an_update_changes(counts: Any) -> None:
    def seen(labels: list[int], seed: int) -> Any:
        x = torch.randn(len(labels), 1, 6, 6, generator=torch.Generator().manual_seed(seed))
        return observe(network, x, target=torch.tensor(labels))

    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU())
    instance = counts()
    parts = [instance.measure(seen([0, 0, 1], 1)), instance.measure(seen([2, 1, 1], 2))]
    kept = copy.deepcopy(parts)
    merged = instance.merge(*parts)
    instance.update(merged, seen([0, 1, 2, 3], 3))
    np.testing.assert_equal(parts, kept)


# The kit's laws


@pytest.mark.parametrize("name", ["pattern_total", "pattern_jaccard_first", "pattern_class_information"])
def test_laws_hold_where_patterns_are_kept_whole(name: str) -> None:
    metric = next(metric for metric in COUNTED if metric.name == name)
    check_metric(metric.bind(exact=True), examples=6)  # the others: tests/properties/test_metric_laws.py


def test_all_of_them_are_installed_and_look_at_patterns_alone() -> None:
    installed = Lab().metrics
    assert len(COUNTED) == 30
    for metric in COUNTED:
        assert installed[metric.name] == metric
        assert "patterns" in metric.needs <= {"patterns", "targets"}
        assert metric.counted() in CLASSES
        assert metric.minimum is not None


# Two halves of a data set, on two processes


HALF = """
import pickle, sys
import torch
from torch import nn
from reluscope.errors import ObservationError
from reluscope.lab import Lab
from reluscope.measurement import measure_states
from reluscope_plugins import patterns

model, batches = torch.load(sys.argv[1], weights_only=False)
half = batches[int(sys.argv[2])::2]
metrics = [metric for metric in patterns.reluscope_metrics() if metric.of is not None]
states = measure_states(model, half, metrics, lab=Lab(plugins=[patterns]))
with open(sys.argv[3], "wb") as file:
    pickle.dump(states, file)
"""


def test_two_halves_on_two_processes_merge_to_the_whole(tmp_path: Path) -> None:
    x, y = torch.randn(400, 1, 6, 6), torch.randint(5, (400,))
    x[300:] = x[:100]  # some patterns of one half are in the other
    model, batches = network(), list(zip(x.split(25), y.split(25), strict=True))
    torch.save((model, batches), tmp_path / "case.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", HALF, str(tmp_path / "case.pt"), str(half), str(tmp_path / f"{half}.pickle")],
            env=environment,
        )
        for half in (0, 1)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    halves = [pickle.loads((tmp_path / f"{half}.pickle").read_bytes()) for half in (0, 1)]
    lab = Lab()
    whole = assemble(COUNTED, measure_states(model, batches, COUNTED, lab=lab), lab=lab)
    one, other = ([COUNTED[i].merge(a[i], b[i]) for i in range(len(COUNTED))] for a, b in (halves, halves[::-1]))
    for states in (one, other):
        found = assemble(COUNTED, states, lab=lab)
        assert set(found.data_vars) == set(whole.data_vars) == {metric.name for metric in COUNTED}
        assert found.attrs == whole.attrs == {"samples": 400}
        for name in found.data_vars:
            assert found[name].values.tobytes() == whole[name].values.tobytes(), name
            assert found[name].attrs == whole[name].attrs
    parts = [assemble(COUNTED, states, lab=lab) for states in halves]
    assert (whole.pattern_total >= parts[0].pattern_total).all()
    assert (whole.pattern_total < parts[0].pattern_total + parts[1].pattern_total).all(), "nothing had to be merged"


def test_how_data_are_split_changes_no_bit() -> None:
    # each sample is observed alone, so that no matrix product rounds otherwise
    model, x, y = network(), torch.randn(60, 1, 6, 6), torch.randint(3, (60,))
    metrics = [metric for metric in COUNTED if not metric.compared_with]
    alone = [observe(model, x[i : i + 1], target=y[i : i + 1], patterns_only=True) for i in range(60)]
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1)).tolist()
    for metric in metrics:
        streamed = None
        for observation in alone:
            streamed = monoid.update(metric, streamed, observation)
        level = [metric.measure(alone[i]) for i in order]
        while len(level) > 1:  # a tree of merges, in another order
            level = [
                metric.merge(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)
            ]
        one, other = metric.finish(streamed), metric.finish(level[0])
        assert one.values.tobytes() == other.values.tobytes(), metric.name
        assert one.identical(other)


def test_one_pass_counts_for_all_metrics_of_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: Counter[str] = Counter()

    def spied(counts: type, method: str) -> Any:
        plain = getattr(counts, method)

        def spy(self: Any, *args: Any) -> Any:
            calls[f"{counts.__name__}.{method}"] += 1
            return plain(self, *args)

        return spy

    for counts in CLASSES:
        for method in ("measure", "finish"):
            monkeypatch.setattr(counts, method, spied(counts, method))
    batches = [(torch.randn(5, 1, 6, 6), torch.arange(5)) for _ in range(3)]
    lab = Lab()
    assemble(COUNTED, measure_states(network(), batches, COUNTED, lab=lab), lab=lab)
    # the class and the global counts measure each batch to add it; sites are added one by one
    assert calls == {
        "pattern_counts.measure": 1,
        "global_pattern_counts.measure": 3,
        "class_pattern_counts.measure": 3,
        **{f"{counts.__name__}.finish": 1 for counts in CLASSES},
    }


@pytest.mark.parametrize("name", ["pattern_total", "global_pattern_total", "pattern_class_information"])
@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_a_seed_that_is_none_is_named(name: str, seed: Any) -> None:
    metric = Lab(plugins=[patterns]).metrics[name].bind(seed=seed)
    with pytest.raises(ObservationError, match=f"'{name}': seed is {seed}, expected an integer of at least 0"):
        measure(nn.ReLU(), [(torch.randn(4, 2), torch.arange(4))], [metric])
