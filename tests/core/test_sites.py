"""Which torch functions bend, at which thresholds: checked against torch's own derivative."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from reluscope.errors import ObservationError
from reluscope.observation import observe
from reluscope.sites import activation_of, pattern


class Calls(nn.Module):
    """A network whose forward is a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


TWO_STATES = {
    "F.relu": (F.relu, "relu", 0.0),
    "F.relu inplace": (lambda x: F.relu(x, inplace=True), "relu", 0.0),
    "F.relu_": (F.relu_, "relu", 0.0),
    "torch.relu": (torch.relu, "relu", 0.0),
    "torch.relu_": (torch.relu_, "relu", 0.0),
    "Tensor.relu": (lambda x: x.relu(), "relu", 0.0),
    "Tensor.relu_": (lambda x: x.relu_(), "relu", 0.0),
    "aten.relu": (torch.ops.aten.relu, "relu", 0.0),
    "aten.relu.default": (torch.ops.aten.relu.default, "relu", 0.0),
    "nn.ReLU": (nn.ReLU(), "relu", 0.0),
    "nn.ReLU inplace": (nn.ReLU(inplace=True), "relu", 0.0),
    "keyword": (lambda x: F.relu(input=x), "relu", 0.0),
    "F.leaky_relu": (F.leaky_relu, "leaky_relu", 0.0),
    "F.leaky_relu_": (lambda x: F.leaky_relu_(x, 0.2), "leaky_relu", 0.0),
    "nn.LeakyReLU inplace": (nn.LeakyReLU(0.1, inplace=True), "leaky_relu", 0.0),
    "F.prelu": (lambda x: F.prelu(x, torch.tensor([0.25])), "prelu", 0.0),
    "torch.prelu": (lambda x: torch.prelu(x, torch.tensor([0.25])), "prelu", 0.0),
    "Tensor.prelu": (lambda x: x.prelu(torch.tensor([0.25])), "prelu", 0.0),
    "nn.PReLU": (nn.PReLU(), "prelu", 0.0),
    "F.rrelu": (F.rrelu, "rrelu", 0.0),
    "F.rrelu_": (F.rrelu_, "rrelu", 0.0),
    "F.threshold": (lambda x: F.threshold(x, 0.5, 7.0), "threshold", 0.5),
    "F.threshold_": (lambda x: F.threshold_(x, 0.5, 7.0), "threshold", 0.5),
    "nn.Threshold": (nn.Threshold(0.5, 7.0), "threshold", 0.5),
}
CLAMPED_BELOW = {
    "Tensor.clamp": lambda x: x.clamp(min=0),
    "Tensor.clamp positional": lambda x: x.clamp(0),
    "Tensor.clamp_": lambda x: x.clamp_(min=0),
    "torch.clamp": lambda x: torch.clamp(x, min=0),
    "torch.clamp tensor": lambda x: torch.clamp(x, min=torch.zeros(())),
    "clamp_min": lambda x: x.clamp_min(0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "torch.clamp_min": lambda x: torch.clamp_min(x, 0),
    "clip": lambda x: x.clip(0),
    "clip_": lambda x: x.clip_(min=0),
}
THREE_STATES = {
    "F.relu6": (F.relu6, "relu6", 0.0, 6.0),
    "F.relu6 inplace": (lambda x: F.relu6(x, inplace=True), "relu6", 0.0, 6.0),
    "nn.ReLU6": (nn.ReLU6(), "relu6", 0.0, 6.0),
    "F.hardtanh": (F.hardtanh, "hardtanh", -1.0, 1.0),
    "F.hardtanh_": (lambda x: F.hardtanh_(x, -2.0, 0.5), "hardtanh", -2.0, 0.5),
    "nn.Hardtanh": (nn.Hardtanh(-2.0, 2.0), "hardtanh", -2.0, 2.0),
    "F.hardsigmoid": (F.hardsigmoid, "hardsigmoid", -3.0, 3.0),
    "nn.Hardsigmoid": (nn.Hardsigmoid(), "hardsigmoid", -3.0, 3.0),
    "clamp": (lambda x: x.clamp(0, 1), "clamp", 0.0, 1.0),
    "clamp_": (lambda x: x.clamp_(max=1, min=0), "clamp", 0.0, 1.0),
    "torch.clip": (lambda x: torch.clip(x, -1, 1), "clamp", -1.0, 1.0),
}
SMOOTH = {
    "elu": [F.elu, F.elu_, nn.ELU(inplace=True)],
    "celu": [F.celu, torch.celu, nn.CELU()],
    "selu": [F.selu, torch.selu_, nn.SELU()],
    "gelu": [F.gelu, nn.GELU(), nn.GELU("tanh")],
    "silu": [F.silu, lambda x: F.silu(x, inplace=True), nn.SiLU()],
    "mish": [F.mish, nn.Mish()],
    "softplus": [F.softplus, nn.Softplus()],
    "hardswish": [F.hardswish, nn.Hardswish(inplace=True)],
    "sigmoid": [F.sigmoid, torch.sigmoid, lambda x: x.sigmoid_(), nn.Sigmoid(), torch.special.expit],
    "tanh": [F.tanh, torch.tanh, lambda x: x.tanh(), nn.Tanh()],
    "logsigmoid": [F.logsigmoid, nn.LogSigmoid()],
}


def grid():
    """Values on, just off and far from every threshold."""
    marks = torch.tensor([-3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 6.0])
    return torch.cat([marks, marks - 1e-3, marks + 1e-3, torch.tensor([-9.0, 9.0])]).unsqueeze(1)


def slope(function, x):
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf.clone()).sum(), leaf)
    return gradient


def only_site(function, x):
    observation = observe(Calls(function), x)
    assert len(observation.sites) == 1, observation.sites
    return observation, observation.sites[0]


@pytest.mark.parametrize("spelling", TWO_STATES)
def test_two_states(spelling):
    function, activation, threshold = TWO_STATES[spelling]
    x = grid()
    observation, site = only_site(function, x.clone())
    found = observation.site[site]
    assert (found.activation, found.states, found.smooth) == (activation, 2, False)
    assert torch.equal(observation.preactivation[site], x)
    assert observation.pattern[site].dtype == torch.bool
    assert torch.equal(observation.pattern[site], x > threshold)
    # Torch's derivative is one exactly where the unit is active, at the threshold too.
    assert torch.equal(observation.pattern[site], slope(function, x) == 1)


@pytest.mark.parametrize("spelling", CLAMPED_BELOW)
def test_relu_written_as_clamp(spelling):
    function = CLAMPED_BELOW[spelling]
    x = grid()
    observation, site = only_site(function, x.clone())
    assert (observation.site[site].activation, observation.site[site].states) == ("clamp", 2)
    assert torch.equal(observation.preactivation[site], x)
    assert torch.equal(observation.pattern[site], x > 0)
    assert torch.equal(observation.pattern[site][x != 0], slope(function, x)[x != 0] == 1)


def test_clamped_above_is_active_below():
    x = grid()
    for function in (lambda x: x.clamp(max=1), lambda x: x.clamp_max(1)):
        observation, site = only_site(function, x)
        assert torch.equal(observation.pattern[site], x < 1)
        assert torch.equal(observation.pattern[site][x != 1], slope(function, x)[x != 1] == 1)


@pytest.mark.parametrize("spelling", THREE_STATES)
def test_three_states(spelling):
    function, activation, lower, upper = THREE_STATES[spelling]
    x = grid()
    observation, site = only_site(function, x.clone())
    found = observation.site[site]
    assert (found.activation, found.states, found.smooth) == (activation, 3, False)
    assert torch.equal(observation.preactivation[site], x)
    states = observation.pattern[site]
    assert states.dtype == torch.uint8
    assert torch.equal(states == 0, x <= lower)
    assert torch.equal(states == 2, x >= upper)
    # The derivative of a clamp exactly at its bounds depends on the version of torch.
    settled = (x != lower) & (x != upper) if activation == "clamp" else torch.ones_like(x, dtype=torch.bool)
    assert torch.equal((states == 1)[settled], (slope(function, x) != 0)[settled])


SHRINKS = {
    "F.softshrink": (F.softshrink, "softshrink", 0.5),
    "nn.Softshrink": (nn.Softshrink(1.0), "softshrink", 1.0),
    "F.hardshrink": (F.hardshrink, "hardshrink", 0.5),
    "nn.Hardshrink": (nn.Hardshrink(2.0), "hardshrink", 2.0),
    "Tensor.hardshrink": (lambda x: x.hardshrink(lambd=3.0), "hardshrink", 3.0),
}


@pytest.mark.parametrize("spelling", SHRINKS)
def test_a_shrink_passes_on_what_lies_outside(spelling):
    function, activation, threshold = SHRINKS[spelling]
    x = torch.cat([grid(), -grid()])
    observation, site = only_site(function, x.clone())
    found = observation.site[site]
    assert (found.activation, found.states, found.smooth) == (activation, 3, False)
    states = observation.pattern[site]
    assert states.dtype == torch.uint8
    assert torch.equal(states == 1, x > threshold)
    assert torch.equal(states == 2, x < -threshold)
    assert torch.equal(states != 0, slope(function, x) != 0)


@pytest.mark.parametrize("layer", [nn.RNN(2, 3, nonlinearity="relu"), nn.RNNCell(2, 3, nonlinearity="relu")])
def test_relus_within_a_fused_recurrence_are_not_missed_in_silence(layer):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.recurrent = layer

        def forward(self, x):
            states = self.recurrent(x)
            return (states[0] if isinstance(states, tuple) else states).relu()

    x = torch.randn((4, 2), generator=torch.Generator().manual_seed(0))
    with pytest.raises(ObservationError, match=r"in 'recurrent' hides its ReLUs.*torch.nn.Linear and torch.relu"):
        observe(Net(), x)


def test_thresholds_that_are_tensors_broadcast():
    x = torch.randn(7, 3, 4, 4)
    lower, upper = torch.tensor([-0.5, 0.0, 0.5]).view(3, 1, 1), torch.tensor([0.5, 0.1, 1.5]).view(3, 1, 1)
    observation, site = only_site(lambda x: torch.clamp(x, lower, upper), x)
    expected = (x > lower).int() + (x >= upper).int()
    assert torch.equal(observation.pattern[site].int(), expected.permute(0, 2, 3, 1).reshape(-1, 3))


@pytest.mark.parametrize(("activation", "function"), [(name, f) for name, fs in SMOOTH.items() for f in fs])
def test_smooth_ones_are_thresholded_at_zero_and_flagged(activation, function):
    x = grid()
    observation, site = only_site(function, x.clone())
    found = observation.site[site]
    assert (found.activation, found.states, found.smooth) == (activation, 2, True)
    assert torch.equal(observation.preactivation[site], x)
    assert torch.equal(observation.pattern[site], x > 0)


def test_what_is_no_activation():
    for function in (torch.add, F.linear, torch.Tensor.shape.__get__, F.softmax, torch.ops.aten.add):
        assert activation_of(function) is None
    with pytest.raises(ObservationError, match="no activation function"):
        observe(Calls(lambda x: x.abs()), torch.randn(3, 2))


def test_bounds_on_integers_and_on_weights_are_no_sites():
    scale = nn.Parameter(torch.tensor(3.0))
    index = torch.tensor([5, -1])

    def forward(x):
        return x.relu() * scale.clamp(max=2.0) + index.clamp(0, 1).sum()

    assert observe(Calls(forward), torch.randn(3, 2)).sites == ("relu#0",)


POOLS = {
    "F.max_pool1d": (lambda x: F.max_pool1d(x, 2), 1),
    "nn.MaxPool1d": (nn.MaxPool1d(3, stride=2, padding=1), 1),
    "torch.max_pool1d": (lambda x: torch.max_pool1d(x, 2), 1),
    "nn.AdaptiveMaxPool1d": (nn.AdaptiveMaxPool1d(3), 1),
    "torch.adaptive_max_pool1d": (lambda x: torch.adaptive_max_pool1d(x, 3)[0], 1),
    "F.max_pool2d": (lambda x: F.max_pool2d(x, 2), 2),
    "F.max_pool2d indices": (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], 2),
    "F.max_pool2d all positional": (lambda x: F.max_pool2d(x, 2, None, 0, 1, False, True)[0], 2),
    "torch.max_pool2d": (lambda x: torch.max_pool2d(x, 2), 2),
    "nn.MaxPool2d": (nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), 2),
    "nn.MaxPool2d indices": (lambda x: nn.MaxPool2d(2, return_indices=True)(x)[0], 2),
    "F.adaptive_max_pool2d": (lambda x: F.adaptive_max_pool2d(x, 2), 2),
    "nn.MaxPool3d": (nn.MaxPool3d(2), 3),
    "nn.AdaptiveMaxPool3d": (nn.AdaptiveMaxPool3d(2), 3),
}


@pytest.mark.parametrize("spelling", POOLS)
def test_pools_show_the_winner(spelling):
    function, spatial = POOLS[spelling]
    x = torch.randn((2, 3) + (6,) * spatial, generator=torch.Generator().manual_seed(0))
    observation = observe(Calls(lambda x: function(x).relu()), x)
    assert len(observation.pools) == 1
    (pool,) = observation.pools
    found = observation.site[pool]
    assert (found.states, found.smooth, found.units) == (0, False, 3)
    assert found.activation.endswith(f"max_pool{spatial}d")
    winners = observation.pattern[pool]
    assert winners.dtype == torch.int64
    pooled = function(x)
    assert winners.shape == (2 * found.positions, 3)
    assert found.positions == pooled[0, 0].numel()
    expected = pooled.movedim(1, -1).reshape(2, -1, 3)
    picked = x.flatten(2).gather(2, winners.view(2, -1, 3).transpose(1, 2)).transpose(1, 2)
    assert torch.equal(picked, expected)
    assert torch.equal(observation.output, pooled.relu())


def test_a_pool_has_no_preactivation():
    observation = observe(nn.Sequential(nn.MaxPool2d(2), nn.ReLU()), torch.randn(2, 3, 4, 4))
    assert observation.pools == ("0#0",)
    assert observation.sites == ("1#0",)
    assert list(observation.pattern) == ["1#0", "0#0"]
    assert list(observation.preactivation) == ["1#0"]
    with pytest.raises(KeyError, match="max-pool has no pre-activation"):
        observation.preactivation["0#0"]


def test_pattern_of_two_thresholds_counts_those_passed():
    z = torch.linspace(-2, 2, 9)
    assert pattern(z, -1.0, 1.0).tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert pattern(z, -1.0, None).tolist() == [False] * 3 + [True] * 6
    assert pattern(z, None, 1.0).tolist() == [True] * 6 + [False] * 3


def test_winners_are_a_copy():
    def forward(x):
        pooled, winners = F.max_pool2d(x, 2, return_indices=True)
        winners.fill_(-1)
        return pooled.relu()

    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert observe(Calls(forward), x).pattern["max_pool2d#0"].flatten().tolist() == [5, 7, 13, 15]
