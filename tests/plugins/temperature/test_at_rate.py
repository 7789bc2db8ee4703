"""Distance and temperature of the optimizer's next step, as metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import reluscope as rs
from reluscope.errors import ObservationError
from reluscope.testing import check_metric
from reluscope_plugins import temperature
from reluscope_plugins.temperature.distance import pattern_distances
from reluscope_plugins.temperature.step_changes import step_changes

NAMES = ["pattern_distance", "mean_pattern_distance", "pattern_temperature", "mean_pattern_temperature"]


@pytest.fixture(scope="module")
def lab():
    return rs.Lab(plugins=[temperature])


def network(*, dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(5, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(dropout), nn.Linear(12, 7), nn.ReLU(),
        nn.Linear(7, 2),
    ).double()  # fmt: skip


def prepared(rate=0.02, **settings):
    model = network(**settings)
    x = torch.randn(60, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    model.eval()
    (4 * model(x)).square().mean().backward()
    model.train()
    return model, x, rs.OptimizerStep(torch.optim.SGD(model.parameters(), lr=rate))


@pytest.mark.parametrize("name", NAMES)
def test_laws(name, lab):
    check_metric(name, lab=lab)


def test_they_are_the_distance_at_the_rate_in_force(lab):
    model, x, step = prepared()
    dataset = rs.measure(model, [x], NAMES, lab=lab, step=step)
    shares = pattern_distances(model.eval(), x, step, [0.02]).values[0]
    assert (shares > 0).all()
    assert (shares < 1).all()
    assert dataset.site.values.tolist() == ["2#0", "5#0"]
    assert np.array_equal(dataset.pattern_distance.values, shares)
    assert np.isclose(dataset.mean_pattern_distance.item(), shares.mean(), rtol=1e-15)
    assert np.allclose(dataset.pattern_temperature.values, -np.log2(1 - shares), rtol=1e-12)
    # the temperature of the mean, not the mean of the temperatures
    assert np.isclose(dataset.mean_pattern_temperature.item(), -np.log2(1 - shares.mean()), rtol=1e-12)


def test_batches_add_up_to_the_whole(lab):
    model, x, step = prepared()
    whole = rs.measure(model, [x], NAMES, lab=lab, step=step)
    parts = rs.measure(model, [x[:7], x[7:8], x[8:]], NAMES, lab=lab, step=step)
    for name in NAMES:
        assert np.array_equal(whole[name].values, parts[name].values), name
    weighted = sum(
        len(part) * pattern_distances(model.eval(), part, step, [0.02]).values[0] for part in (x[:7], x[7:8], x[8:])
    )
    assert np.allclose(weighted / 60, whole.pattern_distance.values, rtol=1e-14)


def test_training_mode_replays_its_draws(lab):
    model, x, step = prepared(rate=1e-300, dropout=0.5)
    buffers = {name: values.clone() for name, values in model.named_buffers()}
    randomness = torch.get_rng_state()
    dataset = rs.measure(model, [x[:30], x[30:]], NAMES, lab=lab, step=step, training=True)
    for name in NAMES:
        assert (dataset[name].values == 0).all(), name
    assert torch.equal(torch.get_rng_state(), randomness)
    assert all(torch.equal(values, buffers[name]) for name, values in model.named_buffers())


def test_base_of_the_logarithm(lab):
    model, x, step = prepared()
    natural = lab.metrics["pattern_temperature"].bind(base=np.e)
    first = rs.measure(model, [x], "pattern_temperature", lab=lab, step=step).pattern_temperature.values
    second = rs.measure(model, [x], natural, lab=lab, step=step).pattern_temperature.values
    assert np.allclose(second, first * np.log(2), rtol=1e-12)


def test_all_patterns_changed_is_nan_and_no_infinity(lab):
    model = nn.Sequential(nn.Linear(2, 1, bias=False), nn.ReLU(), nn.Linear(1, 1))
    x = torch.tensor([[1.0, 1.0], [2.0, 1.0]])
    model[0].weight.data.fill_(1.0)
    model[0].weight.grad = torch.ones(1, 2)
    step = rs.OptimizerStep(torch.optim.SGD(model.parameters(), lr=3.0))
    dataset = rs.measure(model, [x], NAMES, lab=lab, step=step)
    assert dataset.pattern_distance.values.tolist() == [1.0]
    assert dataset.mean_pattern_distance.item() == 1.0
    assert np.isnan(dataset.pattern_temperature.values).all()
    assert np.isnan(dataset.mean_pattern_temperature.item())


def test_an_overflow_in_one_batch_is_nan(lab):
    model, x, step = prepared(rate=1e300)
    dataset = rs.measure(model, [x[:30], x[30:]], NAMES, lab=lab, step=step)
    for name in NAMES:
        assert np.isnan(dataset[name].values).all(), name


@pytest.mark.parametrize("name", NAMES)
def test_without_a_step(name, lab):
    model, x, _ = prepared()
    with pytest.raises(ObservationError, match=rf"metric '{name}' looks at what a step .*OptimizerStep\(optimizer\)"):
        rs.measure(model, [x], name, lab=lab)
    with pytest.raises(ObservationError, match=r"no step of an optimizer"):
        _ = rs.observe(model.eval(), x).step


def test_states_of_different_rates_do_not_merge():
    states = []
    for rate in (0.1, 0.2):
        model, x, step = prepared(rate=rate)
        states.append(step_changes().measure(rs.observe(model.eval(), x, patterns_only=True, step=step)))
    with pytest.raises(ObservationError, match=r"counts at learning rates \[0\.1\] and \[0\.2\]"):
        step_changes().merge(*states)
