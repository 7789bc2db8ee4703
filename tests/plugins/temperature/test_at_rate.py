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
from reluscope_plugins.schedulers import ActCooLR
from reluscope_plugins.temperature.distance import pattern_distances, share_of_width
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


@pytest.mark.parametrize("width", [0, 64])
def test_batches_add_up_to_the_whole(width, lab):
    model, x, step = prepared()
    chosen = [lab.metrics[name].bind(width=width) for name in NAMES]
    whole = rs.measure(model, [x], chosen, lab=lab, step=step)
    parts = rs.measure(model, [x[:7], x[7:8], x[8:]], chosen, lab=lab, step=step)
    for name in NAMES:
        assert np.array_equal(whole[name].values, parts[name].values), name
    if width:
        return
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


@pytest.mark.parametrize("name", NAMES)
def test_laws_at_a_width(name, lab):
    check_metric(lab.metrics[name].bind(width=64), lab=lab)


def bent() -> nn.Module:
    """Sites of two and three states, of positions, and of a width that fills no byte."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Conv2d(3, 5, 2), nn.ReLU6(), nn.Flatten(), nn.Linear(20, 11), nn.Hardtanh(),
        nn.Linear(11, 2),
    ).double()  # fmt: skip
    with torch.no_grad():
        model[5].weight *= 4  # so that the last site has units in all three states
    return model


@pytest.mark.parametrize("width", [1, 5, 64])
def test_patterns_of_a_width_are_those_of_independent_units(width, lab):
    model = bent()
    x = 3 * torch.randn(40, 1, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (4 * model(x)).square().mean().backward()
    step = rs.OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.02))
    before = rs.observe(model, x)
    with step.taken(0.02):
        after = rs.observe(model, x)
    flipped = [(before.pattern[site] != after.pattern[site]).double().mean().item() for site in before.sites]
    shares = np.array([1 - (1 - share) ** (width / depth**0.5) for depth, share in enumerate(flipped, 1)])
    assert all(0 < share < 1 for share in flipped)
    found = rs.measure(model, [x[:15], x[15:]], [lab.metrics[name].bind(width=width) for name in NAMES], step=step)
    assert found.site.values.tolist() == ["1#0", "3#0", "6#0"]
    np.testing.assert_allclose(found.pattern_distance, shares, rtol=1e-12)
    np.testing.assert_allclose(found.mean_pattern_distance, shares.mean(), rtol=1e-12)
    np.testing.assert_allclose(found.pattern_temperature, -np.log2(1 - shares), rtol=1e-9)
    np.testing.assert_allclose(found.mean_pattern_temperature, -np.log2(1 - shares.mean()), rtol=1e-9)


@pytest.mark.parametrize("width", [0, 64])
def test_it_is_what_the_scheduler_measures(width, lab):
    model = bent()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = ActCooLR(optimizer, model, 20, width=width, samples=32, every=1, warmup=0)
    entry = lab.metrics["mean_pattern_distance"].bind(width=width)
    generator = torch.Generator().manual_seed(1)
    compared = []
    for _ in range(12):
        x = torch.randn(40, 1, 4, 4, generator=generator, dtype=torch.float64)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), (x.sum((1, 2, 3)) > 0).long()).backward()
        found = rs.measure(model, [x[:32]], entry, lab=lab, step=rs.OptimizerStep(optimizer), training=True)
        optimizer.step()
        probes = scheduler.probes
        scheduler.step(x)
        if scheduler.probes > probes:
            compared.append((scheduler.measured[0], found.mean_pattern_distance.item()))
    assert len(compared) >= 5
    assert len(set(compared)) >= 5
    for measured, expected in compared:
        assert measured == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("width", [-1, 2.0, "64", True])
def test_a_width_that_is_none(width, lab):
    model, x, step = prepared()
    with pytest.raises(ObservationError, match=rf"width is {width!r}, expected an integer of at least 0"):
        rs.measure(model, [x], lab.metrics["mean_pattern_temperature"].bind(width=width), lab=lab, step=step)


def test_sensitivity_at_a_width_has_the_same_at_the_rate_in_force(lab):
    model, x, step = prepared()
    entry = lab.metrics["learning_rate_sensitivity"].bind(low=0.02, high=1.0, rates=2, width=64)
    found = rs.measure(model, [x], [entry, lab.metrics["pattern_distance"].bind(width=64)], lab=lab, step=step)
    assert np.array_equal(found.learning_rate_sensitivity.values[0], found.pattern_distance.values)
    assert (found.pattern_distance > 0).all()


class Branching(nn.Module):
    """A first site that not every batch comes by, so that the second is the first of some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.one, self.two = nn.ReLU(), nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        h = h if float(x.sum()) > 0 else self.one(h)
        return self.last(self.two(self.second(h)))


def test_batches_that_take_different_paths_merge_in_any_order(lab):
    """A site is as deep as where it comes first."""
    torch.manual_seed(0)
    model = Branching().double()
    both = [torch.rand(9, 4, dtype=torch.float64), -torch.rand(9, 4, dtype=torch.float64)]
    sum(model(x).square().mean() for x in both).backward()
    step = rs.OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.3))
    metric = lab.metrics["pattern_distance"].bind(width=64)
    found = [rs.measure(model, order, metric, step=step).pattern_distance for order in (both, both[::-1])]
    assert {*found[0].site.values} == {"one#0", "two#0"}
    for site in ("one#0", "two#0"):
        assert float(found[0].sel(site=site)) == float(found[1].sel(site=site))
    flipped = []
    for x in both:
        before = rs.observe(model, x).pattern["two#0"]
        with step.taken(0.3):
            flipped.append((before != rs.observe(model, x).pattern["two#0"]).double().mean().item())
    expected = 1 - (1 - np.mean(flipped)) ** 64
    assert 0 < expected < 1
    np.testing.assert_allclose(float(found[0].sel(site="two#0")), expected, rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 16, 100])
def test_where_all_units_change_all_patterns_do(depth):
    assert share_of_width(1.0, 1, depth) == 1.0
    assert share_of_width(0.0, 1, depth) == 0.0
