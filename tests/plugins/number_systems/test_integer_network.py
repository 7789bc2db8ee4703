"""Whole networks in integers: against their simulation, against torch where nothing is lost, and on real digits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from reluscope.errors import NotFiniteError, ReluscopeError
from reluscope_plugins.architectures.lenet import lenet
from reluscope_plugins.architectures.mlp import mlp
from reluscope_plugins.architectures.small_cnn import small_cnn
from reluscope_plugins.datasets.digits import digits
from reluscope_plugins.number_systems import integer_layers
from reluscope_plugins.number_systems.integer_conversion import guard_bits_without_overflow
from reluscope_plugins.number_systems.integer_layers import Precision, Weights, integer_linear
from reluscope_plugins.number_systems.integer_network import IntegerRun, integer_network


def seeded(build: Any, *args: Any, **kwargs: Any) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Sequential = build(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                    assert tensor is not None
                    tensor.uniform_(0.5, 1.5)
    return model.eval()


def inputs(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


MODELS: dict[str, tuple[nn.Sequential, tuple[int, ...]]] = {
    "small_cnn": (seeded(small_cnn, [1, 8, 8], channels=[3, 4], batch_norm=True), (1, 8, 8)),
    "average": (seeded(small_cnn, [1, 8, 8], channels=[3, 4], pooling="average", global_pool=False), (1, 8, 8)),
    "mlp": (seeded(mlp, [12, 9, 5], batch_norm=True, dropout=0.5), (3, 2, 2)),
    "lenet": (seeded(lenet, [1, 12, 12], channels=[2, 3], widths=[8, 6]), (1, 12, 12)),
    "groups": (
        seeded(lambda: nn.Sequential(nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=2, groups=2))),
        (4, 9, 7),
    ),
}


def check_same(run: IntegerRun, simulation: IntegerRun) -> None:
    assert run.logits.dtype == simulation.logits.dtype == torch.int16
    assert torch.equal(run.logits, simulation.logits)
    for name in ("additions", "shifts", "random_bits", "saturations", "guard_bits", "input_saturations"):
        np.testing.assert_array_equal(run.operations[name], simulation.operations[name])
    assert bool(((run.operations["overflows"] > 0) >= (simulation.operations["overflows"] > 0)).all())


@pytest.mark.parametrize("draws", ["pass", "product"])
@pytest.mark.parametrize("name", MODELS)
def test_integers_equal_the_simulation_bit_for_bit(name: str, draws: str) -> None:
    model, shape = MODELS[name]
    network = integer_network(model, samples=8, draws=draws)
    x = inputs(3, *shape)
    run = network.run(x, seed=5)
    check_same(run, network.simulate(x, seed=5))
    assert run.operations["overflows"].sum() == 0
    assert not torch.equal(run.logits, network.run(x, seed=6).logits)
    with torch.no_grad():
        assert run.logits.shape == model(x).shape


def test_many_samples_come_to_the_float_network() -> None:
    # The relative standard deviation of a drawn weight is at most 1/sqrt(8 n) = 1/724; 16 times that is beyond 1e-6 by
    # far even where all weights of a unit err together.
    for model, shape in MODELS.values():
        x = inputs(3, *shape)
        run = integer_network(model, samples=2**16, fraction_bits=11, guard_bits=0).run(x)
        with torch.no_grad():
            expected = model(x)
        assert (run.values - expected).abs().max() < 16 / 724 * max(1.0, expected.abs().max().item())


def dyadic(model: nn.Sequential, seed: int = 0) -> nn.Sequential:
    """Weights that are 0 or powers of two, of which every draw is the same; norms whose folding keeps them so."""
    generator = torch.Generator().manual_seed(seed)

    def integers(like: torch.Tensor, low: int, high: int) -> torch.Tensor:
        return torch.randint(low, high, like.shape, generator=generator).double()

    for module in model.double().modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = module.weight.data
            weight.copy_(integers(weight, -1, 2) * 2.0 ** integers(weight, -4, 1))
            if module.bias is not None:
                module.bias.data.copy_(integers(module.bias, -40, 40) / 16)
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.eps = 0.0
            module.running_var.copy_(4.0 ** integers(module.running_var, -1, 2))
            module.running_mean.copy_(integers(module.running_mean, -8, 8) / 8)
            if module.affine:
                module.weight.data.copy_(2.0 ** integers(module.weight, -1, 2))
                module.bias.data.copy_(integers(module.bias, -8, 8) / 8)
    return model.eval()


def every_module() -> nn.Sequential:
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding="same", bias=False),
            nn.Dropout(0.5),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ),
        nn.Identity(),
        nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, (2, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1), groups=2))),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(inplace=True),
        nn.AvgPool2d((2, 1), padding=(1, 0)),
        nn.Conv2d(4, 6, 2, padding="valid"),
        nn.MaxPool2d(2, stride=1, padding=1, dilation=2),
        nn.AvgPool2d(2),
        nn.AdaptiveAvgPool2d((1, 1)),
        nn.Flatten(),
        nn.Linear(6, 5),
        nn.BatchNorm1d(5),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(5, 3, bias=False),
    )


def by_torch(model: nn.Sequential, x: torch.Tensor, fraction_bits: int) -> torch.Tensor:
    """Torch's own modules in float64; what a layer (with its norm) or a mean gives is rounded to 16 bits."""

    def fixed(value: torch.Tensor) -> torch.Tensor:
        return (value * 2.0**fraction_bits).round().clamp(-(2.0**15), 2.0**15 - 1) / 2.0**fraction_bits

    leaves = [module for module in model.modules() if not isinstance(module, nn.Sequential | nn.Dropout | nn.Identity)]
    x = fixed(x.double())
    for number, module in enumerate(leaves):
        x = module(x)
        behind = leaves[number + 1] if number + 1 < len(leaves) else None
        layer = isinstance(module, nn.Linear | nn.Conv2d) and not isinstance(behind, nn.BatchNorm1d | nn.BatchNorm2d)
        if layer or isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d):
            x = fixed(x)
    return x


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("samples", [1, 4])
def test_where_nothing_is_lost_it_is_torch_bit_for_bit(samples: int, seed: int) -> None:
    model = dyadic(every_module(), seed)
    x = 3 * inputs(4, 2, 21, 21, seed=seed)
    with torch.no_grad():
        expected = by_torch(model, x, 6)
    for draws in ("pass", "product"):
        network = integer_network(model, samples=samples, fraction_bits=6, draws=draws)
        run = network.run(x)
        assert run.operations["overflows"].sum() == 0
        assert torch.equal(run.values.double(), expected)
        check_same(run, network.simulate(x))


def test_no_float_between_input_and_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shape = MODELS["average"]
    network = integer_network(model, samples=4)
    seen: list[tuple[str, ...]] = []
    kernel = integer_layers.accumulate

    def spy(*args: Any) -> None:
        seen.append(tuple(str(each.dtype) for each in args if isinstance(each, np.ndarray)))
        assert all(isinstance(each, np.ndarray | int) for each in args)
        kernel(*args)

    monkeypatch.setattr(integer_layers, "accumulate", spy)
    values = (inputs(2, *shape) * 256).to(torch.int16)
    generator = torch.Generator().manual_seed(0)
    for step in network.steps:
        values, _ = step(values, generator, simulated=False)
        assert values.dtype == torch.int16
    assert seen == [("int16", "int8", "int16", "uint8", "int32", "int64")] * 3


def test_operations_are_counted_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3, bias=False))
    nn.init.constant_(model[0].weight, 0.3)  # type: ignore[arg-type]
    model[0].weight.data[0, 0, 0, 0] = 0.0  # type: ignore[union-attr, index]
    nn.init.constant_(model[3].weight, 0.3)  # type: ignore[arg-type]
    x = inputs(5, 1, 4, 4)
    products = [5 * 16 * 17, 5 * 8 * 3]
    for draws, bits in (("pass", [17 * 8, 24 * 8]), ("product", [8 * each for each in products])):
        found = integer_network(model, samples=8, draws=draws).run(x).operations
        assert found["layer"].values.tolist() == ["0", "1", "2", "3"]
        # convolution: and a bias each; mean of four: three additions and a shift; the mean of the samples, the rounding
        assert found["additions"].values.tolist() == [8 * products[0] + 160, 40 * 3, 0, 8 * products[1]]
        assert found["shifts"].values.tolist() == [8 * products[0] + 2 * 160, 40, 0, 8 * products[1] + 2 * 15]
        assert found["random_bits"].values.tolist() == [bits[0], 0, 0, bits[1]]
        assert all(found[name].attrs.keys() >= {"units", "long_name"} for name in found)


def test_overflows_and_saturations_come_back() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    nn.init.constant_(model[0].weight, 1.5)  # type: ignore[arg-type]
    network = integer_network(model, samples=16, guard_bits={"0": 14})
    x = torch.full((3, 4), 100.0)
    run, simulation = network.run(x), network.simulate(x)
    check_same(run, simulation)
    assert run.operations["overflows"].item() > 0
    assert simulation.operations["overflows"].item() > 0
    run = integer_network(model, samples=16).run(x)  # 4 x 100 x 1.5 is beyond 128
    assert run.operations["overflows"].item() == 0
    assert run.operations["saturations"].item() == 6
    assert run.logits.tolist() == [[2**15 - 1] * 2] * 3
    assert integer_network(model).run(2 * x).operations["input_saturations"].item() == 12


@given(
    exponents=st.lists(st.lists(st.integers(-12, 8), min_size=3, max_size=3), min_size=1, max_size=3),
    samples=st.sampled_from([1, 8, 64, 1024]),
    bias=st.integers(-128, 128),
)
def test_default_guard_bits_rule_overflow_out(exponents: list[list[int]], samples: int, bias: int) -> None:
    exponent = torch.tensor(exponents)
    weight, ones = 1.99 * 2.0 ** exponent.double(), torch.ones(len(exponent), dtype=torch.float64)
    guard = guard_bits_without_overflow(weight, bias * ones, samples, 8)
    least_that_loses_nothing = int(math.log2(samples)) - int(exponent.min())
    assert guard <= least_that_loses_nothing
    at = Precision(samples, 8, guard, 8)
    fixed = (bias * ones * 2.0 ** (8 + guard)).round().to(torch.int32)
    sign = torch.ones_like(exponent).to(torch.int8)
    for factor in (1, -1):
        weights = Weights(factor * sign, exponent.to(torch.int16), fixed)
        x = torch.full((1, 3), -(2**15), dtype=torch.int16)
        found = integer_linear(x, weights, torch.full_like(exponent, samples), at)
        assert not found.overflows.any()
    if guard < least_that_loses_nothing and not bias:  # and no more of them would do
        at = Precision(samples, 8, guard + 1, 8)
        assert integer_linear(x, weights, torch.full_like(exponent, samples), at).possible.any()


def trained_on_digits() -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    model = seeded(small_cnn, [1, 8, 8], channels=[8, 16], batch_norm=True, global_pool=False)
    train, test = digits("train"), digits("test")
    images, labels = (torch.stack([torch.as_tensor(each[part]) for each in train]) for part in (0, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(4):
        for rows in torch.randperm(len(images), generator=generator).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images[rows]), labels[rows]).backward()
            optimizer.step()
    model.eval()
    return model, *(torch.stack([torch.as_tensor(each[part]) for each in test]) for part in (0, 1))


def test_digits_at_64_samples_are_read_as_in_float() -> None:
    """Null: an answer changes with a mean probability of at least 3 %. It is refused at an error of at most 1e-6.

    With draws of each product's own, images are independent; so many or fewer changes are then at most as probable as
    for a binomial of the same mean (Hoeffding 1956). The accuracy differs by at most the share of changed answers.
    """
    model, images, labels = trained_on_digits()
    with torch.no_grad():
        answers = model(images).argmax(1)
    assert (answers == labels).double().mean() > 0.9
    network = integer_network(model, samples=64, draws="product")
    runs = [network.run(images, seed=seed) for seed in range(4)]
    changed = sum(int((run.logits.argmax(1) != answers).sum()) for run in runs)
    assert stats.binom.cdf(changed, len(runs) * len(images), 0.03) <= 1e-6
    assert all(run.operations["overflows"].sum() == 0 for run in runs)
    assert all(run.operations["saturations"].sum() == 0 for run in runs)
    check_same(network.run(images[:20]), network.simulate(images[:20]))


def test_the_model_is_left_as_found() -> None:
    model = seeded(small_cnn, [1, 8, 8], channels=[3, 4], batch_norm=True).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    integer_network(model, samples=4).run(inputs(2, 1, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.GELU(), "layer '1': there is no integer arithmetic for GELU"),
        (nn.Conv1d(1, 1, 1), "Conv1d"),
        (nn.BatchNorm2d(1), "folded"),
        (nn.AvgPool2d(3), "3 x 3 = 9 elements, expected a power of two"),
        (nn.AvgPool2d(2, ceil_mode=True), "ceil_mode"),
        (nn.AvgPool2d(2, padding=1, count_include_pad=False), "count_include_pad"),
        (nn.MaxPool2d(2, return_indices=True), "return_indices"),
        (nn.AdaptiveAvgPool2d(2), "expected 1"),
        (nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), "expected 'zeros'"),
        (nn.Conv2d(2, 2, 2, padding="same"), "odd window"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(module: nn.Module, message: str) -> None:
    with pytest.raises(ReluscopeError, match=message):
        integer_network(nn.Sequential(nn.Linear(2, 2), module))


def test_numbers_may_be_of_numpys_types() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(2, 3)), torch.randn(4, 2)
    found = [
        integer_network(model, samples=kind(16), fraction_bits=kind(7)).run(x, seed=kind(3))
        for kind in (int, np.int64, np.int32)
    ]
    assert all(torch.equal(one.logits, found[0].logits) for one in found)


def test_bad_words_are_refused() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ReluscopeError, match="power of two"):
        integer_network(model, samples=12)
    with pytest.raises(ReluscopeError, match="Did you mean 'product'"):
        integer_network(model, draws="products")
    with pytest.raises(ReluscopeError, match=r"got Linear, expected torch\.nn\.Sequential"):
        integer_network(model[0])
    with pytest.raises(ReluscopeError, match="without a Linear or Conv2d"):
        integer_network(nn.Sequential(nn.ReLU()))
    with pytest.raises(ReluscopeError, match="no layer 'head' with weights"):
        integer_network(model, guard_bits={"head": 3})
    with pytest.raises(ReluscopeError, match="fraction_bits: got 16"):
        integer_network(model, fraction_bits=16)
    with pytest.raises(ReluscopeError, match="layer '0': a bias of"):
        integer_network(model, guard_bits=60)
    with pytest.raises(ReluscopeError, match="layer '0': x: got"):
        integer_network(model).run(torch.zeros(2))
    with pytest.raises(ReluscopeError, match=r"5 x 5 = 25 elements"):
        integer_network(nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(1))).run(torch.zeros(1, 1, 5, 5))
    with pytest.raises(ReluscopeError, match=r"samples: got 1\.5, expected a power of two"):
        integer_network(model, samples=1.5)  # type: ignore[arg-type]
    with pytest.raises(ReluscopeError, match="seed: got 'a'"):
        integer_network(model).run(torch.zeros(1, 2), seed="a")  # type: ignore[arg-type]
    with pytest.raises(NotFiniteError, match=r"^the input of the network holds 2 NaN among 2 values"):
        integer_network(model).run(torch.full((1, 2), math.nan))
    model[0].weight.data[0, 0] = math.nan  # type: ignore[union-attr, index]
    with pytest.raises(NotFiniteError, match=r"parameter '0\.weight' holds 1 NaN"):
        integer_network(model)
