"""The share of changed patterns against loops over samples and units, and a network that does not notice."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from reluscope.errors import NotFiniteError, ObservationError
from reluscope.lab import Lab
from reluscope.observation import observe
from reluscope.optimizer_step import OptimizerStep
from reluscope.preserve import preserved
from reluscope_plugins import architectures
from reluscope_plugins.temperature.distance import pattern_distances, probability, temperature

RATES = [0.0, 1e-3, 0.05, 1.0]
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.1),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.01),
}


def dense():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 70), nn.ReLU(), nn.Linear(70, 3)).double()


def batch(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def backward(model, x):
    """One backward pass that leaves buffers and random state alone."""
    model.zero_grad()
    with preserved(model):
        output = model(x)
        loss = output.square().mean()
        found = torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
    for parameter, gradient in zip((p for p in model.parameters() if p.requires_grad), found, strict=True):
        parameter.grad = gradient


def patterns(model, x):
    """Site to bool `(row, unit)`, heard with hooks on the ReLU modules."""
    found = {}

    def hear(name):
        def hook(module, args):
            z = args[0].detach()
            z = z.movedim(1, -1).reshape(-1, z.shape[1]) if z.ndim == 4 else z
            found[name] = (z > 0).tolist()

        return hook

    handles = [m.register_forward_pre_hook(hear(f"{name}#0")) for name, m in model.named_modules() if is_relu(m)]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return found


def is_relu(module):
    return isinstance(module, nn.ReLU | nn.ReLU6)


def slow_distances(model, optimizer, x, rates):
    """Step a copy for real, and compare unit by unit and sample by sample."""
    table = []
    randomness = torch.get_rng_state()
    for rate in rates:
        both = []
        for stepped in (False, True):
            network, other = copy.deepcopy((model, optimizer))
            for one, parameter in zip(network.parameters(), model.parameters(), strict=True):
                one.grad = None if parameter.grad is None else parameter.grad.clone()
            if stepped and rate:
                for group in other.param_groups:
                    group["lr"] = rate
                other.step()
            torch.set_rng_state(randomness)
            both.append(patterns(network, x))
        before, after = both
        row = []
        for site, rows in before.items():
            changed = 0
            for old, new in zip(rows, after[site], strict=True):
                different = False
                for one, two in zip(old, new, strict=True):
                    different = different or one != two
                changed += different
            row.append(changed / len(rows))
        table.append(row)
    torch.set_rng_state(randomness)
    return np.array(table)


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_equals_stepping_for_real(name, steps):
    model = dense()
    optimizer = OPTIMIZERS[name](model.parameters())
    x = batch(60, 5)
    for step in range(steps):
        backward(model, batch(60, 5, seed=2 + step))
        optimizer.step()
    backward(model, x)
    found = pattern_distances(model, x, OptimizerStep(optimizer), RATES)
    assert found.dims == ("learning_rate", "site")
    assert found.learning_rate.values.tolist() == RATES
    assert found.site.values.tolist() == ["1#0", "3#0"]
    expected = slow_distances(model, optimizer, x, RATES)
    assert np.array_equal(found.values, expected)
    assert (expected[0] == 0).all()
    assert expected[-1].max() > 0


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 9, 3)
        self.norm = nn.BatchNorm2d(9)
        self.relu = nn.ReLU()
        self.drop = nn.Dropout(0.4)
        self.second = nn.Conv2d(9, 6, 3)
        self.relu6 = nn.ReLU6()
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        h = self.drop(self.relu(self.norm(self.first(x))))
        return self.last(self.relu6(self.second(h)).mean((2, 3)))


@pytest.mark.parametrize("training", [True, False])
def test_positions_count_as_samples(training):
    model = Convolutional().double().train(training)
    x = 2 * batch(4, 3, 7, 7)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = pattern_distances(model, x, OptimizerStep(optimizer), RATES)
    expected = slow_distances(model, optimizer, x, RATES)
    # the reference hears one side of the three-state site alone
    assert np.array_equal(found.sel(site="relu#0").values, expected[:, 0])
    assert (found.sel(site="relu6#0").values >= expected[:, 1]).all()
    assert (found.values[0] == 0).all()
    assert found.values[-1].min() > 0


class Noisy(nn.Module):
    """Draws from three random states, counts in buffers, and one of them is made anew each time."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 10)
        self.relu = nn.ReLU()
        self.last = nn.Linear(10, 2)
        self.frozen = nn.Parameter(torch.zeros(10), requires_grad=False)
        self.register_buffer("mean", torch.zeros(10))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        h = self.linear(x) + self.mean + self.count + self.frozen + random.random() + np.random.rand()  # noqa: NPY002
        h = h + torch.randn_like(h)
        self.mean = 0.9 * self.mean + 0.1 * h.detach().mean(0)
        self.count += 1
        with torch.no_grad():
            self.frozen += 0.5
        return self.last(self.relu(h))


def resnet18():
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=5)


def mobilenet():
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.mobilenet_v2(num_classes=5)


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    return model


MODELS = {
    "noisy": (Noisy, (6, 4)),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.ReLU(), nn.Linear(8, 2)), (6, 4)),
    "batch norm": (lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)), (6, 4)),
    "spectral norm": (
        lambda: nn.Sequential(spectral_norm(nn.Linear(4, 8)), nn.ReLU(), spectral_norm(nn.Linear(8, 2))),
        (6, 4),
    ),
    "tied": (tied, (6, 4)),
    "convolutional": (Convolutional, (3, 3, 7, 7)),
    "resnet18": (resnet18, (2, 3, 32, 32)),
    "mobilenet_v2": (mobilenet, (2, 3, 32, 32)),
}


def state(model, optimizer):
    """What must not change, by value and by identity."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    kept = [t for one in optimizer.state.values() for t in one.values() if isinstance(t, torch.Tensor)]
    return {
        "values": [(name, tensor.detach().clone()) for name, tensor in tensors],
        "identity": [(name, id(tensor), tensor.data_ptr(), tensor.requires_grad) for name, tensor in tensors],
        "versions": [(name, p._version) for name, p in model.named_parameters() if p.requires_grad],
        "gradients": [(name, id(t.grad), None if t.grad is None else t.grad.clone()) for name, t in tensors],
        "optimizer": [(id(tensor), tensor.clone()) for tensor in kept],
        "rates": [group["lr"] for group in optimizer.param_groups],
        "training": [module.training for module in model.modules()],
        "hooks": [
            [list(value) for name, value in vars(m).items() if "hooks" in name and value is not None]
            for m in model.modules()
        ],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()),  # noqa: NPY002
    }


def same(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_untouched(before, model, optimizer):
    after = state(model, optimizer)
    for key, value in before.items():
        assert same(value, after[key]), key


@pytest.mark.parametrize(("training", "dtype"), [(True, torch.float32), (True, torch.float64), (False, torch.float32)])
@pytest.mark.parametrize("name", MODELS)
def test_no_trace_is_left_and_draws_are_replayed(name, dtype, training):
    build, shape = MODELS[name]
    model = build().to(dtype).train(training)
    x = batch(*shape, dtype=dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    backward(model, x)
    optimizer.step()
    backward(model, x)
    before = state(model, optimizer)
    kept = x.clone()
    step = OptimizerStep(optimizer)
    found = pattern_distances(model, x, step, [1.0, 0.0, 0.0])
    assert_untouched(before, model, optimizer)
    assert torch.equal(x, kept)
    assert (found.values[1:] == 0).all()
    assert found.values[0].max() > 0


def test_without_gradients_it_is_the_same():
    model = Noisy()
    x = batch(6, 4, dtype=torch.float32)
    backward(model, x)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    step = OptimizerStep(optimizer)
    before = state(model, optimizer)
    expected = pattern_distances(model, x, step, RATES)
    with torch.no_grad():
        assert pattern_distances(model, x, step, RATES).identical(expected)
    with torch.inference_mode():
        assert pattern_distances(model, x, step, RATES).identical(expected)
    assert_untouched(before, model, optimizer)


class Breaks(nn.Module):
    """Raises once its weights have moved."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 4)
        self.relu = nn.ReLU()
        self.register_buffer("first", self.linear.weight.detach().clone())

    def forward(self, x):
        torch.rand(1)
        h = self.relu(self.linear(self.norm(x)))
        if not torch.equal(self.linear.weight, self.first):
            raise ZeroDivisionError("moved")
        return h


def test_a_pass_that_raises_leaves_no_trace():
    model = Breaks()
    x = batch(8, 4, dtype=torch.float32)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = state(model, optimizer)
    with pytest.raises(ZeroDivisionError, match="moved"):
        pattern_distances(model, x, OptimizerStep(optimizer), [0.0, 0.1])
    assert_untouched(before, model, optimizer)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile], ids=["parallel", "compiled"])
def test_wrappers_are_taken_off(wrap):
    model = Convolutional()
    x = 2 * batch(4, 3, 7, 7, dtype=torch.float32)
    backward(model, x)
    wrapped = wrap(model)
    optimizer = torch.optim.SGD(wrapped.parameters(), lr=0.1)
    before = state(wrapped, optimizer)
    found = pattern_distances(wrapped, x, OptimizerStep(optimizer), RATES)
    assert_untouched(before, wrapped, optimizer)
    assert found.identical(pattern_distances(model, x, OptimizerStep(optimizer), RATES))


def test_a_seen_step_is_of_the_weights_it_was_made_of():
    model = dense()
    x = batch(60, 5)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    step = OptimizerStep(optimizer)
    expected = pattern_distances(model, x, step, RATES)
    for _ in range(3):
        optimizer.step()
    optimizer.zero_grad()
    assert pattern_distances(model, x, step, RATES).identical(expected)


# Observation 1. With powers of two nothing is rounded: stepping there and back gives the same weights, bit for bit.
def integers():
    model = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        shape = parameter.shape
        parameter.data = torch.randint(-8, 9, shape, generator=generator).double() / 4
        parameter.grad = torch.randint(-8, 9, shape, generator=generator).double() / 8
    return model, torch.randint(-16, 17, (80, 5), generator=generator).double() / 8


def there_and_back(model, x, optimizer, rate, regrad=None):
    """P of a step, and P of the step back from where it led to, at minus the rate."""
    there = pattern_distances(model, x, OptimizerStep(optimizer), [rate])
    optimizer.param_groups[0]["lr"] = rate
    start = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer.step()
    if regrad is not None:
        regrad(model, x)
    step = OptimizerStep(optimizer)
    back = pattern_distances(model, x, step, [-rate])
    returned = all(
        torch.equal(step.weights(-rate)[parameter], before)
        for parameter, before in zip(model.parameters(), start, strict=True)
    )
    return there.values[0], back.values[0], returned


@pytest.mark.parametrize("rate", [2.0**-5, 0.25, 1.0, 4.0])
def test_a_step_and_the_step_back_along_it_change_the_same_patterns(rate):
    model, x = integers()
    there, back, returned = there_and_back(model, x, torch.optim.SGD(model.parameters(), lr=0.5), rate)
    assert returned
    assert np.array_equal(there, back)
    assert (there >= 0).all()
    assert there.max() > 0


@pytest.mark.parametrize(
    ("settings", "regrad"),
    [({}, backward), ({"momentum": 0.5}, None), ({"weight_decay": 0.5}, None)],
    ids=["gradient taken anew", "momentum", "weight decay"],
)
def test_another_update_does_not_lead_back(settings, regrad):
    model, x = integers()
    if regrad is not None:
        regrad(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, **settings)
    there, back, returned = there_and_back(model, x, optimizer, 0.5, regrad)
    assert not returned
    assert not np.array_equal(there, back)


@given(seed=st.integers(0, 2**31), rates=st.lists(st.floats(-10, 10), min_size=1, max_size=3))
def test_shares_are_in_range_and_nothing_changes_at_rate_0(seed, rates):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 1))
    x = torch.randn(5, 3)
    backward(model, x)
    step = OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.1))
    found = pattern_distances(model, x, step, [0.0, *rates])
    assert (found.values[0] == 0).all()
    assert ((found.values >= 0) & (found.values <= 1)).all()
    assert np.array_equal(found.values * 5, np.round(found.values * 5))


def test_an_overflow_is_nan_at_its_own_rate():
    model = dense().float()
    x = batch(20, 5, dtype=torch.float32)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = OptimizerStep(optimizer)
    found = pattern_distances(model, x, step, [1e-3, 1e35, 0.0, 1e-2])
    assert np.isnan(found.values).any(axis=1).tolist() == [False, True, False, False]
    assert np.isnan(found.values[1]).all()
    assert np.array_equal(found.values[[0, 3]], pattern_distances(model, x, step, [1e-3, 1e-2]).values)


def test_a_network_that_is_not_finite_before_the_step():
    model = dense()
    x = batch(20, 5)
    backward(model, x)
    model[0].weight.data[0, 0] = torch.nan
    with pytest.raises(NotFiniteError, match=r"'0\.weight' holds 1 NaN"):
        pattern_distances(model, x, OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.1)), [0.1])


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.relu, self.other = nn.ReLU(), nn.ReLU()
        self.width = 0

    def forward(self, x):
        h = self.linear(x)
        moved = self.linear.bias.abs().max() > 5
        if self.width:
            return self.relu(h[:, : self.width if moved else 4])
        return self.relu(h) if moved else self.other(h)


def test_networks_whose_sites_depend_on_their_weights():
    model = Branching()
    x = batch(8, 4, dtype=torch.float32)
    backward(model, x)
    step = OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.1))
    assert (pattern_distances(model, x, step, [0.0]).values == 0).all()
    with pytest.raises(ObservationError, match=r"at learning rate 1e\+06 the network calls other activations"):
        pattern_distances(model, x, step, [1e6])
    model.width = 2
    with pytest.raises(ObservationError, match=r"'relu#0' has 2 units at 1 positions after the step and 4 at 1 before"):
        pattern_distances(model, x, step, [1e6])


def test_fifty_rates_take_fifty_one_passes():
    model = dense()
    x = batch(20, 5)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    passes = []
    model.register_forward_hook(lambda *args: passes.append(1))
    step = OptimizerStep(optimizer)
    assert len(pattern_distances(model, x, step, np.geomspace(1e-4, 1e2, 50))) == 50
    assert len(passes) == 51


def test_a_lab_architecture_in_training_mode():
    model = Lab(plugins=[architectures]).architectures["resnet"].build(depth=8, seed=0).train()
    x = batch(4, 3, 32, 32, dtype=torch.float32)
    backward(model, x)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = state(model, optimizer)
    found = pattern_distances(model, x, OptimizerStep(optimizer), [0.0, 1e-3, 1e-1, 10.0])
    assert_untouched(before, model, optimizer)
    mean = found.mean("site").values
    assert mean[0] == 0 < mean[1] < mean[2] < mean[3] <= 1


def test_it_sees_what_observing_twice_sees():
    model = Convolutional()
    x = 2 * batch(4, 3, 7, 7, dtype=torch.float32)
    backward(model, x)
    step = OptimizerStep(torch.optim.SGD(model.parameters(), lr=0.1))
    found = pattern_distances(model, x, step, [0.3])
    with preserved(model):
        first = observe(model, x)
    with preserved(model), step.taken(0.3):
        second = observe(model, x)
    for place, site in enumerate(first.sites):
        changed = (first.pattern[site] != second.pattern[site]).any(dim=1)
        assert found.values[0, place] == changed.double().mean().item()


@given(share=st.floats(0, 1, exclude_max=True), base=st.floats(1.5, 20))
def test_temperature_and_probability_undo_each_other(share, base):
    assert np.isclose(probability(temperature(share, base=base), base=base), share, rtol=1e-9, atol=1e-15)
    assert temperature(share, base=base) >= 0


def test_temperature_at_its_ends():
    assert temperature([0.0, 0.5, 0.75, 1.0]).tolist() == [0.0, 1.0, 2.0, np.inf]
    assert not np.signbit(temperature(0.0))
    assert np.isclose(temperature(1 - np.exp(-3.0), base=np.e), 3.0)
    assert probability(np.inf) == 1.0
    assert 0 < temperature(1e-18) < 2e-18  # small shares are not lost
    # figure 3.22 equates a temperature of 3.17 with 89 %: base 2, and neither e nor 10
    assert [round(float(probability(3.17, base=base)), 2) for base in (2, np.e, 10)] == [0.89, 0.96, 1.0]


def test_a_step_of_another_model_is_refused() -> None:
    first, second = (torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()) for _ in range(2))
    first(torch.ones(4, 2)).sum().backward()
    step = OptimizerStep(torch.optim.SGD(first.parameters(), lr=0.1))
    with pytest.raises(ObservationError, match="no parameter of the step is one of the model"):
        pattern_distances(second, torch.ones(4, 2), step, [0.1])
