"""A step of an optimizer at any rate equals stepping for real, and the optimizer does not notice."""

from __future__ import annotations

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import optimizer as torch_optimizer

from reluscope.errors import NotFiniteError, ObservationError
from reluscope.optimizer_step import LINEAR, OptimizerStep

MODES = [("", {}), ("-foreach", {"foreach": True})]
SETTINGS = {
    "SGD": [
        {},
        {"momentum": 0.9},
        {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True},
    ],
    "Adam": [{}, {"amsgrad": True}, {"weight_decay": 0.1}, {"maximize": True}, {"decoupled_weight_decay": True}],
    "AdamW": [{}, {"amsgrad": True, "weight_decay": 0.3}],
    "Adamax": [{}, {"weight_decay": 0.1}],
    "NAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RMSprop": [{}, {"momentum": 0.9}, {"centered": True}, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}],
    "Adagrad": [{}, {"lr_decay": 0.1, "weight_decay": 0.1}],
    "Adadelta": [{}, {"weight_decay": 0.1, "maximize": True}],
}
CASES = {
    f"{name}{place}{suffix}": (name, {**settings, **mode})
    for name, several in SETTINGS.items()
    for place, settings in enumerate(several)
    for suffix, mode in MODES
}
CASES |= {
    f"{name}-fused": (name, {"fused": True, **extra})
    for name, extra in [("SGD", {"momentum": 0.9}), ("Adam", {"weight_decay": 0.1}), ("AdamW", {}), ("Adagrad", {})]
}
CASES |= {
    f"{name}-tensor": (name, {"lr": torch.tensor(0.125)}) for name in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad")
}
CASES |= {"Muon": ("Muon", {}), "Muon-nesterov": ("Muon", {"nesterov": False, "weight_decay": 0.3})}
OTHERS = {"Rprop": {}, "ASGD": {"lambd": 0.1}, "Adafactor": {}}
RATES = [1e-6, 1e-3, 0.125, 3.0]


def weights(dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 3), (4, 4), (2, 6)]
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def draw_gradients(parameters, seed):
    generator = torch.Generator().manual_seed(1000 + seed)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)


def advanced(make, steps, dtype=torch.float64):
    """Parameters and optimizer after some real steps, with gradients for the next."""
    parameters = weights(dtype)
    optimizer = make(parameters)
    for step in range(steps):
        draw_gradients(parameters, step)
        optimizer.step()
    draw_gradients(parameters, steps)
    return parameters, optimizer


def stepped_for_real(parameters, optimizer, rate, rates=None):
    """The slow reference: a copy of all, stepped."""
    copies, other = copy.deepcopy((parameters, optimizer))
    for one, parameter in zip(copies, parameters, strict=True):
        one.grad = None if parameter.grad is None else parameter.grad.clone()
    for place, group in enumerate(other.param_groups):
        group["lr"] = rate if rates is None else rates[place]
    other.step()
    return [one.detach() for one in copies]


def assert_within_ulps(found, real, before, ulps=4):
    for one, expected, start in zip(found, real, before, strict=True):
        scale = torch.maximum(start.abs(), (expected - start).abs())
        assert one.dtype == expected.dtype
        assert bool(((one - expected).abs() <= ulps * torch.finfo(one.dtype).eps * scale).all())


def maker(name, settings):
    return lambda parameters: getattr(torch.optim, name)(parameters, **{"lr": 0.1, **settings})


def test_every_optimizer_of_torch_is_tried():
    tried = {name for name, _ in CASES.values()} | set(OTHERS) | {"LBFGS", "SparseAdam", "Optimizer"}
    torchs = {n for n, v in vars(torch.optim).items() if isinstance(v, type) and issubclass(v, torch.optim.Optimizer)}
    assert torchs <= tried
    assert {one.__name__ for one in LINEAR} == tried - set(OTHERS) - {"LBFGS", "Optimizer"}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("case", CASES)
def test_one_step_serves_all_rates(case, steps, dtype):
    parameters, optimizer = advanced(maker(*CASES[case]), steps, dtype)
    before = [parameter.detach().clone() for parameter in parameters]
    step = OptimizerStep(optimizer)
    for rate in RATES:
        real = stepped_for_real(parameters, optimizer, rate)
        found = step.weights(rate)
        assert any(not torch.equal(one, start) for one, start in zip(real, before, strict=True)) or rate < 1e-3
        assert_within_ulps([found[parameter] for parameter in parameters], real, before)
        with step.taken(rate):
            assert all(torch.equal(parameter, found[parameter]) for parameter in parameters)
    assert all(torch.equal(values, start) for values, start in zip(step.weights(0.0).values(), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("settings", SETTINGS["SGD"])
def test_half_precision(settings, dtype):
    parameters, optimizer = advanced(maker("SGD", settings), 3, dtype)
    before = [parameter.detach().clone() for parameter in parameters]
    step = OptimizerStep(optimizer)
    for rate in RATES:
        found = step.weights(rate)
        assert_within_ulps(
            [found[p] for p in parameters], stepped_for_real(parameters, optimizer, rate), before, ulps=8
        )


@pytest.mark.parametrize("steps", [0, 1, 5])
@pytest.mark.parametrize("name", OTHERS)
def test_others_are_stepped_for_each_rate(name, steps):
    parameters, optimizer = advanced(maker(name, OTHERS[name]), steps)
    step = OptimizerStep(optimizer)
    for rate in RATES:
        found = step.weights(rate)
        real = stepped_for_real(parameters, optimizer, rate)
        assert all(torch.equal(found[p], one) for p, one in zip(parameters, real, strict=True))


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_not_linear(name):
    parameters, optimizer = advanced(maker(name, OTHERS[name]), 5)
    once, twice = (stepped_for_real(parameters, optimizer, rate) for rate in (1.0, 2.0))
    for before, one, two in zip(parameters, once, twice, strict=True):
        assert not torch.allclose(two - before, 2 * (one - before), rtol=1e-3)
        assert not torch.equal(one, before)
        assert torch.equal(one, two) or name == "Adafactor"  # the others know the rate of the first step, or the last


class SquareRoot(torch.optim.SGD):
    """Not linear in the rate, though its parent is."""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["lr"] = group["lr"] ** 0.5
        return super().step(closure)


class Langevin(torch.optim.Optimizer):
    """Draws random numbers, counts in a list, and keeps state under a name."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr})
        self.counts = [0]
        self.state["mean"] = torch.zeros(())

    @torch.no_grad()
    def step(self, closure=None):
        self.counts[0] += 1
        self.state["mean"] += 1
        for group in self.param_groups:
            for parameter in group["params"]:
                noise = torch.randn_like(parameter) * group["lr"] ** 0.5
                parameter.add_(self.counts[0] * parameter.grad + self.state["mean"], alpha=-group["lr"]).add_(noise)


class Lookahead(torch.optim.Optimizer):
    """Steps another optimizer and goes part of the way."""

    def __init__(self, inner):
        super().__init__(inner.param_groups, {})
        self.inner = inner
        self.param_groups = inner.param_groups

    @torch.no_grad()
    def step(self, closure=None):
        before = [p.clone() for group in self.param_groups for p in group["params"]]
        self.inner.step()
        for start, p in zip(before, (p for group in self.param_groups for p in group["params"]), strict=True):
            p.lerp_(start, 0.5)


USERS = {
    "subclass": lambda parameters: SquareRoot(parameters, lr=0.1, momentum=0.9),
    "random": lambda parameters: Langevin(parameters, lr=0.1),
    "wrapper": lambda parameters: Lookahead(torch.optim.Adam(parameters, lr=0.1)),
}


@pytest.mark.parametrize("user", USERS)
def test_users_optimizers_are_stepped(user):
    def made():
        torch.manual_seed(0)
        return advanced(USERS[user], 2)

    parameters, optimizer = made()
    state = copy.deepcopy(vars(optimizer).get("counts")), copy.deepcopy(optimizer.state_dict())
    randomness = torch.get_rng_state()
    step = OptimizerStep(optimizer)
    for rate in (0.01, 0.25):
        found = step.weights(rate)
        assert torch.equal(torch.get_rng_state(), randomness)
        twins, twin = made()  # torch copies no attributes of an optimizer, so one is made anew and stepped for real
        twin.param_groups[0]["lr"] = rate
        twin.step()
        torch.set_rng_state(randomness)
        assert all(torch.equal(found[p], one) for p, one in zip(parameters, twins, strict=True))
    assert same(state, (vars(optimizer).get("counts"), optimizer.state_dict()))


def same(first, second):
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (tuple, list)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def snapshot(parameters, optimizer):
    """What must not change, by value and by identity."""
    tensors = [t for state in optimizer.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    return {
        "values": [parameter.detach().clone() for parameter in parameters],
        "storage": [(p.data_ptr(), p._version, id(p.grad), p.grad is None or p.grad._version) for p in parameters],
        "gradients": [None if p.grad is None else p.grad.detach().clone() for p in parameters],
        "state": [(id(tensor), tensor.data_ptr(), tensor._version, tensor.clone()) for tensor in tensors],
        "states": [(id(parameter), id(state), list(state)) for parameter, state in optimizer.state.items()],
        "groups": [
            {key: value for key, value in group.items() if key != "params"} | {"params": list(map(id, group["params"]))}
            for group in optimizer.param_groups
        ],
        "attributes": {key: id(value) for key, value in vars(optimizer).items()},
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()),  # noqa: NPY002
    }


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("steps", [0, 3])
@pytest.mark.parametrize("make", [maker("SGD", {"momentum": 0.9}), maker("Adam", {}), maker("Adafactor", {})])
def test_nothing_is_disturbed(make, steps, raises):
    parameters, optimizer = advanced(make, steps)
    before = snapshot(parameters, optimizer)
    step = OptimizerStep(optimizer)
    for rate in (0.0, 0.1, 1e30):
        try:
            with step.taken(rate):
                if raises:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            assert raises
    after = snapshot(parameters, optimizer)
    for key in before:
        assert same(before[key], after[key]), key
    # nor later by what a network writes into its weights meanwhile
    expected = step.weights(0.0)
    with step.taken(0.0), torch.no_grad():
        parameters[0].zero_()
    assert same(list(step.weights(0.0).values()), list(expected.values()))


@pytest.mark.parametrize("make", [maker("SGD", {"momentum": 0.9}), maker("Rprop", {}), *USERS.values()])
def test_it_keeps_what_it_needs(make):
    _, optimizer = advanced(make, 1)
    randomness = torch.get_rng_state()
    step = OptimizerStep(optimizer)
    expected = [step.weights(rate) for rate in (0.0, 0.1)]
    optimizer.step()
    optimizer.zero_grad()
    optimizer.param_groups[0]["lr"] = 7.0
    torch.rand(5)
    found = [step.weights(rate) for rate in (0.0, 0.1)]
    assert all(same(list(one.values()), list(other.values())) for one, other in zip(expected, found, strict=True))
    torch.set_rng_state(randomness)


@pytest.mark.parametrize("make", [maker("SGD", {}), maker("ASGD", {}), *USERS.values()])
def test_hooks_on_steps_are_not_called(make):
    called = []
    parameters, optimizer = advanced(make, 1)
    handles = [
        optimizer.register_step_pre_hook(lambda *args: called.append("pre")),
        optimizer.register_step_post_hook(lambda *args: called.append("post")),
        torch_optimizer.register_optimizer_step_pre_hook(lambda *args: called.append("all, pre")),
        torch_optimizer.register_optimizer_step_post_hook(lambda *args: called.append("all, post")),
    ]
    try:
        with OptimizerStep(optimizer).taken(0.1):
            pass
        assert not called
        optimizer.step()
        assert {"pre", "post", "all, pre", "all, post"} <= set(called)
    finally:
        for handle in handles:
            handle.remove()
    assert all(parameter.grad is not None for parameter in parameters)


def test_it_may_be_made_in_a_hook():
    made = []
    parameters, optimizer = advanced(USERS["subclass"], 1)
    handle = torch_optimizer.register_optimizer_step_pre_hook(lambda one, *_: made.append(OptimizerStep(one)))
    try:
        optimizer.step()
    finally:
        handle.remove()
    assert all(torch.equal(p, made[0].weights(made[0].rate)[p]) for p in parameters)


def test_a_schedulers_count_is_not_disturbed():
    _, optimizer = advanced(maker("SGD", {}), 0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    OptimizerStep(optimizer).weights(0.3)
    with pytest.warns(UserWarning, match=r"before `optimizer\.step\(\)`"):
        scheduler.step()
    _, optimizer = advanced(maker("SGD", {}), 0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    OptimizerStep(optimizer).weights(0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler.step()
    assert scheduler.last_epoch == 1


def test_a_recorded_graph_survives():
    layer = nn.Linear(3, 2)
    x = torch.randn(4, 3)
    layer(x).sum().backward()
    loss = layer(x).square().sum()
    with OptimizerStep(torch.optim.SGD(layer.parameters(), lr=0.1)).taken(0.5):
        pass
    loss.backward()


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adafactor])
def test_groups_keep_the_ratio_of_their_rates(kind):
    parameters = weights()
    optimizer = kind([{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.05, "weight_decay": 0.1}], lr=0.2)
    draw_gradients(parameters, 0)
    step = OptimizerStep(optimizer)
    assert (step.rate, step.ratios) == (0.2, [1.0, 0.25])
    real = stepped_for_real(parameters, optimizer, None, rates=[0.4, 0.1])
    assert_within_ulps([step.weights(0.4)[p] for p in parameters], real, [p.detach() for p in parameters])


def test_groups_whose_rates_are_all_zero_are_taken_as_equal():
    parameters = weights()
    optimizer = torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.0)
    draw_gradients(parameters, 0)
    found = OptimizerStep(optimizer).weights(0.5)
    for parameter in parameters:
        assert torch.allclose(found[parameter], parameter - 0.5 * parameter.grad)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()


def test_scaled_gradients():
    x = torch.randn(16, 4, dtype=torch.float64)
    found = []
    for scaled in (False, True):
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        loss = model(x).square().mean()
        (scaler.scale(loss) if scaled else loss).backward()
        found.append(OptimizerStep(optimizer, grad_scale=scaler.get_scale() if scaled else 1.0).weights(0.5))
        if scaled:
            assert not same(*[list(one.values()) for one in (found[0], OptimizerStep(optimizer).weights(0.5))])
            scaler.unscale_(optimizer)
            found.append(OptimizerStep(optimizer).weights(0.5))
            scaler.step(optimizer)
    plain, divided, unscaled = (list(one.values()) for one in found)
    assert same(plain, divided)  # a power of two changes no digit
    assert same(plain, unscaled)


def test_accumulated_and_clipped_gradients():
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for part in torch.randn(3, 8, 4, dtype=torch.float64):
        (model(part).square().mean() / 3).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
    assert norm > 1e-3
    parameters = list(model.parameters())
    real = stepped_for_real(parameters, optimizer, 0.07)
    found = OptimizerStep(optimizer).weights(0.07)
    assert_within_ulps([found[p] for p in parameters], real, [p.detach() for p in parameters])


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.SparseAdam])
@pytest.mark.parametrize("steps", [0, 3])
def test_sparse_gradients(kind, steps):
    torch.manual_seed(0)
    table = nn.Embedding(10, 4, sparse=True, dtype=torch.float64)
    optimizer = kind(table.parameters(), lr=0.1)
    for step in range(steps + 1):
        optimizer.zero_grad()
        table(torch.tensor([1, 3, 3, step])).square().sum().backward()
        if step < steps:
            optimizer.step()
    gradient = table.weight.grad.to_dense()
    found = OptimizerStep(optimizer)
    for rate in RATES:
        real = stepped_for_real([table.weight], optimizer, rate)
        assert_within_ulps([found.weights(rate)[table.weight]], real, [table.weight.detach()])
    assert table.weight.grad.is_sparse
    assert torch.equal(table.weight.grad.to_dense(), gradient)


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.Rprop])
def test_parameters_without_gradient_stay(kind):
    parameters = weights()
    parameters[1].requires_grad_(False)
    optimizer = kind(parameters, lr=0.1)
    draw_gradients([parameters[0]], 0)
    step = OptimizerStep(optimizer)
    assert step.parameters == (parameters[0],)
    before = [(p.data_ptr(), p.detach().clone()) for p in parameters]
    with step.taken(2.0):
        assert [p.data_ptr() == pointer for p, (pointer, _) in zip(parameters, before, strict=True)] == [0, 1, 1]
        assert all(torch.equal(p, values) for p, (_, values) in zip(parameters[1:], before[1:], strict=True))
    assert not parameters[1].requires_grad


def test_a_tied_weight_moves_once():
    layers = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    layers[1].weight = layers[0].weight
    layers(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    gradient = layers[0].weight.grad
    expected = layers[0].weight.detach() - 0.5 * gradient
    with OptimizerStep(torch.optim.SGD(layers.parameters(), lr=0.1)).taken(0.5):
        assert layers[1].weight is layers[0].weight
        assert torch.allclose(layers[1].weight, expected)


@given(
    rate=st.floats(0.001, 8),
    other=st.floats(0.001, 8),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    decay=st.sampled_from([0.0, 0.01]),
    steps=st.integers(0, 3),
)
def test_the_rate_in_force_does_not_matter(rate, other, momentum, decay, steps):
    parameters, optimizer = advanced(maker("SGD", {"momentum": momentum, "weight_decay": decay}), steps)
    found = []
    for rate_in_force in (rate, other):
        optimizer.param_groups[0]["lr"] = rate_in_force
        step = OptimizerStep(optimizer)
        assert step.rate == rate_in_force
        found.append([step.weights(1.0)[parameter] for parameter in parameters])
    assert same(*found)


class NeedsClosure(torch.optim.SGD):
    def step(self, closure):
        return super().step(closure)


class HoldsAFile(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


def test_bad_input():
    parameters = weights()
    with pytest.raises(ObservationError, match=r"LBFGS evaluates the loss several times"):
        OptimizerStep(torch.optim.LBFGS(parameters))
    with pytest.raises(ObservationError, match=r"got str, expected a torch\.optim\.Optimizer"):
        OptimizerStep("sgd")
    optimizer = torch.optim.SGD([{"params": parameters[:1], "lr": 0.0}, {"params": parameters[1:]}], lr=0.1)
    with pytest.raises(ObservationError, match=r"no parameter .* has a gradient, .* loss\.backward\(\)"):
        OptimizerStep(torch.optim.SGD(parameters, lr=0.1))
    draw_gradients(parameters, 0)
    with pytest.raises(ObservationError, match=r"first parameter group has the rate 0 and others \[0\.1\]"):
        OptimizerStep(optimizer)
    with pytest.raises(ObservationError, match=r"NeedsClosure raised TypeError .*closure"):
        OptimizerStep(NeedsClosure(parameters, lr=0.1)).weights(0.1)
    with open(__file__) as file:
        holds = HoldsAFile(parameters, lr=0.1)
        holds.file = file
        with pytest.raises(ObservationError, match=r"HoldsAFile cannot be copied"):
            OptimizerStep(holds)
    parameters[1].grad[0, 2] = torch.nan
    with pytest.raises(NotFiniteError, match=r"gradient of parameter 0 of group 1, of shape \(4, 4\), holds NaN"):
        OptimizerStep(torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:]}], lr=0.1))


def test_large_gradients_are_not_taken_for_infinite():
    parameter = nn.Parameter(torch.zeros(8, dtype=torch.float64))
    parameter.grad = torch.full_like(parameter, 1e200)  # beyond float32, in which they are summed
    found = OptimizerStep(torch.optim.SGD([parameter], lr=0.1)).weights(1e-200)[parameter]
    assert torch.allclose(found, torch.full_like(found, -1.0))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("settings", [{"capturable": True}, {"fused": True}, {"foreach": True}])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_on_a_gpu(name, settings):
    parameters = [nn.Parameter(parameter.detach().cuda()) for parameter in weights()]
    optimizer = maker(name, settings)(parameters)
    for step in range(3):
        draw_gradients([p.cpu() for p in parameters], step)
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, 0.5 + step)
        optimizer.step()
    real = stepped_for_real(parameters, optimizer, 0.3)
    found = OptimizerStep(optimizer).weights(0.3)
    assert_within_ulps([found[p] for p in parameters], real, [p.detach() for p in parameters])
