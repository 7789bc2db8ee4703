"""Metrics of one class share one state: counted once, finished once, whatever they are and in whatever order."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import reluscope as rs
from reluscope import cli, measurement, monoid
from reluscope.entries import Count, Metric
from reluscope.errors import PluginError, RecipeError
from reluscope.labelling import plain_fault
from reluscope.measurement import assemble, measure_states, resolve, with_brought
from reluscope.observation import Observation, observe
from reluscope_plugins import patterns, performance

LAB = rs.Lab(plugins=[patterns, performance])


class Probe:
    """Counts active units, and how often it was asked."""

    calls: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, *, above: float = 0.0, weight: int = 1) -> None:
        self.above = above
        self.weight = weight

    def _note(self, method: str) -> None:
        self.calls[method] = self.calls.get(method, 0) + 1

    def measure(self, observation: Observation) -> Any:
        self._note("measure")
        return {
            site: int((observation.preactivation[site] > self.above).sum()) * self.weight for site in observation.sites
        }

    def merge(self, first: Any, second: Any) -> Any:
        self._note("merge")
        return {site: first[site] + second[site] for site in first}

    def finish(self, state: Any) -> Any:
        self._note("finish")
        return state


class Updated(Probe):
    def update(self, state: Any, observation: Observation) -> None:
        self._note("update")
        for site, count in super().measure(observation).items():
            state[site] += count
        self.calls["measure"] -= 1


def made(name: str, definition: Any = lambda found: found, of: Any = Probe, **declared: Any) -> Metric:
    return Metric(name=name, summary="Made for a test", definition=definition, of=of, dims=("site",), **declared)


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    Probe.calls.clear()


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.LeakyReLU(), nn.Linear(5, 3))


def batches(count: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(7, 4, generator=generator), torch.randint(3, (7,), generator=generator)) for _ in range(count)]


def test_metrics_of_one_class_are_counted_and_finished_once() -> None:
    several = [
        made("one"),
        made("two", lambda found: {site: 2.0 * count for site, count in found.items()}),
        made("three", lambda found, other: {site: found[site] - other[site] for site in found}, compared_with="first"),
    ]
    data = rs.measure(network(), batches(), several, lab=LAB)
    assert Probe.calls == {"measure": 3, "merge": 2, "finish": 1}
    np.testing.assert_array_equal(data.two, 2 * data.one)
    assert not data.three.any()


def test_update_takes_the_place_of_measure_and_merge() -> None:
    expected = rs.measure(network(), batches(), [made("one")], lab=LAB)
    Probe.calls.clear()
    found = rs.measure(network(), batches(), [made("one", of=Updated), made("two", of=Updated)], lab=LAB)
    assert Probe.calls == {"measure": 1, "update": 2, "finish": 1}
    np.testing.assert_array_equal(found.one, expected.one)
    np.testing.assert_array_equal(found.two, expected.one)


def test_other_parameters_are_another_state_and_defaults_are_equal_to_themselves() -> None:
    one, two, three = made("one"), made("two").bind(above=0.0, weight=1), made("three").bind(above=0.5)
    data = rs.measure(network(), batches(1), [one, two, three], lab=LAB)
    assert Probe.calls == {"measure": 2, "finish": 2}
    assert (data.three < data.one).all()
    assert data.one.equals(data.two.rename("one"))
    assert json.loads(data.three.attrs["parameters"]) == {"above": 0.5}


def test_parameters_of_the_function_leave_the_state_shared() -> None:
    def scaled(found: Any, *, scale: float = 1.0) -> Any:
        return {site: scale * count for site, count in found.items()}

    metric = made("scaled", scaled)
    assert list(metric.parameters()) == ["above", "weight", "scale"]
    other = dataclasses.replace(metric, name="other").bind(scale=3.0)
    data = rs.measure(network(), batches(1), [metric, other], lab=LAB)
    assert Probe.calls == {"measure": 1, "finish": 1}
    np.testing.assert_array_equal(data.other, 3 * data.scaled)


def test_the_order_of_metrics_is_that_of_results() -> None:
    mixed = [made("b").bind(above=0.5), performance.loss, made("a"), made("c").bind(above=0.5), made("d")]
    states = measure_states(network(), batches(), mixed)
    assert states[0] is states[3]
    assert states[2] is states[4]
    assert states[0] is not states[2]
    data = assemble(mixed, states)
    assert list(data.data_vars) == ["b", "loss", "a", "c", "d"]
    for metric in mixed:
        xr.testing.assert_identical(data[metric.name], rs.measure(network(), batches(), [metric])[metric.name])


@pytest.mark.parametrize("metric", [m for m in LAB.metrics.values() if m.of], ids=lambda metric: metric.name)
def test_a_shared_state_is_plain_data_and_belongs_to_its_class(metric: Metric) -> None:
    (state,) = measure_states(network(), batches(), [dataclasses.replace(metric, brings=())])
    assert not plain_fault(state)
    assert state["metric"] == monoid.owner(metric) != metric.name
    assert state["samples"] == 21


def test_a_state_of_another_class_is_refused() -> None:
    (state,) = measure_states(network(), batches(1), [made("one")])
    foreign = {**state, "metric": "another"}
    for ask in (
        lambda: made("one").finish(foreign),
        lambda: made("two").merge(state, foreign),
        lambda: made("three", lambda a, b: a, compared_with="first").finish(state, foreign),
        lambda: monoid.update(made("four", of=Updated), foreign, observe(network(), batches(1)[0][0])),
    ):
        with pytest.raises(PluginError, match="got a state of 'another'"):
            ask()
    assert made("two").finish(state).name == "two"  # of the same class, it is its own


def test_states_of_two_networks_are_not_compared() -> None:
    metric = made("one", lambda a, b: a, compared_with="first")
    (state,) = measure_states(network(), batches(1), [metric])
    (other,) = measure_states(nn.Sequential(nn.Linear(4, 2), nn.Identity(), nn.LeakyReLU()), batches(1), [metric])
    renamed = {**other, "sites": {"1#0": [0, "leaky_relu", False, 2]}}
    with pytest.raises(rs.ReluscopeError, match=r"site '1#0' is .* states of one network"):
        metric.finish(state, renamed)


def test_unknown_parameters_are_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"unknown parameter 'abov'. Did you mean 'above'"):
        made("one").bind(abov=1.0)
    with pytest.raises(RecipeError, match=r"'pattern_entropy': unknown parameter 'exakt'. Did you mean 'exact'"):
        LAB.metrics["pattern_entropy"].bind(exakt=True)


def test_declarations_that_cannot_work_are_refused() -> None:
    with pytest.raises(PluginError, match="compared_with needs the class"):
        made("one", of=None, compared_with="first")
    with pytest.raises(PluginError, match=r"compared_with is 'frist'. Did you mean 'first'"):
        made("one", compared_with="frist")
    with pytest.raises(PluginError, match=r"unknown need 'pattern'. Did you mean 'patterns'"):
        made("one", needs=frozenset({"pattern"}))
    with pytest.raises(PluginError, match="got both a class and of"):
        made("one", Probe)
    with pytest.raises(PluginError, match="expected a class with measure"):
        rs.measure(network(), batches(1), [made("one", of=lambda: None)], lab=LAB)
    with pytest.raises(PluginError, match="cannot be imported"):
        made("one", of="reluscope_plugins.patterns.counts:nothing").counted()
    half = type("Half", (), {"measure": lambda self, o: 0, "merge": lambda self, a, b: 0})
    with pytest.raises(PluginError, match="class Half has no method 'finish'"):
        rs.measure(network(), batches(1), [made("one", of=half)], lab=LAB)


def test_an_update_that_returns_is_refused() -> None:
    class Returns(Probe):
        def update(self, state: Any, observation: Observation) -> Any:
            return self.merge(state, self.measure(observation))

    with pytest.raises(PluginError, match="batch 1: metric 'one': update returned dict, expected None"):
        rs.measure(network(), batches(), [made("one", of=Returns)], lab=LAB)


BROUGHT = made("brought")
OTHER = made("other", brings=(BROUGHT,))
BRINGER = made("bringer", brings=(OTHER, BROUGHT))
SECOND = made("second", brings=(BROUGHT,))


@pytest.mark.parametrize(
    ("asked", "order"),
    [
        ([BRINGER], ["bringer", "other", "brought"]),
        ([SECOND, BRINGER], ["second", "brought", "bringer", "other"]),
        ([BRINGER, SECOND], ["bringer", "other", "brought", "second"]),
        ([BRINGER, BROUGHT], ["bringer", "other", "brought"]),
        ([BROUGHT, BRINGER], ["brought", "bringer", "other"]),
        ([BRINGER, performance.loss, OTHER], ["bringer", "brought", "loss", "other"]),
    ],
)
def test_what_is_brought_comes_once_behind_what_brings_it(asked: list[Metric], order: list[str]) -> None:
    assert [metric.name for metric in with_brought(asked)] == order
    assert [metric.name for metric in resolve(asked)] == order
    assert list(rs.measure(network(), batches(1), asked, lab=LAB).data_vars) == order


def test_binding_reaches_what_is_brought_where_that_takes_it() -> None:
    def scaled(found: Any, *, scale: float = 1.0) -> Any:
        return {site: scale * count for site, count in found.items()}

    bound = made("bringer", scaled, brings=(OTHER, performance.loss)).bind(above=0.25, scale=2.0)
    assert bound.params == {"above": 0.25, "scale": 2.0}
    assert [brought.params for brought in with_brought(bound.brings)] == [{"above": 0.25}, {"above": 0.25}, {}]
    entropy = LAB.metrics["pattern_entropy"].bind(seed=3)
    assert entropy.brings
    assert all(brought.params == {"seed": 3} for brought in entropy.brings)
    assert not LAB.metrics["pattern_entropy"].params


def test_what_is_asked_for_keeps_its_own_parameters() -> None:
    bringer, own = BRINGER.bind(above=0.5), BROUGHT.bind(above=0.25)
    for asked in ([bringer, own], [own, bringer]):
        found = {metric.name: dict(metric.params) for metric in resolve(asked)}
        assert found == {"bringer": {"above": 0.5}, "other": {"above": 0.5}, "brought": {"above": 0.25}}
    data = rs.measure(network(), batches(1), [bringer, own], lab=LAB)
    assert Probe.calls == {"measure": 2, "finish": 2}
    assert (data.brought > data.other).all()


def test_show_lists_the_parameters_of_the_state(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["show", "pattern_entropy", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["parameters"]["exact"] == {"default": "False", "type": "bool"}
    assert shown["parameters"]["seed"] == {"default": "0", "type": "int"}
    assert shown["of"] == "reluscope_plugins.patterns.counts:pattern_counts"
    assert shown["brings"] == [brought.name for brought in LAB.metrics["pattern_entropy"].brings]
    with pytest.raises(SystemExit):
        cli.main(["show", "pattern_jaccard_first"])
    text = capsys.readouterr().out
    assert "exact" in text
    assert "Metric(" not in text
    assert not {"found", "first"} & LAB.metrics["pattern_jaccard_first"].parameters().keys()


NEED_PATTERNS = [m.name for m in LAB.metrics.values() if "patterns" in m.needs]


def seen_by(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    asked: list[bool] = []
    original = measurement.observe

    def spy(*args: Any, **options: Any) -> Observation:
        asked.append(options["patterns_only"])
        return original(*args, **options)

    monkeypatch.setattr(measurement, "observe", spy)
    return asked


def test_patterns_alone_are_kept_where_that_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = seen_by(monkeypatch)
    assert len(NEED_PATTERNS) > 20
    alone = rs.measure(network(), batches(), NEED_PATTERNS, lab=LAB)
    assert asked == [True] * 3
    asked.clear()

    @rs.metric(dims=("site",))
    def largest(observation: Observation) -> Any:
        """Largest pre-activation."""
        return {site: observation.preactivation[site].max() for site in observation.sites}

    whole = rs.measure(network(), batches(), [*map(LAB.metrics.__getitem__, NEED_PATTERNS), largest], lab=LAB)
    assert asked == [False] * 3
    xr.testing.assert_identical(alone, whole.drop_vars("largest"))


def test_a_function_of_patterns_alone_is_averaged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def active(observation: Observation) -> Any:
        """Share of active units."""
        return {site: (observation.pattern[site] == 1).double().mean(0) for site in observation.sites}

    def counted(observation: Observation) -> Any:
        """Share of active units, without rounding."""
        rows = {site: observation.pattern[site] == 1 for site in observation.sites}
        return {site: Count(row.sum(0), of=len(row)) for site, row in rows.items()}

    asked = seen_by(monkeypatch)
    image = nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4), nn.Hardtanh())
    x = torch.randn(11, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    for function in (active, counted):
        declared = {"dims": ("unit",), "minimum": 0.0, "maximum": 1.0}
        alone = rs.measure(image, x.split(4), [rs.metric(needs={"patterns"}, **declared)(function)], lab=LAB)  # type: ignore[arg-type]
        whole = rs.measure(image, x.split(4), [rs.metric(**declared)(function)], lab=LAB)  # type: ignore[arg-type]
        assert asked == [True] * 3 + [False] * 3
        asked.clear()
        xr.testing.assert_identical(alone, whole)


def test_a_metric_that_looks_further_than_it_says_is_named() -> None:
    @rs.metric(dims=("site",), needs={"patterns"})
    def largest(observation: Observation) -> Any:
        """Largest pre-activation."""
        return {site: observation.preactivation[site].max() for site in observation.sites}

    with pytest.raises(PluginError, match=r"batch 0: metric 'largest'.*only its pattern was kept.*does not declare"):
        rs.measure(network(), batches(), [largest], lab=LAB)
