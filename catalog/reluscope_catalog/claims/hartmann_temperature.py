"""Strategies and predicates of the claims on how often patterns change, and on the models of it."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from scipy.special import ndtr, ndtri

from reluscope.optimizer_step import OptimizerStep
from reluscope_catalog.claims.exact_steps import Rows, distance, moved, read, stepped
from reluscope_plugins.temperature.distance import pattern_distances, temperature
from reluscope_plugins.temperature.error_function import ErrorFunction
from reluscope_plugins.temperature.theorem import predicted_distance

Cases = SearchStrategy[dict[str, Any]]

EPS = float(np.finfo(np.float64).eps)
_PIECES = 2**14
_NOT_ZERO = st.fractions(-8, 8, max_denominator=8).filter(bool).map(str)
_NUMBER = st.fractions(-8, 8, max_denominator=8).map(str)
_RATE = st.sampled_from(
    sorted((Fraction(k, 8) for k in range(-16, 17)), key=lambda rate: (rate.denominator, rate != 1, abs(rate)))
)
_QUANTILE = st.fractions(-3, 3, max_denominator=8).map(str)


@st.composite
def steps(draw: Any, *, optimizer: bool = False) -> dict[str, Any]:
    """Return layers with data, targets and a rate in eighths, and an optimizer if asked for."""
    inputs, units = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    samples = draw(st.integers(1, 4))
    case = {
        "weight": draw(st.lists(_row(2, inputs), min_size=units, max_size=units)),
        "bias": draw(_row(2, units)),
        "readout": draw(_row(2, units)),
        "data": draw(st.lists(_row(3, inputs), min_size=samples, max_size=samples)),
        "targets": draw(_row(2, samples)),
    }
    if optimizer:
        return case | {"optimizer": draw(st.sampled_from(["SGD", "Adam", "AdamW", "RMSprop"]))}
    return case | {"rate": str(draw(_RATE))}


def steps_of_optimizers() -> Cases:
    """Return layers with data, targets and an optimizer."""
    return steps(optimizer=True)


def directed_steps() -> Cases:
    """Return layers with data, a rate, and a direction of the step that depends on nothing."""

    @st.composite
    def cases(draw: Any) -> dict[str, Any]:
        case = draw(steps())
        case["direction"] = draw(st.lists(_row(3, len(case["data"][0])), min_size=2, max_size=2))
        case["bias_direction"] = draw(_row(3, 2))
        return dict(case)

    return cases()


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


def uneven_layers() -> Cases:
    """Return those whose inputs are not of mean zero, and whose biases do not make up for it."""
    return first_layers().filter(
        lambda case: case["positive"] != 0.5 and case["step_bias"] != case["step"] * case["bias"]
    )


def products() -> Cases:
    """Return values of an input, equally likely, with the standard deviation of a weight."""
    deviations = st.fractions(Fraction(1, 8), 4, max_denominator=8).map(str)
    values = st.lists(st.integers(-5, 5), min_size=1, max_size=6)
    return st.fixed_dictionaries({"values": values, "deviation": deviations})


def slopes() -> Cases:
    """Return the two numbers of Owen's integral, the first not 0."""
    return st.fixed_dictionaries({"a": _NOT_ZERO, "b": _NUMBER})


def transitions() -> Cases:
    """Return parameters of the model, a logarithm of a rate, and a probability as its normal quantile."""
    return st.fixed_dictionaries({"mu": _NUMBER, "sigma": _NOT_ZERO, "quantile": _QUANTILE, "log_rate": _NUMBER})


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
    measured = float(pattern_distances(model, x, OptimizerStep(stepper), [0.0]).values[0, 0])
    before = model[0](x) > 0
    stepper.param_groups[0]["lr"] = 0.0
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


def arctan_law(
    units: int, inputs: int, rate: float, step: float, bias: float, step_bias: float, positive: float
) -> float:
    """Return the probability of Theorem 1 as printed, with the variances of the inputs."""
    variance = 4 * positive * (1 - positive)
    return predicted_distance(
        1.0, step, units, rate, squared_norm=inputs * variance, bias_std=bias, step_bias_std=step_bias
    )


def arctan_law_of_moments(
    units: int, inputs: int, rate: float, step: float, bias: float, step_bias: float, positive: float
) -> float:
    """Return the same with E[x^2], which is 1."""
    return predicted_distance(1.0, step, units, rate, squared_norm=inputs, bias_std=bias, step_bias_std=step_bias)


def product_variance(values: list[int], deviation: str) -> bool:
    """Return whether Var(w x) = Var(w) Var(x)."""
    mean = Fraction(sum(values), len(values))
    variance = sum(((x - mean) ** 2 for x in values), Fraction(0)) / len(values)
    return _variance(values, Fraction(deviation)) == Fraction(deviation) ** 2 * variance


def product_variance_of_moment(values: list[int], deviation: str) -> bool:
    """Return whether Var(w x) = Var(w) E[x^2]."""
    return _variance(values, Fraction(deviation)) == Fraction(deviation) ** 2 * sum(x * x for x in values) / len(values)


def owen_integral(a: str, b: str) -> bool:
    """Return whether the printed value lies between a lower and an upper sum of the integral."""
    steepness, slope = abs(float(Fraction(a))), float(Fraction(b))
    lower, upper, rounding = _integral(steepness, slope)
    printed = (math.pi / 2 + math.atan(slope / steepness)) / (2 * math.pi * steepness)
    return lower - rounding <= printed <= upper + rounding


def erf_inverse_main(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether 3.43 and 3.44 undo 3.17: its argument is the quantile of the probability, as it is increasing."""
    m, s, u, rate = map(Fraction, (mu, sigma, quantile, log_rate))
    return (s * u - m - m) / s == u and (rate - (s * u - rate)) / s == u


def erf_inverse_sum(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether 3.43 and 3.44 undo 3.42."""
    m, s, u, rate = map(Fraction, (mu, sigma, quantile, log_rate))
    return (m + (s * u - m)) / s == u and ((s * u - rate) + rate) / s == u


def erf_inverse_appendix(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether A.4 (b) and (c) undo A.4 (a), which is 3.17, also where the library computes them."""
    m, s, u, rate = map(Fraction, (mu, sigma, quantile, log_rate))
    return (s * u + m - m) / s == u and (rate - (rate - s * u)) / s == u and (s < 0 or _inverts(m, s, u, rate))


# The library's rate and mu against sigma u + mu and log_rate - sigma u. Probability, quantile, exponential and
# logarithm are off by a few units in the last place each; an error of the probability is one of the quantile over the
# density there, which is above 0.004 for quantiles within 3.
def _inverts(mu: Fraction, sigma: Fraction, u: Fraction, log_rate: Fraction) -> bool:
    m, s, quantile, rate = map(float, (mu, sigma, u, log_rate))
    probability = float(ndtr(quantile))
    density = math.exp(-(quantile**2) / 2) / math.sqrt(2 * math.pi)
    bound = 16 * EPS * (1 + abs(m) + abs(rate) + s * (abs(quantile) + 1 / density))
    found = math.log(ErrorFunction(mu=m, sigma=s).rate(probability))
    updated = ErrorFunction.mu_for(math.exp(rate), probability, s)
    return abs(found - float(sigma * u + mu)) <= bound and abs(updated - float(log_rate - sigma * u)) <= bound


# Between points of equal mass of the normal density, Phi(b x) is monotone: its values at both ends bound it. Each mass
# and value of a piece is off by a few units in the last place of at most 1.
def _integral(a: float, b: float) -> tuple[float, float, float]:
    ends = ndtri(0.5 + 0.5 * np.arange(_PIECES + 1) / _PIECES)
    mass = np.diff(ndtr(ends)) / a
    values = np.append(ndtr(b * ends[:-1] / a), 0.5 + 0.5 * np.sign(b))
    lower, upper = np.minimum(values[:-1], values[1:]), np.maximum(values[:-1], values[1:])
    return float(mass @ lower), float(mass @ upper), 16 * _PIECES * EPS / a


def _variance(values: list[int], deviation: Fraction) -> Fraction:
    # w is one deviation above or below 0, equally likely: mean 0 and the variance asked for
    found = [w * x for w in (deviation, -deviation) for x in values]
    mean = sum(found, Fraction(0)) / len(found)
    return sum(((y - mean) ** 2 for y in found), Fraction(0)) / len(found)


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
