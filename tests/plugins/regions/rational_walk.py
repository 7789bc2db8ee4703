"""An independent reference: a walk along a line from piece to piece, in exact rational arithmetic.

A network is a list of layers: `("linear", weight, bias)`, `("relu",)`, `("relu6",)`, `("pool", size, stride)`,
`("residual", layers)`. Values just beyond a point are compared as (value, derivative), so that ties are exact.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Value = tuple[Fraction, Fraction]
Layers = list[tuple[Any, ...]]


class Described(nn.Module):
    """The same network for torch."""

    def __init__(self, layers: Layers) -> None:
        super().__init__()
        self.layers = layers
        self.first = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._run(self.layers, x)

    def _run(self, layers: Layers, x: torch.Tensor) -> torch.Tensor:
        for kind, *rest in layers:
            if kind == "linear":
                weight, bias = (torch.tensor(values, dtype=torch.float64) for values in rest)
                x = functional.linear(x, weight, bias)
            elif kind == "relu":
                x = torch.relu(x)
            elif kind == "relu6":
                x = functional.relu6(x)
            elif kind == "pool":
                x = functional.max_pool1d(x.unsqueeze(1), rest[0], rest[1]).squeeze(1)
            else:
                x = x + self._run(rest[0], x)
        return x


def _pass(layers: Layers, x: list[Value], states: list[Any], steps: list[Fraction]) -> list[Value]:
    # The values just beyond a point; notes the states there, and how far on each of them could change.
    def steps_to(value: Fraction, derivative: Fraction) -> None:
        if derivative and -value / derivative > 0:
            steps.append(-value / derivative)

    for kind, *rest in layers:
        if kind == "linear":
            weight, bias = rest
            rows = [[Fraction(w) for w in row] for row in weight]
            x = [
                (
                    sum((w * v for w, (v, _) in zip(row, x, strict=True)), Fraction(b)),
                    sum((w * d for w, (_, d) in zip(row, x, strict=True)), Fraction(0)),
                )
                for row, b in zip(rows, bias, strict=True)
            ]
        elif kind in ("relu", "relu6"):
            bounds = [Fraction(0)] if kind == "relu" else [Fraction(0), Fraction(6)]
            bent = []
            for v, d in x:
                for bound in bounds:
                    steps_to(v - bound, d)
                state = int((v, d) > (0, 0))
                if kind == "relu6" and (v, d) >= (6, 0):
                    state = 2
                states.append(state)
                bent.append([(Fraction(0), Fraction(0)), (v, d), (Fraction(6), Fraction(0))][state])
            x = bent
        elif kind == "pool":
            size, stride = rest
            pooled = []
            for start in range(0, len(x) - size + 1, stride):
                window = x[start : start + size]
                winner = max(range(size), key=lambda place: (window[place], -place))
                for v, d in window:
                    steps_to(window[winner][0] - v, window[winner][1] - d)
                states.append(winner)
                pooled.append(window[winner])
            x = pooled
        else:
            inner = _pass(rest[0], x, states, steps)
            x = [(v + w, d + e) for (v, d), (w, e) in zip(x, inner, strict=True)]
    return x


def walk(layers: Layers, begin: list[float], end: list[float]) -> tuple[list[Fraction], list[Value]]:
    """Go from piece to piece.

    Args:
        layers: The network.
        begin: Where the line starts.
        end: Where it ends.

    Returns:
        The parameters within (0, 1) at which the pattern changes; slope and offset of the first output on each piece.
    """
    first, last = [Fraction(v) for v in begin], [Fraction(v) for v in end]
    breakpoints: list[Fraction] = []
    pieces: list[Value] = []
    t, before = Fraction(0), None
    while t < 1:
        states: list[Any] = []
        steps: list[Fraction] = []
        x = [(a + t * (b - a), b - a) for a, b in zip(first, last, strict=True)]
        value, slope = _pass(layers, x, states, steps)[0]
        if states != before:
            if before is not None:
                breakpoints.append(t)
            pieces.append((slope, value - slope * t))
        before = states
        t = min([t + step for step in steps], default=Fraction(1))
    return breakpoints, pieces
