"""A model is left exactly as found, whatever runs in between."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import affine, observe
from reluscope.preserve import is_preserved, preserved


def network():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 3), nn.PReLU()
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.randn(6, 4, generator=generator)
    model[1].eval()
    model[2].register_forward_hook(lambda module, args, output: None)
    return model


def hooks(module):
    return {name: list(value.items()) for name, value in vars(module).items() if "hooks" in name and value is not None}


def snapshot(model):
    """Everything that must not change, by value and by identity."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "values": [(name, tensor.detach().clone()) for name, tensor in tensors],
        "identity": [(name, id(tensor), tensor.data_ptr(), tensor.requires_grad) for name, tensor in tensors],
        "grads": [(name, id(t.grad), None if t.grad is None else t.grad.clone()) for name, t in tensors],
        "training": [module.training for module in model.modules()],
        "hooks": [hooks(module) for module in model.modules()],
        "children": [list(module._modules) for module in model.modules()],
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()),  # noqa: NPY002
    }


def same(first, second):
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def assert_untouched(model, before):
    after = snapshot(model)
    for key, value in before.items():
        assert same(value, after[key]), key


def vandalise(model):
    """Change all that can be changed."""
    with torch.no_grad():
        model[0].weight.add_(1)
        model[0].weight.grad.mul_(2)
        model[4].weight.data = torch.zeros(3, 6)
        model[4].bias.grad = torch.ones(3)
        model[1].running_mean = torch.full((6,), 7.0)
        model[1].num_batches_tracked += 5
    model[0].bias.requires_grad_(True)
    model[4].bias = nn.Parameter(torch.ones(3))
    model[0].register_buffer("extra", torch.zeros(1))
    model[1].register_forward_pre_hook(lambda module, args: None)
    model[2]._forward_hooks.clear()
    model.train(not model.training)
    model.add_module("more", nn.ReLU())
    torch.rand(3)
    random.random()
    np.random.rand(3)  # noqa: NPY002


@pytest.mark.parametrize("training", [None, True, False])
@pytest.mark.parametrize("raises", [False, True])
def test_vandalism_is_undone(training, raises):
    model = network()
    before = snapshot(model)
    try:
        with preserved(model, training=training):
            if training is not None:
                assert all(module.training is training for module in model.modules())
            vandalise(model)
            if raises:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert raises
    assert_untouched(model, before)


def test_mode_inside_is_left_when_not_asked_for():
    model = network()
    with preserved(model):
        assert [module.training for module in model] == [True, False, True, True, True, True]


def test_nesting():
    model = network()
    before = snapshot(model)
    assert not is_preserved(model)
    with preserved(model):
        assert is_preserved(model)
        assert is_preserved(model[0])
        with preserved(model, training=False):
            vandalise(model)
        assert is_preserved(model)
        assert_untouched(model, before)
    assert not is_preserved(model)


def test_preserving_within_inference_mode():
    model = network()
    before = snapshot(model)
    with torch.inference_mode(), preserved(model, training=True):
        model(torch.randn(5, 4))
    assert_untouched(model, before)


def test_a_recorded_graph_survives():
    # Restoring must not look like a change to the weights that a pending backward pass still needs.
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    x = torch.randn(5, 3)
    loss = model(x).square().sum()
    observe(model, x)
    loss.backward()
    assert model[0].weight.grad is not None


def test_shared_and_lazy_parameters():
    tied = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    tied[1].weight = tied[0].weight
    with preserved(tied):
        tied[1].weight.data.zero_()
    assert tied[0].weight is tied[1].weight
    assert bool((tied[0].weight != 0).any())
    with preserved(nn.LazyLinear(3)):
        pass


@pytest.mark.parametrize("look", [observe, affine, lambda m, x: observe(m, x, affine=True).affine().weight])
@pytest.mark.parametrize("training", [True, False])
def test_observing_leaves_no_trace(look, training):
    model = network().train(training)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    kept = x.clone()
    before = snapshot(model)
    try:
        look(model, x)
    except ObservationError:
        assert training
    assert_untouched(model, before)
    assert torch.equal(x, kept)
    assert not x.requires_grad


class Breaks(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.broken = nn.ReLU()
        self.broken.register_forward_hook(self.fail)

    def fail(self, module, args, output):
        torch.rand(1)
        raise ZeroDivisionError("inside")

    def forward(self, x):
        return self.broken(self.norm(x))


@pytest.mark.parametrize("graph", [False, True])
def test_a_model_that_raises(graph):
    model = Breaks()
    x = torch.randn(8, 4)
    before = snapshot(model)
    with pytest.raises(ZeroDivisionError, match="inside") as caught:
        observe(model, x, affine=graph)
    assert str(caught.value) == "inside"
    assert "'broken'" in caught.value.__notes__[0]
    assert_untouched(model, before)


@pytest.mark.parametrize("graph", [False, True])
def test_an_observation_that_fails(graph):
    model = network().train()
    before = snapshot(model)
    with pytest.raises(ObservationError, match="NaN"):
        observe(model, torch.full((8, 4), torch.nan), affine=graph)
    assert_untouched(model, before)


def test_backward_hooks_neither_fire_nor_vanish():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    fired = []
    model[0].register_full_backward_hook(lambda module, gi, go: fired.append(1) or (gi[0] * 0,))
    x = torch.randn(2, 3)
    before = snapshot(model)
    weight, _ = affine(model, x)
    assert_untouched(model, before)
    assert not fired
    assert bool((weight != 0).any())
    assert len(model[0]._backward_hooks) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: its random state is looked at")
def test_the_random_state_of_a_gpu():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5)).cuda()
    x = torch.randn(8, 4, device="cuda")
    before = torch.cuda.get_rng_state()
    observe(model, x)
    assert torch.equal(torch.cuda.get_rng_state(), before)
