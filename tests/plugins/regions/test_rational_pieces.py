"""The pieces of a network of one variable: against the sawtooth's formula, and against slopes at many points."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from reluscope.errors import ObservationError
from reluscope_plugins.architectures.mlp import mlp
from reluscope_plugins.architectures.sawtooth import sawtooth
from reluscope_plugins.regions.rational_pieces import rational_pieces

SMALL = st.integers(-6, 6).map(lambda number: Fraction(number, 4))


@pytest.mark.parametrize("n", range(1, 17))
def test_a_sawtooth_has_two_to_the_n_pieces(n: int) -> None:
    pieces = rational_pieces(sawtooth(n).double())
    assert len(pieces) == 2**n
    assert pieces.edges == tuple(Fraction(k, 2**n) for k in range(2**n + 1))
    assert pieces.slopes == tuple((-1) ** k * 2**n for k in range(2**n))
    assert pieces.offsets == tuple(-k if k % 2 == 0 else k + 1 for k in range(2**n))


Layers = list[tuple[list[list[Fraction]], list[Fraction]]]


def enumerated(layers: Layers, start: int, stop: int) -> list[tuple[Fraction, Fraction, Fraction]]:
    """Start, slope and offset of each piece: every pattern's inequalities solved, then equal neighbours joined."""
    found = []
    hidden = [len(biases) for _, biases in layers[:-1]]
    for bits in itertools.product([False, True], repeat=sum(hidden)):
        states = iter(bits)
        low, high = Fraction(start), Fraction(stop)
        units = [(Fraction(1), Fraction(0))]
        for number, (weights, biases) in enumerate(layers):
            pairs = [list(zip(row, units, strict=True)) for row in weights]
            units = [
                (sum((w * a for w, (a, _) in pair), Fraction(0)), sum((w * c for w, (_, c) in pair), b))
                for pair, b in zip(pairs, biases, strict=True)
            ]
            for place, (a, b) in enumerate(units if number < len(layers) - 1 else []):
                active = next(states)
                if a == 0 and (b > 0) != active:
                    low = high
                elif a and (a > 0) == active:
                    low = max(low, -b / a)
                elif a:
                    high = min(high, -b / a)
                units[place] = (a, b) if active else (Fraction(0), Fraction(0))
        if low < high:
            found.append((low, *units[0]))
    found.sort()
    return [piece for place, piece in enumerate(found) if place == 0 or piece[1:] != found[place - 1][1:]]


@st.composite
def networks(draw: st.DrawFn) -> Layers:
    widths = [1, *draw(st.lists(st.integers(1, 3), max_size=3)), 1]
    return [
        ([[draw(SMALL) for _ in range(inputs)] for _ in range(outputs)], [draw(SMALL) for _ in range(outputs)])
        for inputs, outputs in itertools.pairwise(widths)
    ]


@given(networks())
def test_pieces_are_those_of_all_patterns(layers: Layers) -> None:
    """Dead units, equal rows, zero weights and walls through the ends of the interval are among the examples."""
    modules: list[nn.Module] = []
    for weights, biases in layers:
        linear = nn.Linear(len(weights[0]), len(weights))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[float(weight) for weight in row] for row in weights]))
            linear.bias.copy_(torch.tensor([float(bias) for bias in biases]))
        modules += [linear, nn.ReLU()]
    pieces = rational_pieces(nn.Sequential(*modules[:-1]), -2.0, 3.0)
    assert list(zip(pieces.edges[:-1], pieces.slopes, pieces.offsets, strict=True)) == enumerated(layers, -2, 3)
    assert pieces.edges[-1] == 3


def test_floats_are_taken_as_they_are() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mlp([1, 8, 8, 1])
    pieces = rational_pieces(model, -3.0, 3.0)
    x = torch.tensor([[float((a + b) / 2)] for a, b in itertools.pairwise(pieces.edges)])
    x = x.double().requires_grad_()
    (slope,) = torch.autograd.grad(model.double()(x).sum(), x)
    assert torch.allclose(slope.flatten(), torch.tensor([float(s) for s in pieces.slopes], dtype=torch.float64))


@pytest.mark.parametrize(
    ("model", "interval", "message"),
    [
        (nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)), (0, 1), "the network has a Tanh"),
        (nn.Linear(2, 1), (0, 1), "takes 2 values, expected 1"),
        (nn.Linear(1, 2), (0, 1), "has 2 outputs, expected one"),
        (nn.Linear(1, 1), (1, 1), "the interval is [1, 1]"),
        (nn.Linear(1, 1), (0, float("inf")), "the interval is [0, inf]"),
    ],
)
def test_bad_input_is_named(model: nn.Module, interval: Any, message: str) -> None:
    with pytest.raises(ObservationError) as caught:
        rational_pieces(model, *interval)
    assert message in str(caught.value)


def test_weights_that_are_not_finite_are_named() -> None:
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(float("nan"))
    with pytest.raises(ObservationError, match="not finite"):
        rational_pieces(model)
