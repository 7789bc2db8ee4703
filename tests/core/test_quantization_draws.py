"""How weights are drawn: once a call, for each multiplication, or held and refined.

Statistical tests state their null; each refuses a true one with a probability of at most 1e-6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import reluscope as rs
from reluscope.errors import QuantizationError
from reluscope.product_draws import output_variance

ERROR = 1e-6


class Binarized:
    """w = s 2^e (1 + p), drawn as s 2^e (1 + B / n) with B ~ Binomial(n, p), one sample after the other."""

    bits = 32
    stochastic = True
    operations: ClassVar = {"add": 1}

    def __init__(self) -> None:
        self.drawn: list[int] = []

    def encode(self, weight: Tensor) -> Tensor:
        return weight

    def mean(self, encoded: Tensor) -> Tensor:
        return encoded

    decode = mean

    def variance(self, encoded: Tensor, samples: int) -> Tensor:
        octave, p = self.parts(encoded)
        return octave**2 * p * (1 - p) / samples

    def counts(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        self.drawn.append(samples)
        _, p = self.parts(encoded)
        return sum((torch.rand(p.shape, generator=generator) < p).int() for _ in range(samples))

    def from_counts(self, encoded: Tensor, counts: Tensor, samples: int) -> Tensor:
        octave, _ = self.parts(encoded)
        return octave * (1 + counts / samples)

    def draw(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return self.from_counts(encoded, self.counts(encoded, samples, generator), samples)

    @staticmethod
    def parts(weight: Tensor) -> tuple[Tensor, Tensor]:
        mantissa, exponent = weight.abs().frexp()
        octave = torch.ldexp(weight.sign(), exponent - 1)
        return octave, torch.where(weight == 0, 0.0, 2 * mantissa - 1)


class Numbered(Binarized):
    """Draws the k-th copy of a weight as k + 2 times the weight, to tell which copy was used where."""

    def __init__(self, weight: Tensor) -> None:
        self.ndim = weight.ndim

    def draw(self, encoded: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        assert encoded.ndim == self.ndim + 1
        return encoded * torch.arange(2.0, len(encoded) + 2).reshape(-1, *[1] * self.ndim)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 3), (4, 5)),
    "linear of sequences": (lambda: nn.Linear(5, 3, bias=False), (2, 3, 5)),
    "linear of a vector": (lambda: nn.Linear(5, 3), (5,)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(2, 3, (2, 3), dilation=(2, 1), padding=2, padding_mode="circular"), (2, 2, 6, 5)),
    "conv2d, same": (lambda: nn.Conv2d(2, 2, 3, padding="same", groups=2), (2, 2, 4, 4)),
    "conv2d, reflect": (lambda: nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), (1, 4, 4)),
    "conv3d": (lambda: nn.Conv3d(1, 2, 2), (2, 1, 3, 3, 3)),
}
TRANSPOSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "transposed1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, output_padding=1), (2, 4, 5)),
    "transposed2d": (lambda: nn.ConvTranspose2d(2, 3, (2, 3), stride=2, padding=1, dilation=2), (2, 2, 3, 4)),
    "transposed3d": (lambda: nn.ConvTranspose3d(1, 2, 2), (1, 1, 2, 2, 2)),
}


def rows_first(output: Tensor, layer: nn.Module) -> Tensor:
    """(row, unit), sample by sample and position by position."""
    if isinstance(layer, nn.Linear):
        return output.reshape(-1, output.shape[-1])
    dims = len(layer.kernel_size)
    return output.movedim(-dims - 1, -1).reshape(-1, output.shape[-dims - 1])


@pytest.mark.parametrize("name", LAYERS)
def test_each_output_has_a_weight_of_its_own(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    plain = layer(x).detach()
    bias = 0 if layer.bias is None else layer.bias.detach()
    rs.quantize_(layer, Numbered(layer.weight), activations=None, draws="product")
    found, expected = rows_first(layer(x), layer) - bias, rows_first(plain, layer) - bias
    factors = torch.arange(2.0, len(expected) + 2, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(found, expected * factors, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_each_input_of_a_transposed_convolution_has_a_weight_of_its_own(name: str) -> None:
    make, shape = TRANSPOSED[name]
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(shape, dtype=torch.float64)
    positions = torch.arange(2.0, 2 + x.numel() // x.shape[1], dtype=torch.float64)
    expected = layer(x * positions.reshape(x.shape[0], 1, *x.shape[2:])).detach()
    rs.quantize_(layer, Numbered(layer.weight), activations=None, draws="product")
    torch.testing.assert_close(layer(x), expected, rtol=1e-11, atol=1e-11)


def test_a_transposed_convolution_takes_its_output_size() -> None:
    layer, x = nn.ConvTranspose2d(1, 2, 3, stride=2), torch.randn(1, 1, 4, 4)
    shape = layer(x, output_size=[10, 9]).shape
    for draws in ("pass", "product", "held"):
        rs.quantize_(layer, Binarized(), activations=None, draws=draws)
        assert layer(x, output_size=[10, 9]).shape == shape
        assert layer(x, [10, 9]).shape == shape
        rs.restore_(layer)


def test_independent_draws_differ_where_one_draw_repeats() -> None:
    layer, x = nn.Linear(6, 4), torch.randn(1, 6).repeat(5, 1)
    rs.quantize_(layer, Binarized(), activations=None, samples=1)
    assert len(layer(x).unique(dim=0)) == 1
    rs.restore_(layer)
    for limit in (0, 1 << 20):
        rs.quantize_(layer, Binarized(), activations=None, samples=1, draws="product", exact_products=limit)
        assert len(layer(x).unique(dim=0)) == 5
        rs.restore_(layer)


def independent(limit: int, rows: int, samples: int, make: Callable[[], nn.Module], x: Tensor) -> Tensor:
    torch.manual_seed(3)
    layer = make()
    rs.quantize_(
        layer, Binarized(), activations=None, samples=samples, draws="product", exact_products=limit, seed=limit
    )
    with torch.no_grad():
        return rows_first(layer(x.expand(rows, *x.shape[1:])), layer)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: nn.Linear(64, 3), torch.randn(1, 64, generator=torch.Generator().manual_seed(0))),
        (lambda: nn.Conv1d(8, 2, 8), torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0))),
    ],
    ids=["linear", "convolution"],
)
def test_exact_and_matched_draws_agree(make: Callable[[], nn.Module], x: Tensor) -> None:
    # Null: both have the same distribution; two-sample Kolmogorov-Smirnov for each of the outputs. The matched one is
    # normal, the exact one a sum of 64 bounded independent terms of 16 samples each, which 3000 rows cannot tell apart.
    rows = 3000
    exact, matched = (independent(limit, rows, 16, make, x) for limit in (1 << 30, 0))
    for first, second in zip(exact.T, matched.T, strict=True):
        assert scipy.stats.ks_2samp(first.numpy(), second.numpy()).pvalue > ERROR / (2 * len(exact.T))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", [*LAYERS, *TRANSPOSED])
def test_matched_draws_have_the_variance_of_the_sum(name: str, dtype: torch.dtype) -> None:
    """One weight at a time: its output squared times its variance. Half precision has no room for these squares."""
    make, shape = (LAYERS | TRANSPOSED)[name]
    torch.manual_seed(1)
    layer = make().to(dtype)
    for parameter in layer.parameters():
        parameter.data *= 0.01
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype)
    rs.quantize_(layer, Binarized(), activations=None, samples=3, draws="product")
    found = output_variance(layer, layer.quantization, x, layer.weight.detach())
    variance = Binarized().variance(layer.weight.detach().double(), 3)
    expected: Tensor | float = 0.0
    for place in range(layer.weight.numel()):
        one = torch.zeros(layer.weight.numel(), dtype=torch.float64)
        one[place] = 1.0
        expected = expected + variance.flatten()[place] * layer.product(x.double(), one.view_as(variance), None) ** 2
    # Positive terms of at most 8 roundings each, at most 64 in a sum; half precision is widened to float32.
    rounding = torch.finfo(found.dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=72 * rounding, atol=0)


@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_independent_draws_have_the_variance_of_the_formula(limit: int) -> None:
    # Null: outputs of independent rows have the mean x W^T + b and the variance sum x_i^2 4^e p (1 - p) / n. The mean
    # of 4000 rows is normal; a sum of squares over the variance is chi-square for the matched draws. For the exact ones
    # the excess kurtosis of a sum of 64 terms of 4 samples spreads it by about a hundredth more, for which the error
    # probability is taken a thousandth of what is allowed.
    rows, samples = 4000, 4
    x = torch.randn(1, 64, generator=torch.Generator().manual_seed(1))
    output = independent(limit, rows, samples, lambda: nn.Linear(64, 3), x).double()
    torch.manual_seed(3)
    layer = nn.Linear(64, 3).double()
    octave = 2.0 ** torch.floor(torch.log2(layer.weight.detach().abs()))
    p = layer.weight.detach().abs() / octave - 1
    variance = (x.double() ** 2 * octave**2 * p * (1 - p) / samples).sum(1)
    mean = layer(x.double()).detach()
    z = (output.mean(0) - mean) / (variance / rows).sqrt()
    assert z.abs().max() < scipy.stats.norm.isf(ERROR / 12)
    squares = ((output - mean) ** 2 / variance).sum(0).squeeze()
    low, high = scipy.stats.chi2.ppf(ERROR / 12000, rows), scipy.stats.chi2.isf(ERROR / 12000, rows)
    assert (squares > low).all()
    assert (squares < high).all()


def test_gradients_of_independent_draws_go_to_the_weight() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2).double()
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    plain_weight = layer.weight.detach()
    rs.quantize_(layer, Numbered(layer.weight), activations=None, draws="product")
    weight = torch.randn(4, 2, dtype=torch.float64)
    (layer(x) * weight).sum().backward()
    # Row r multiplies with (r + 2) W: that is the gradient to x; to W straight through, as if it were W's own.
    factors = torch.arange(2.0, 6, dtype=torch.float64).unsqueeze(1)
    torch.testing.assert_close(x.grad, factors * (weight @ plain_weight))
    torch.testing.assert_close(layer.weight.grad, weight.T @ x.detach())


def held(system: Any, samples: int, size: int = 4096, seed: int = 0) -> nn.Linear:
    layer = nn.Linear(size, 1, bias=False)
    nn.init.constant_(layer.weight, 1.3)
    rs.quantize_(layer, system, activations=None, samples=samples, draws="held", seed=seed)
    return layer


def test_refining_draws_only_what_is_new() -> None:
    system = Binarized()
    layer, x = held(system, 3), torch.zeros(1, 4096)
    layer(x)
    first = layer.quantization.held.counts.clone()
    layer(x)
    assert system.drawn == [3]
    rs.refine_(layer, 5)
    layer(x)
    assert system.drawn == [3, 5]
    kept = layer.quantization.held
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(system.counts(layer.weight, 3, generator), first.int())
    assert torch.equal(kept.counts.int(), first.int() + system.counts(layer.weight, 5, generator))
    assert (kept.samples, kept.counts.dtype) == (8, torch.uint8)
    drawn = layer.quantization.drawn(layer, layer.weight)
    assert torch.equal(drawn, 1 + kept.counts / 8)


def test_refined_draws_are_distributed_as_drawn_at_once() -> None:
    # Null: the 4096 counts after 3 and 5 more are Binomial(8, 0.3), as those of 8 at once are; chi-square over the
    # values 0 to 6 and more, of which the rarest is expected 46 times.
    refined, whole = held(Binarized(), 3), held(Binarized(), 8, seed=1)
    for layer in (refined, whole):
        layer(torch.zeros(1, 4096))
    rs.refine_(refined, 5)
    refined(torch.zeros(1, 4096))
    shares = scipy.stats.binom.pmf(np.arange(7), 8, 1.3 - 1)
    shares[6] += 1 - shares.sum()
    for layer in (refined, whole):
        counts = np.bincount(layer.quantization.held.counts.flatten().clamp(max=6).numpy(), minlength=7)
        assert scipy.stats.chisquare(counts, 4096 * shares).pvalue > ERROR / 2


def test_held_draws_are_drawn_anew_for_another_weight_and_for_fewer_samples() -> None:
    system, x = Binarized(), torch.zeros(1, 4096)
    layer = held(system, 4)
    layer(x)
    layer.weight.data[0, 5] = 1.4
    layer(x)
    layer.weight.data[0, [5, 6]] = layer.weight.data[0, [6, 5]]
    layer(x)
    rs.set_samples_(layer, 2)
    layer(x)
    rs.set_samples_(layer, 6)
    layer(x)
    assert system.drawn == [4, 4, 4, 2, 4]


def test_holding_asks_for_counts() -> None:
    class Uncounted(Binarized):
        counts = property()  # type: ignore[assignment]

    with pytest.raises(QuantizationError, match="no counts"):
        rs.quantize_(nn.Linear(2, 2), Uncounted(), activations=None, draws="held")


@pytest.mark.parametrize("draws", ["pass", "held"])
def test_one_draw_serves_all_rows(draws: str) -> None:
    # Null: weights are drawn as s 2^e (1 + B / n): each of the 4096 is one of n + 1 values, with the binomial's shares.
    system, samples = Binarized(), 3
    layer = nn.Linear(4096, 1, bias=False)
    nn.init.constant_(layer.weight, -2.6)
    rs.quantize_(layer, system, activations=None, samples=samples, draws=draws)
    drawn = layer.quantization.drawn(layer, layer.weight).detach()
    counts = np.bincount(((-drawn / 2 - 1) * samples).round().int().flatten().numpy(), minlength=4)
    shares = scipy.stats.binom.pmf(np.arange(4), samples, 2.6 / 2 - 1)
    assert scipy.stats.chisquare(counts, 4096 * shares).pvalue > ERROR / 2
    assert math.isclose(float(drawn.min()), -4.0)
