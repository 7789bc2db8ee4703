"""Strategies, predicates and samples of the claims on how often patterns change in a step."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from reluscope.optimizer_step import OptimizerStep
from reluscope_catalog.claims.exact_steps import Rows, distance, moved, read, stepped
from reluscope_plugins.temperature.distance import pattern_distances, temperature
from reluscope_plugins.temperature.theorem import predicted_distance

Cases = SearchStrategy[dict[str, Any]]

_SIGNED = st.sampled_from([1, -1, 2, -2])
_NO_RATE = 0.0
_RATES = [Fraction(k, 8) for k in (8, -8, 16, -16, 24, -24, 0, 4, -4, 2, -2, 1, -1, 12, -12)]


@st.composite
def layers_with_data(draw: Any) -> dict[str, Any]:
    """Return layers with data and targets; the first unit is active at the first sample, where it is off the target."""
    inputs, units = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    samples = draw(st.integers(1, 4))
    data = draw(st.lists(_row(3, inputs), min_size=samples, max_size=samples))
    weight = draw(st.lists(_row(2, inputs), min_size=units, max_size=units))
    inner = sum(w * v for w, v in zip(weight[0], data[0], strict=True))
    return {
        "weight": weight,
        "bias": [draw(st.integers(1, 3)) - inner, *draw(_row(2, units - 1))],
        "readout": [draw(_SIGNED), *draw(_row(2, units - 1))],
        "data": data,
        "targets": [10 * draw(_SIGNED), *draw(_row(9, samples - 1))],
    }


@st.composite
def steps(draw: Any) -> dict[str, Any]:
    """Return layers with data, targets and a rate in eighths, of seven of eight one at which a pattern changes."""
    case = draw(layers_with_data())
    layer = read(case["weight"], case["bias"], case["readout"])

    def far(rate: Fraction) -> bool:
        return distance(layer, stepped(layer, case["data"], case["targets"], -rate), case["data"]) > 0

    return dict(case) | {"rate": draw(_rates(far))}


@st.composite
def steps_of_optimizers(draw: Any) -> dict[str, Any]:
    """Return layers with data, targets and an optimizer."""
    return dict(draw(layers_with_data())) | {"optimizer": draw(st.sampled_from(["SGD", "Adam", "AdamW", "RMSprop"]))}


@st.composite
def directed_steps(draw: Any) -> dict[str, Any]:
    """Return layers with data, a rate, and a direction of the step that depends on nothing."""
    case = dict(draw(layers_with_data()))
    layer = read(case["weight"], case["bias"], case["readout"])
    direction = draw(st.lists(_row(3, len(case["data"][0])), min_size=2, max_size=2))
    bias_direction = [draw(_SIGNED), *draw(_row(3, 1))]

    def far(rate: Fraction) -> bool:
        return distance(layer, moved(layer, direction, bias_direction, rate), case["data"]) > 0

    return case | {"direction": direction, "bias_direction": bias_direction, "rate": draw(_rates(far))}


def first_layers() -> Cases:
    """Return layers at initialisation with steps independent of them, and with which probability an input is 1."""
    return st.fixed_dictionaries(
        {
            "units": st.integers(1, 2),
            "inputs": st.integers(1, 2),
            "rate": st.sampled_from([1.0, 2.0, 8.0]),
            "step": st.sampled_from([1.0, 2.0]),
            "bias": st.sampled_from([0.0, 1.0]),
            "step_bias": st.sampled_from([0.0, 2.0]),
            "positive": st.sampled_from([0.75, 0.875, 0.5]),
        }
    )


def distance_nonnegative(
    weight: Rows, bias: list[int], readout: list[int], data: Rows, targets: list[int], rate: str
) -> bool:
    """Return whether P(D) >= 0 and T >= 0, also in what the library measures, which is exact in eighths."""
    layer = read(weight, bias, readout)
    found = distance(layer, stepped(layer, data, targets, -Fraction(rate)), data)
    model, optimizer = _module(weight, bias, readout, data, targets, "SGD")
    table = pattern_distances(model, _tensor(data), OptimizerStep(optimizer), [float(Fraction(rate))])
    measured = float(table.values[0, 0])
    return found >= 0 and measured == float(found) and float(temperature(measured)) >= 0


def distance_zero_rate(
    weight: Rows, bias: list[int], readout: list[int], data: Rows, targets: list[int], optimizer: str
) -> bool:
    """Return whether no pattern changes in a step of an optimizer with the rate 0, nor in what the library measures."""
    model, stepper = _module(weight, bias, readout, data, targets, optimizer)
    x = _tensor(data)
    measured = float(pattern_distances(model, x, OptimizerStep(stepper), [_NO_RATE]).values[0, 0])
    before = model[0](x) > 0
    stepper.param_groups[0]["lr"] = _NO_RATE
    stepper.step()
    return measured == 0 == float(temperature(measured)) and bool((before == (model[0](x) > 0)).all())


def distance_reversal(
    weight: Rows, bias: list[int], readout: list[int], data: Rows, targets: list[int], rate: str
) -> bool:
    """Return whether P(D) from theta at the rate equals P(D) from there at minus the rate, steps as in 3.14."""
    layer, eta = read(weight, bias, readout), Fraction(rate)
    there = stepped(layer, data, targets, eta)
    back = stepped(there, data, targets, -eta)
    return distance(layer, there, data) == distance(there, back, data)


def distance_reversal_of_direction(
    weight: Rows,
    bias: list[int],
    readout: list[int],
    data: Rows,
    targets: list[int],
    rate: str,
    direction: Rows,
    bias_direction: list[int],
) -> bool:
    """Return the same of steps theta + eta times one direction."""
    layer, eta = read(weight, bias, readout), Fraction(rate)
    there = moved(layer, direction, bias_direction, eta)
    back = moved(there, direction, bias_direction, -eta)
    return distance(layer, there, data) == distance(there, back, data)


def pattern_changes(
    generator: np.random.Generator,
    size: int,
    units: int,
    inputs: int,
    rate: float,
    step: float,
    bias: float,
    step_bias: float,
    positive: float,
) -> npt.NDArray[np.bool_]:
    """Return whether the pattern of a layer changes: weights of variance 1, inputs 1 or else -1."""
    shape = (size, units, inputs + 1)
    x = np.ones((size, 1, inputs + 1))
    x[:, 0, :inputs] = np.where(generator.random((size, inputs)) < positive, 1, -1)
    weight, moved = generator.standard_normal(shape), generator.standard_normal(shape)
    before = (weight * x * ([1.0] * inputs + [bias])).sum(2)
    after = before - rate * (moved * x * ([step] * inputs + [step_bias])).sum(2)
    return np.asarray(((before > 0) != (after > 0)).any(1))


def arctan_law_of_moments(
    units: int, inputs: int, rate: float, step: float, bias: float, step_bias: float, positive: float
) -> float:
    """Return the probability of Theorem 1 with E[x^2], which is 1, in place of the variance."""
    return predicted_distance(1.0, step, units, rate, squared_norm=inputs, bias_std=bias, step_bias_std=step_bias)


@st.composite
def _rates(draw: Any, far: Callable[[Fraction], bool]) -> str:
    rate, any_will_do = draw(st.sampled_from(_RATES)), draw(st.integers(0, 7)) == 7
    others = () if any_will_do or far(rate) else _RATES[:6]
    return str(next((other for other in others if far(other)), rate))


def _row(most: int, size: int) -> SearchStrategy[list[int]]:
    return st.lists(st.integers(-most, most), min_size=size, max_size=size)


def _tensor(values: Any) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _module(
    weight: Rows, bias: list[int], readout: list[int], data: Rows, targets: list[int], optimizer: str
) -> tuple[torch.nn.Sequential, torch.optim.Optimizer]:
    hidden, output = torch.nn.Linear(len(weight[0]), len(bias)), torch.nn.Linear(len(bias), 1, bias=False)
    hidden.weight, hidden.bias = torch.nn.Parameter(_tensor(weight)), torch.nn.Parameter(_tensor(bias))
    output.weight = torch.nn.Parameter(_tensor([readout]))
    model = torch.nn.Sequential(hidden, torch.nn.ReLU(), output)
    made = getattr(torch.optim, optimizer)(model.parameters(), lr=0.125)
    (((model(_tensor(data))[:, 0] - _tensor(targets)) ** 2).sum() / 2).backward()
    return model, made
