"""Metrics as monoids: both forms, weights, labels, and what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from reluscope.entries import Count, Metric, metric
from reluscope.errors import ObservationError, PluginError
from reluscope.observation import Observation, observe

TWO_SITES = ("1#0", "3#0")


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2), nn.LeakyReLU(), nn.Linear(2, 2))


def inputs(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, 3, generator=torch.Generator().manual_seed(seed))


@metric(dims=("unit",), minimum=0.0)
def positive_part(observation: Observation) -> dict[str, torch.Tensor]:
    """Mean positive part of each pre-activation."""
    return {site: observation.preactivation[site].clamp(min=0).mean(0) for site in observation.sites}


@metric(dims=("site",), units="m")
def spread(observation: Observation) -> dict[str, float]:
    """Mean absolute pre-activation.."""
    return {site: float(observation.preactivation[site].abs().double().mean()) for site in observation.sites}


@metric()
def output_norm(observation: Observation) -> torch.Tensor:
    """Mean norm of the output."""
    return observation.output.norm(dim=1).mean()


@metric(dims=("class",))
def mean_logit(observation: Observation) -> torch.Tensor:
    """Mean of each logit."""
    return observation.output.mean(0)


def made(definition: Any, **declared: Any) -> Metric:
    return Metric(name="made", summary="Made for a test", definition=definition, **declared)


def class_form(measure: Any = None, merge: Any = None, finish: Any = None, **declared: Any) -> Metric:
    namespace = {
        "measure": measure or (lambda self, observation: {"n": observation.samples}),
        "merge": merge or (lambda self, first, second: {"n": first["n"] + second["n"]}),
        "finish": finish or (lambda self, state: state["n"]),
    }
    return made(type("made", (), namespace), **declared)


def test_labels_of_units(model: nn.Module) -> None:
    array = positive_part(observe(model, inputs(5)))
    assert array.dims == ("unit",)
    assert array.unit_site.values.tolist() == ["1#0"] * 4 + ["3#0"] * 2
    assert array.neuron.values.tolist() == [0, 1, 2, 3, 0, 1]
    assert array.neuron.dtype == np.int64
    assert array.unit_site.dtype.kind == "U"
    assert array.dtype == np.float64
    assert array.name == "positive_part"
    assert array.attrs == {"long_name": "Mean positive part of each pre-activation", "units": "1"}
    z = model[0](inputs(5)).detach().numpy()
    np.testing.assert_allclose(array.values[:4], np.maximum(z, 0).mean(0), rtol=1e-6)


def test_labels_of_sites(model: nn.Module) -> None:
    model[3] = nn.GELU()
    array = spread(observe(model, inputs(5)))
    assert array.dims == ("site",)
    assert array.site.values.tolist() == list(TWO_SITES)
    assert array.activation.values.tolist() == ["relu", "gelu"]
    assert array.smooth.values.tolist() == [False, True]
    assert array.attrs["units"] == "m"


def test_a_number_and_an_array_without_sites(model: nn.Module) -> None:
    observation = observe(model, inputs(5))
    assert output_norm(observation).dims == ()
    assert mean_logit(observation).dims == ("class",)
    np.testing.assert_allclose(mean_logit(observation).values, observation.output.detach().numpy().mean(0), rtol=1e-6)


@pytest.mark.parametrize("entry", [positive_part, spread, output_norm, mean_logit], ids=lambda entry: entry.name)
def test_means_are_weighted_by_samples(entry: Metric, model: nn.Module) -> None:
    x = inputs(10)
    state = None
    for part in (x[:1], x[1:8], x[8:]):
        state = entry.merge(state, entry.measure(observe(model, part)))
    xr.testing.assert_allclose(entry.finish(state), entry(observe(model, x)), rtol=1e-5)
    assert state["samples"] == 10


def test_positions_of_a_convolution_weigh_as_samples() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)).double()
    model(torch.zeros(1, 1, 4, 4).double())
    small, large = torch.rand(3, 1, 4, 4).double(), torch.rand(2, 1, 4, 4).double() - 1
    state = spread.merge(spread.measure(observe(model, small)), spread.measure(observe(model, large)))
    z = torch.cat([model[0](small).flatten(), model[0](large).flatten()])
    assert spread.finish(state).item() == pytest.approx(z.abs().mean().item(), rel=1e-12)


def test_rows_of_a_site_are_its_weight(model: nn.Module) -> None:
    # On images of two sizes a fully convolutional network has another number of rows for the same number of samples.
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU()).double()
    small, large = torch.randn(1, 1, 3, 3).double(), torch.randn(1, 1, 6, 6).double()
    state = spread.merge(spread.measure(observe(net, small)), spread.measure(observe(net, large)))
    z = torch.cat([net[0](small).flatten(), net[0](large).flatten()])
    assert spread.finish(state).item() == pytest.approx(z.abs().mean().item(), rel=1e-12)


def test_none_is_the_identity(model: nn.Module) -> None:
    state = spread.measure(observe(model, inputs(5)))
    assert spread.merge(None, state) is state
    assert spread.merge(state, None) is state
    assert spread.merge(None, None) is None
    with pytest.raises(ObservationError, match="'spread': nothing was measured"):
        spread.finish(None)


def test_float32_values_are_added_in_float64(model: nn.Module) -> None:
    tenth = made(lambda observation: torch.tensor(0.1))
    state = None
    for _ in range(1000):
        state = tenth.merge(state, tenth.measure(observe(model, inputs(1))))
    assert tenth.finish(state).item() == pytest.approx(float(np.float32(0.1)), rel=1e-13)


def test_a_site_left_out_is_missing(model: nn.Module) -> None:
    only_first = made(lambda observation: {"1#0": 1.0, "3#0": None}, dims=("site",))
    array = only_first(observe(model, inputs(3)))
    np.testing.assert_array_equal(array.values, [1.0, np.nan])
    per_unit = made(lambda observation: {"3#0": [1.0, 2.0]}, dims=("unit",))
    np.testing.assert_array_equal(per_unit(observe(model, inputs(3))).values, [np.nan] * 4 + [1.0, 2.0])


def test_a_site_of_some_batches_only_has_their_mean(model: nn.Module) -> None:
    some = made(lambda observation: {"1#0": 4.0} | ({"3#0": 2.0} if observation.samples > 1 else {}), dims=("site",))
    one, two = some.measure(observe(model, inputs(1))), some.measure(observe(model, inputs(2)))
    for first, second in ((one, two), (two, one)):
        array = some.finish(some.merge(first, second))
        assert array.site.values.tolist() == list(TWO_SITES)
        np.testing.assert_array_equal(array.values, [4.0, 2.0])


def test_further_dims_after_the_site(model: nn.Module) -> None:
    bounds = made(lambda o: {s: [-1.0, float(i)] for i, s in enumerate(o.sites)}, dims=("site", "bound"))
    assert bounds(observe(model, inputs(3))).values.tolist() == [[-1.0, 0.0], [-1.0, 1.0]]


def test_parameters_reach_both_forms(model: nn.Module) -> None:
    @metric()
    def function(observation: Observation, *, scale: float = 1.0) -> float:
        """Scale."""
        return scale

    class Form:
        def __init__(self, *, scale: float = 1.0) -> None:
            self.scale = scale

        def measure(self, observation: Observation) -> dict[str, int]:
            return {"n": 1}

        def merge(self, first: Any, second: Any) -> Any:
            return first

        def finish(self, state: Any) -> float:
            return self.scale

    for entry in (function, made(Form)):
        observation = observe(model, inputs(2))
        assert entry(observation).item() == 1.0
        array = entry.bind(scale=3.0)(observation)
        assert array.item() == 3.0
        assert array.attrs["parameters"] == '{"scale": 3.0}'


def test_a_class_may_label_by_hand(model: nn.Module) -> None:
    labelled = class_form(finish=lambda self, state: xr.DataArray([1, 2], dims="class"), dims=("class",), units="m")
    array = labelled(observe(model, inputs(2)))
    assert array.attrs["units"] == "m"
    assert array.dtype == np.float64


def test_rounding_at_the_end_of_the_range_is_set_to_it(model: nn.Module) -> None:
    just_over = made(lambda observation: 1.0 + 1e-9, maximum=1.0)
    assert just_over(observe(model, inputs(2))).item() == 1.0


REFUSED = {
    "dims": (class_form(finish=lambda self, s: xr.DataArray([1.0], dims="class")), "gave dims ('class',)"),
    "units": (class_form(finish=lambda self, s: xr.DataArray(1.0, attrs={"units": "m"})), "gave units 'm'"),
    "above": (made(lambda o: {o.sites[1]: 1.5}, dims=("site",), maximum=1.0), "1.5 at site '3#0', above its maximum"),
    "below": (made(lambda o: -0.1, minimum=0.0), "-0.1, below its minimum"),
    "nan": (made(lambda o: float("nan")), "gave NaN"),
    "nan at a site": (made(lambda o: {o.sites[0]: float("nan")}, dims=("site",)), "gave NaN at site '1#0'"),
    "infinite": (made(lambda o: {o.sites[1]: float("inf")}, dims=("site",)), "infinite value at site '3#0'"),
    "unknown site": (made(lambda o: {"1#1": 0.0}, dims=("site",)), "unknown site '1#1'. Did you mean '1#0'?"),
    "no mapping": (made(lambda o: 0.0, dims=("unit",)), "got float, expected a mapping"),
    "mapping": (made(lambda o: {"1#0": 0.0}), "neither 'site' nor 'unit'"),
    "units of a site": (made(lambda o: {"1#0": [1.0]}, dims=("unit",)), "expected one for each of its 4 units"),
    "text": (made(lambda o: "many"), "got str, expected a number"),
    "too many dims": (made(lambda o: [1.0]), "got values of shape (1,), expected 0 dims"),
    "raises": (made(lambda o: 1 // 0), "measure raised ZeroDivisionError"),
    "labelled function": (made(lambda o: xr.DataArray(1.0)), "returned a DataArray"),
    "tensor state": (class_form(measure=lambda self, o: {"z": o.output}), "a Tensor at ['z']"),
    "set state": (class_form(measure=lambda self, o: {"seen": [{1}]}), "a set at ['seen'][0]"),
    "object array": (class_form(measure=lambda self, o: np.array([None])), "an array of dtype object"),
    "numbered keys": (class_form(measure=lambda self, o: {0: 1}), "the key 0"),
    "finish raises": (class_form(finish=lambda self, s: s["x"]), "finish raised KeyError"),
    "no method": (made(type("made", (), {"measure": None})), "has no method 'measure'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case: str, model: nn.Module) -> None:
    entry, message = REFUSED[case]
    with pytest.raises(PluginError) as caught:
        entry(observe(model, inputs(2)))
    assert "metric 'made'" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merge_that_raises_or_gives_no_plain_data(model: nn.Module) -> None:
    state = class_form().measure(observe(model, inputs(2)))
    with pytest.raises(PluginError, match="merge raised ZeroDivisionError") as caught:
        class_form(merge=lambda self, a, b: 1 // 0).merge(state, state)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(PluginError, match="merge gave a set"):
        class_form(merge=lambda self, a, b: {1}).merge(state, state)


def test_sample_dim_kept_by_mistake(model: nn.Module) -> None:
    kept = made(lambda observation: observation.output[:, 0], dims=("class",))
    with pytest.raises(PluginError, match=r"shapes \(2,\) and \(3,\) in two batches"):
        kept.merge(kept.measure(observe(model, inputs(2))), kept.measure(observe(model, inputs(3))))


def test_states_of_others_are_refused(model: nn.Module) -> None:
    state = spread.measure(observe(model, inputs(2)))
    with pytest.raises(PluginError, match="got a state of 'spread'"):
        positive_part.merge(state, None)
    with pytest.raises(PluginError, match="got a state of 'spread'"):
        positive_part.finish(state)
    other = nn.Sequential(nn.Linear(3, 5), nn.ReLU())
    with pytest.raises(ObservationError, match="merge only states of one network"):
        spread.merge(state, spread.measure(observe(nn.Sequential(nn.Identity(), nn.ReLU()), inputs(2))))
    with pytest.raises(ObservationError, match="'1#0'"):
        spread.merge(state, spread.measure(observe(other, inputs(2))))


def test_targets_are_asked_for(model: nn.Module) -> None:
    needy = dataclasses.replace(output_norm, needs=frozenset({"targets"}))
    with pytest.raises(ObservationError, match="'output_norm' needs targets"):
        needy.measure(observe(model, inputs(2)))


def test_a_state_without_sites_finishes() -> None:
    # What a network gives that has other bends than activation functions.
    state = {"metric": "spread", "samples": 3, "sites": {}, "value": {}}
    assert spread.finish(state).shape == (0,)
    assert positive_part.finish({**state, "metric": "positive_part"}).shape == (0,)


def test_errors_of_an_observation_name_the_metric(model: nn.Module) -> None:
    curious = made(lambda o: o.affine().weight.sum())
    with pytest.raises(ObservationError, match=r"metric 'made': .*needs=\{'affine'\}"):
        curious(observe(model, inputs(2)))
    with pytest.raises(PluginError, match="metric 'made': measure raised UnknownNameError: unknown site"):
        made(lambda o: o.preactivation["1#7"].mean())(observe(model, inputs(2)))


def test_counts_are_divided_once(model: nn.Module) -> None:
    counted = made(lambda observation: {"1#0": Count(torch.ones(4), of=49)}, dims=("unit",))
    state = None
    for _ in range(49):
        state = counted.merge(state, counted.measure(observe(model, inputs(1))))
    assert state["value"]["1#0"][0].dtype == np.int64
    assert counted.finish(state).values[:4].tolist() == [1 / 49] * 4
    assert made(lambda observation: Count(3, of=7))(observe(model, inputs(1))).item() == 3 / 7


@pytest.mark.parametrize(
    "count", [Count(0.5, 1), Count(float("nan"), 1), Count(2.0**60, 1), Count(1, 0), Count(1, 1.5)]
)
def test_what_is_no_count(count: Count, model: nn.Module) -> None:
    with pytest.raises(PluginError, match=r"metric 'made': got Count.*expected whole numbers"):
        made(lambda observation: count).measure(observe(model, inputs(1)))


def test_labels_that_the_schema_demands(model: nn.Module) -> None:
    assert mean_logit(observe(model, inputs(5)))["class"].values.tolist() == [0, 1]
    unlabelled = class_form(finish=lambda self, state: xr.DataArray(np.zeros(6), dims=["unit"]), dims=("unit",))
    with pytest.raises(PluginError, match="dim 'unit' has no coordinate 'unit_site'"):
        unlabelled(observe(model, inputs(5)))
    strange = class_form(finish=lambda self, state: xr.DataArray([1.0], {"site": ["9#0"]}, ["site"]), dims=("site",))
    with pytest.raises(PluginError, match="unknown site '9#0' in site"):
        strange(observe(model, inputs(5)))


def test_needs_are_those_that_something_supplies() -> None:
    with pytest.raises(PluginError, match="unknown need 'steps'"):
        made(lambda observation: 1.0, needs=frozenset({"steps"}))
