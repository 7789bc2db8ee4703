"""The fully connected network: its parts, its values, its initial weights.

Statistical tests: seeds fixed, error probability at most 1e-6 each, null and sample size in each docstring.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError, ReluscopeError
from reluscope.lab import Lab
from reluscope_plugins import architectures
from reluscope_plugins.architectures.activations import ACTIVATIONS

MLP = Lab(plugins=[architectures]).architectures["mlp"]
ERROR = 1e-6
WIDTHS = [200, 150, 120, 10]
HasVariance = Callable[[torch.Tensor, float], bool]


def linears(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


@given(
    widths=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    bias=st.booleans(),
    batch=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_values_are_those_of_the_matrix_products(widths: list[int], bias: bool, batch: int, seed: int) -> None:
    model = MLP.build(widths=widths, bias=bias, seed=seed).double()
    x = torch.randn(batch, widths[0], dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    parameters = {name: value.detach().numpy() for name, value in model.named_parameters()}
    value = x.numpy()
    for number in range(1, len(widths)):
        value = value @ parameters[f"linear{number}.weight"].T
        if bias:
            value = value + parameters[f"linear{number}.bias"]
        if number < len(widths) - 1:
            value = np.where(value > 0, value, 0)
    assert np.allclose(model(x).detach().numpy(), value, atol=1e-12)


def test_parts_and_parameters_are_named() -> None:
    model = MLP.build(widths=[6, 5, 4, 3], batch_norm=True, dropout=0.5, activation="leaky_relu")
    assert [name for name, _ in model.named_children()] == [
        "flatten",
        *("linear1", "norm1", "leaky_relu1", "dropout1"),
        *("linear2", "norm2", "leaky_relu2", "dropout2"),
        "linear3",
    ]
    plain = MLP.build(widths=[6, 5, 4, 3])
    shapes = {name: tuple(value.shape) for name, value in plain.named_parameters()}
    assert shapes == {
        "linear1.weight": (5, 6),
        "linear1.bias": (5,),
        "linear2.weight": (4, 5),
        "linear2.bias": (4,),
        "linear3.weight": (3, 4),
        "linear3.bias": (3,),
    }
    assert not any(name.endswith("bias") for name, _ in MLP.build(widths=[6, 5, 3], bias=False).named_parameters())


def test_defaults() -> None:
    model = MLP.build()
    assert [tuple(layer.weight.shape) for layer in linears(model)] == [(512, 784), (512, 512), (10, 512)]
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_layer_has_its_own_activation(activation: str) -> None:
    model = MLP.build(widths=[4, 5, 6, 2], activation=activation)
    own = [module for module in model.modules() if type(module) is ACTIVATIONS[activation]]
    assert len(own) == len({id(module) for module in own}) == 2
    assert torch.isfinite(model(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))).all()


def test_dropout_works_in_training_only() -> None:
    model = MLP.build(widths=[4, 64, 2], dropout=0.5, seed=0)
    x = torch.ones(1, 4)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_seed_gives_the_weights_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    first, again, other = (MLP.build(widths=WIDTHS, init="gaussian", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(linears(first)[0].weight, linears(again)[0].weight)
    assert not torch.equal(linears(first)[0].weight, linears(other)[0].weight)


def test_default_init_is_torchs_own() -> None:
    model = MLP.build(widths=[7, 5, 3], seed=4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        layers = [nn.Linear(7, 5), nn.Linear(5, 3)]
    for mine, torchs in zip(linears(model), layers, strict=True):
        assert torch.equal(mine.weight, torchs.weight)
        assert torch.equal(mine.bias, torchs.bias)


def test_he_normal(has_variance: HasVariance) -> None:
    """Null: weights N(0, 2 / fan_in), 30,000, 18,000 and 1,200 of them; biases 0."""
    for layer in linears(MLP.build(widths=WIDTHS, init="he_normal", seed=0)):
        assert has_variance(layer.weight, 2 / layer.in_features)
        assert not layer.bias.any()


@pytest.mark.parametrize(("weight_variance", "bias_variance"), [(1.0, 0.5), (3.0, 0.01), (None, None)])
def test_gaussian(weight_variance: float | None, bias_variance: float | None, has_variance: HasVariance) -> None:
    """Null: weights N(0, weight_variance / fan_in), at least 1,200; 280 biases N(0, bias_variance)."""
    params = {"weight_variance": weight_variance, "bias_variance": bias_variance}
    model = MLP.build(widths=WIDTHS, init="gaussian", seed=1, **params)
    for layer in linears(model):
        assert has_variance(layer.weight, (weight_variance or 2.0) / layer.in_features)
    biases = torch.cat([layer.bias for layer in linears(model)])
    assert has_variance(biases, bias_variance) if bias_variance else not biases.any()


def test_the_check_of_variance_can_fail(has_variance: HasVariance) -> None:
    """The tests above would see a variance that is off by 10 %, or uniform weights of the right variance."""
    weight = linears(MLP.build(widths=WIDTHS, init="he_normal", seed=0))[0].weight
    assert not has_variance(weight * math.sqrt(1.1), 2 / 200)
    uniform = torch.rand(weight.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    assert not has_variance(uniform * math.sqrt(12 * 2 / 200), 2 / 200)


@pytest.mark.parametrize("bound", [None, 0.3])
def test_uniform(bound: float | None) -> None:
    """Null: weights and biases U(-bound, bound); Kolmogorov-Smirnov on each layer's at least 1,210 numbers."""
    for layer in linears(MLP.build(widths=WIDTHS, init="uniform", bound=bound, seed=2)):
        limit = bound or 1 / math.sqrt(layer.in_features)
        for values in (layer.weight, layer.bias):
            numbers = values.detach().double().flatten().numpy()
            assert abs(numbers).max() <= limit * (1 + 1e-6)
            assert scipy.stats.kstest(numbers, scipy.stats.uniform(-limit, 2 * limit).cdf).pvalue > ERROR


@pytest.mark.parametrize(("sparsity", "std"), [(0.9, 0.01), (0.5, 1.0), (0.33, 2.0), (0, 1.0)])
def test_sparse(sparsity: float, std: float, has_variance: HasVariance) -> None:
    """Exactly ceil(sparsity * rows) zeros in each column; null for the others: N(0, std^2), at least 300 of them.

    Which are zero is drawn anew for each column: null of equal chances for each row, chi-square with rows - 1 degrees
    of freedom at most (fixed column counts make the true spread smaller).
    """
    model = MLP.build(widths=[300, 150, 10], init="sparse", sparsity=sparsity, std=std, seed=3)
    for layer in linears(model):
        outputs = layer.out_features
        zero = layer.weight == 0
        zeros = math.ceil(sparsity * outputs)
        assert (zero.sum(0) == zeros).all()
        assert not layer.bias.any()
        if (~zero).any():
            assert has_variance(layer.weight[~zero], std**2)
        if zeros and zeros < outputs:
            counts = zero.sum(1).double()
            statistic = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
            assert statistic < scipy.stats.chi2.isf(ERROR, outputs - 1)


def test_uniform_width() -> None:
    model = MLP.build(widths=[2, 3], width=16, depth=4)
    assert [tuple(layer.weight.shape) for layer in linears(model)] == [(16, 2), (16, 16), (16, 16), (16, 16), (3, 16)]
    assert [tuple(layer.weight.shape) for layer in linears(MLP.build(widths=[2, 7, 3], width=5))] == [
        *((7, 2), (5, 7), (3, 5)),
    ]


def test_uniform_bias_is_torchs_own() -> None:
    """Null: biases U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)), 150 and 120 of them; the weights are the scheme's."""
    params = {"widths": WIDTHS, "init": "he_normal", "seed": 5}
    model, plain = MLP.build(bias_init="uniform", **params), MLP.build(**params)
    for layer, other in zip(linears(model), linears(plain), strict=True):
        assert torch.equal(layer.weight, other.weight)
        limit = 1 / math.sqrt(layer.in_features)
        numbers = layer.bias.detach().double().numpy()
        assert abs(numbers).max() <= limit
        assert scipy.stats.kstest(numbers, scipy.stats.uniform(-limit, 2 * limit).cdf).pvalue > ERROR


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_constant_bias(batch_norm: bool, bias: bool) -> None:
    if not bias and not batch_norm:
        with pytest.raises(ReluscopeError, match="leaves no bias"):
            MLP.build(widths=[3, 4, 2], bias=bias, bias_init=0.25)
        return
    model = MLP.build(widths=[3, 4, 2], bias=bias, batch_norm=batch_norm, bias_init=0.25, init="he_normal")
    biases = [value for name, value in model.named_parameters() if name.endswith("bias")]
    assert len(biases) == 2 * bias + batch_norm
    assert all(bool((value == 0.25).all()) for value in biases)


def test_wrong_input_size_says_what_was_expected() -> None:
    with pytest.raises(ObservationError, match=r"samples of 784 values, got a batch of shape \(2, 3, 32, 32\)"):
        MLP.build()(torch.zeros(2, 3, 32, 32))
    with pytest.raises(ObservationError, match=r"shape \(784,\)"):
        MLP.build()(torch.zeros(784))
    assert MLP.build(widths=[12, 3])(torch.zeros(0, 3, 2, 2)).shape == (0, 3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"widths": [10]}, "widths is [10], expected a list of at least 2"),
        ({"widths": [10, 0, 2]}, "widths hold 0"),
        ({"widths": [10, 2.5]}, "widths hold 2.5"),
        ({"widths": [10, True]}, "widths hold True"),
        ({"widths": "784"}, "widths is '784'"),
        ({"widths": 5}, "widths is 5"),
        ({"activation": "rellu"}, "Did you mean 'relu'"),
        ({"init": "he_norm"}, "Did you mean 'he_normal'"),
        ({"dropout": 1}, "dropout is 1"),
        ({"dropout": -0.1}, "dropout is -0.1"),
        ({"init": "he_normal", "bound": 0.1}, "it belongs to init 'uniform'"),
        ({"weight_variance": 1.0}, "it belongs to init 'gaussian'"),
        ({"init": "gaussian", "weight_variance": 0}, "weight_variance is 0"),
        ({"init": "gaussian", "weight_variance": math.nan}, "weight_variance is nan"),
        ({"init": "gaussian", "bias_variance": -1}, "bias_variance is -1"),
        ({"init": "uniform", "bound": "wide"}, "bound is 'wide'"),
        ({"init": "sparse", "sparsity": 1.5}, "sparsity is 1.5"),
        ({"init": "sparse", "std": 0}, "std is 0"),
        ({"width_s": [3, 2]}, "Did you mean 'widths'"),
        ({"width": 0}, "width is 0"),
        ({"width": 3, "depth": 0}, "depth is 0"),
        ({"depth": 3}, "depth is 3 without a width"),
        ({"bias_init": "unifrom"}, "bias_init is 'unifrom', expected a number"),
        ({"bias_init": math.inf}, "bias_init is inf"),
        ({"bias_init": True}, "bias_init is True"),
        ({"bias_init": 1.0, "init": "gaussian", "bias_variance": 1.0}, "leave one out"),
    ],
)
def test_bad_values_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ReluscopeError) as caught:
        MLP.build(**params)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
