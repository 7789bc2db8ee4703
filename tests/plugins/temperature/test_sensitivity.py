"""Learning-rate sensitivity and its transition, against loops over rates and fits by grid search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope.lab import Lab
from reluscope.series import Series
from reluscope_plugins import temperature
from reluscope_plugins.temperature import divergence, sensitivity
from reluscope_plugins.temperature.step_changes import Distances
from reluscope_plugins.temperature.transition import MODELS, ErrorFunction, TransitionModel

LAB = Lab(plugins=[temperature])
RATES = np.geomspace(1e-4, 1e2, 50)
MEANS = ("mu", "sigma", "error", "residual")


def shares(**sites: TransitionModel | np.ndarray) -> Distances:
    values = {
        site: model.probability(RATES) if isinstance(model, TransitionModel) else model for site, model in sites.items()
    }
    return Distances(RATES, values)


def network() -> tuple[nn.Module, torch.optim.Optimizer, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)).double()
    x, y = torch.randn(64, 5, dtype=torch.float64), torch.randint(3, (64,))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    nn.functional.cross_entropy(model(x), y).backward()
    return model, optimizer, x, y


def test_sensitivity_is_the_distance_at_each_rate() -> None:
    model, optimizer, x, _ = network()
    step = rs.OptimizerStep(optimizer)
    names = ["learning_rate_sensitivity", "mean_learning_rate_sensitivity", "mean_transition_residual"]
    found = rs.measure(model, [x[:40], x[40:]], names, lab=LAB, step=step)
    table = found["learning_rate_sensitivity"]
    assert table.dims == ("learning_rate", "site")
    assert table["learning_rate"].attrs["units"] == "1"
    np.testing.assert_allclose(table["learning_rate"], RATES)
    for rate in RATES[::7]:
        before = rs.observe(model, x)
        with step.taken(float(rate)):
            after = rs.observe(model, x)
        for site in before.sites:
            changed = (before.pattern[site] != after.pattern[site]).any(1).double().mean().item()
            assert float(table.sel(learning_rate=rate, site=site)) == changed
    np.testing.assert_allclose(found["mean_learning_rate_sensitivity"], table.mean("site"))
    assert table.values.min() < 0.1
    assert table.values.max() > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_metrics_are_the_parameters_of_the_model_that_was_measured(name: str) -> None:
    models = {
        "error_function": (ErrorFunction(-3.0, 1.5), ErrorFunction(0.5, 0.7)),
        "half_error_function": (MODELS[name](30.0, 2.0), MODELS[name](100.0, 0.3)),
        "arctangent": (MODELS[name](30.0, 2.0), MODELS[name](100.0, 0.3)),
    }[name]
    found = shares(a=models[0], b=models[1])
    for key, entry in (("mu", sensitivity.transition_mu), ("sigma", sensitivity.transition_sigma)):
        values = entry.implementation()(found, model=name)
        assert values.dims == ("site",)
        assert values["site"].values.tolist() == ["a", "b"]
        np.testing.assert_allclose(values, [getattr(model, key) for model in models], rtol=1e-3)
    assert np.all(sensitivity.transition_error.implementation()(found, model=name) < 1e-6)


def test_the_mean_is_fitted_best_by_what_a_dense_search_finds() -> None:
    found = shares(a=ErrorFunction(-4.0, 1.0), b=ErrorFunction(1.0, 0.5))
    mu, sigma, error = (
        float(entry.implementation()(found))
        for entry in (
            sensitivity.mean_transition_mu,
            sensitivity.mean_transition_sigma,
            sensitivity.mean_transition_error,
        )
    )
    best = min(
        (float(np.sqrt(np.mean((found.mean - ErrorFunction(m, s).probability(RATES)) ** 2))), m, s)
        for m in np.linspace(-6, 3, 181)
        for s in np.linspace(0.1, 8, 159)
    )
    assert error <= best[0] + 1e-9
    assert mu == pytest.approx(best[1], abs=0.05)
    assert sigma == pytest.approx(best[2], abs=0.05)
    residual = sensitivity.mean_transition_residual.implementation()(found)
    np.testing.assert_allclose(residual, found.mean - ErrorFunction(mu, sigma).probability(RATES), atol=1e-9)
    assert math.sqrt(float((residual**2).mean())) == pytest.approx(error)


def test_rates_at_which_the_network_overflows_are_left_out() -> None:
    model = ErrorFunction(-2.0, 1.0)
    cut = np.where(RATES < 20, model.probability(RATES), np.nan)
    found = shares(a=cut)
    assert float(sensitivity.mean_transition_mu.implementation()(found)) == pytest.approx(-2.0, abs=1e-6)
    assert float(sensitivity.transition_sigma.implementation()(found)[0]) == pytest.approx(1.0, abs=1e-6)
    residual = sensitivity.mean_transition_residual.implementation()(found)
    np.testing.assert_array_equal(np.isnan(residual), np.isnan(cut))


@pytest.mark.parametrize(
    "values",
    [np.zeros(50), np.ones(50), (RATES > 1).astype(float), np.where(RATES < 1, 0.9, 0.1), np.full(50, np.nan)],
)
def test_what_cannot_be_fitted_is_missing(values: np.ndarray) -> None:
    found = shares(a=values, b=ErrorFunction(0.0, 1.0))
    for entry in (sensitivity.transition_mu, sensitivity.transition_sigma, sensitivity.transition_error):
        first, second = entry.implementation()(found).values
        assert math.isnan(first)
        assert math.isfinite(second)
    alone = shares(a=values)
    for entry in (sensitivity.mean_transition_mu, *sensitivity.COMPARED):
        assert np.isnan(entry.implementation()(alone)).all()
    assert math.isnan(float(divergence.divergence_warning.implementation()(alone, found)))
    assert math.isnan(float(divergence.divergence_warning.implementation()(found, alone)))


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ObservationError, match=r"arctangen.*'arctangent'"):
        sensitivity.mean_transition_mu.implementation()(shares(a=ErrorFunction(0.0, 1.0)), model="arctangen")


def test_rates_are_chosen_by_parameters_and_refused_by_name() -> None:
    model, optimizer, x, _ = network()
    step = rs.OptimizerStep(optimizer)
    entry = LAB.metrics["mean_learning_rate_sensitivity"].bind(low=0.01, high=1.0, rates=3)
    found = rs.measure(model, [x], [entry], lab=LAB, step=step)
    np.testing.assert_allclose(found["learning_rate"], [0.01, 0.1, 1.0])
    with pytest.raises(ObservationError, match="low is 2"):
        rs.measure(model, [x], [entry.bind(low=2.0)], lab=LAB, step=step)


def test_all_metrics_of_one_range_share_one_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    model, optimizer, x, _ = network()
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1

    model.register_forward_hook(count)
    names = [name for name, entry in LAB.metrics.items() if entry.of == sensitivity.RATES]
    assert len(names) == 18
    rs.measure(model, [x], names, lab=LAB, step=rs.OptimizerStep(optimizer))
    assert passes == 51


@pytest.mark.parametrize("model", ["half_error_function", "arctangent"])
@pytest.mark.parametrize("what", MEANS)
def test_named_metrics_are_those_of_the_model(model: str, what: str) -> None:
    own, general = LAB.metrics[f"mean_{model}_{what}"], LAB.metrics[f"mean_transition_{what}"]
    assert own.dims == general.dims
    net, optimizer, x, _ = network()
    step = rs.OptimizerStep(optimizer)
    found = rs.measure(net, [x], [own, general.bind(model=model)], lab=LAB, step=step)
    xr.testing.assert_equal(found[own.name], found[general.name])
    assert model.replace("_", " ") in found[own.name].attrs["long_name"]


sigmas = st.floats(0.3, 3.0)


@given(mu=st.floats(-4.0, 1.0), before=sigmas, now=sigmas)
def test_the_warning_is_the_logarithm_of_the_growth_of_sigma(mu: float, before: float, now: float) -> None:
    warn = divergence.divergence_warning.implementation()
    value = float(warn(shares(a=ErrorFunction(mu, now)), shares(a=ErrorFunction(0.0, before))))
    assert value == pytest.approx(math.log(now / before), abs=1e-4)


def test_the_warning_of_a_training_is_taken_against_its_reference() -> None:
    model, optimizer, x, y = network()
    sigma, warning = LAB.metrics["mean_transition_sigma"], LAB.metrics["divergence_warning"]
    series = Series([sigma, warning], lab=LAB)
    widths, warnings = [], []
    for _ in range(4):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        found, _ = series.measure(model, [x], step=rs.OptimizerStep(optimizer))
        widths.append(float(found[sigma.name]))
        warnings.append(float(found[warning.name]))
        optimizer.step()
    references = {"first": [widths[0]] * 4, "previous": [widths[0], *widths[:-1]]}[warning.compared_with]
    np.testing.assert_allclose(warnings, np.log(np.array(widths) / references), atol=1e-12)
    assert len(set(widths)) == 4
