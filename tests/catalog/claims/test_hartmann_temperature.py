"""The verifier refutes each claim on the change of patterns once a sign, a constant or a relation is off."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.integrate import quad
from scipy.stats import norm

from reluscope.optimizer_step import OptimizerStep
from reluscope_catalog.claims import hartmann_models as models
from reluscope_catalog.claims import hartmann_temperature as claims
from reluscope_catalog.claims.exact_steps import distance, moved, read, stepped
from reluscope_plugins.temperature.distance import pattern_distances
from reluscope_plugins.temperature.error_function import ErrorFunction


def at_another_rate(weight: Any, bias: Any, readout: Any, data: Any, targets: Any, rate: str) -> bool:
    layer = read(weight, bias, readout)
    model, optimizer = claims._module(weight, bias, readout, data, targets, "SGD")
    step = OptimizerStep(optimizer)
    table = pattern_distances(model, claims._tensor(data), step, [2 * float(Fraction(rate))])
    after = stepped(layer, data, targets, -Fraction(rate))
    return float(table.values[0, 0]) == float(distance(layer, after, data))


def positive(weight: Any, bias: Any, readout: Any, data: Any, targets: Any, rate: str) -> bool:
    layer = read(weight, bias, readout)
    return distance(layer, stepped(layer, data, targets, -Fraction(rate)), data) > 0


def at_the_rate_of_an_eighth(weight: Any, bias: Any, readout: Any, data: Any, targets: Any, optimizer: str) -> bool:
    model, stepper = claims._module(weight, bias, readout, data, targets, optimizer)
    x = claims._tensor(data)
    before = model[0](x) > 0
    stepper.step()
    return bool((before == (model[0](x) > 0)).all())


def further_on(
    weight: Any, bias: Any, readout: Any, data: Any, targets: Any, rate: str, direction: Any, bias_direction: Any
) -> bool:
    layer, eta = read(weight, bias, readout), Fraction(rate)
    there = moved(layer, direction, bias_direction, eta)
    back = moved(there, direction, bias_direction, eta)
    return distance(layer, there, data) == distance(there, back, data)


def in_the_other_direction(
    weight: Any, bias: Any, readout: Any, data: Any, targets: Any, rate: str, direction: Any, bias_direction: Any
) -> bool:
    layer, eta = read(weight, bias, readout), Fraction(rate)
    there = moved(layer, direction, bias_direction, eta)
    other = moved(layer, direction, bias_direction, -eta)
    return distance(layer, there, data) == distance(layer, other, data)


def law_of_the_other_ratio(
    rate: float, step: float, units: int, inputs: int, bias: float, step_bias: float, positive: float
) -> float:
    ratio = math.hypot(math.sqrt(inputs), bias) / math.hypot(step * math.sqrt(inputs), step_bias)
    return float(1 - (1 - math.atan(rate * ratio) / math.pi) ** units)


def law_of_one_unit_more(units: int, **case: Any) -> float:
    return claims.arctan_law_of_moments(units=units + 1, **case)


def law_without_bias(**case: Any) -> float:
    return claims.arctan_law_of_moments(**case | {"bias": 0.0, "step_bias": 0.0})


def law_off_by_one_percent(**case: Any) -> float:
    return 1.01 * claims.arctan_law_of_moments(**case)


def moment_of_first_order(values: list[int], deviation: str) -> bool:
    variance = models.variance(values, Fraction(deviation))
    return variance == Fraction(deviation) ** 2 * Fraction(sum(map(abs, values)), len(values)) ** 2


def deviation_of_the_weight(values: list[int], deviation: str) -> bool:
    return models.variance(values, Fraction(deviation)) == Fraction(deviation) * sum(x * x for x in values) / len(
        values
    )


def owen(a: str, b: str, value: Any) -> bool:
    lower, upper, rounding = models._integral(abs(float(Fraction(a))), float(Fraction(b)))
    return bool(lower - rounding <= value(float(Fraction(a)), float(Fraction(b))) <= upper + rounding)


def owen_without_magnitude(a: str, b: str) -> bool:
    return owen(a, b, lambda a, b: (math.pi / 2 + math.atan(b / a)) / (2 * math.pi * a))


def owen_of_the_inverse_ratio(a: str, b: str) -> bool:
    return owen(a, b, lambda a, b: (math.pi / 2 + math.atan(b * abs(a))) / (2 * math.pi * abs(a)))


def owen_off_by_one_percent(a: str, b: str) -> bool:
    return owen(a, b, lambda a, b: 1.01 * (math.pi / 2 + math.atan(b / abs(a))) / (2 * math.pi * abs(a)))


def sum_with_the_other_sign(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    m, s, u = map(Fraction, (mu, sigma, quantile))
    return (m + (s * u + m)) / s == u


def rate_with_the_other_sign(mu: str, sigma: str, quantile: str, **case: str) -> bool:
    m, s, u = map(Fraction, (mu, sigma, quantile))
    return (-s * u + m - m) / s == u


def mu_with_the_other_sign(sigma: str, quantile: str, log_rate: str, **case: str) -> bool:
    s, u, rate = map(Fraction, (sigma, quantile, log_rate))
    return (rate - (rate + s * u)) / s == u


class OffModel(ErrorFunction):
    """A model of which one factor is off by a part in a thousand million."""

    def rate(self, *given: Any) -> Any:
        return super().rate(*given) * (1 + 1e-9)

    @staticmethod
    def mu_for(*given: Any) -> Any:
        return ErrorFunction.mu_for(*given) + 1e-9


_MODEL = "reluscope_catalog.claims.hartmann_models:ErrorFunction"


MUTANTS: dict[str, list[Any]] = {
    "distance_nonnegative": [at_another_rate, positive],
    "distance_zero_rate": [at_the_rate_of_an_eighth],
    "distance_reversal_of_direction": [further_on, in_the_other_direction],
    "product_variance_of_moment": [moment_of_first_order, deviation_of_the_weight],
    "owen_integral": [owen_without_magnitude, owen_of_the_inverse_ratio, owen_off_by_one_percent],
    "erf_inverse_sum": [sum_with_the_other_sign],
    "erf_inverse_appendix": [rate_with_the_other_sign, mu_with_the_other_sign],
    "erf_inverse_appendix_rate": [rate_with_the_other_sign, {_MODEL: OffModel}],
    "erf_inverse_appendix_mu": [mu_with_the_other_sign, {_MODEL: OffModel}],
}
MUTANTS["arctan_law_of_moments"] = [
    {"value": law_of_the_other_ratio},
    {"value": law_of_one_unit_more},
    {"value": law_without_bias},
    {"value": law_off_by_one_percent},
]


@pytest.mark.parametrize(("a", "b"), [(1.0, 0.0), (0.5, -3.0), (8.0, 2.0), (0.125, 8.0)])
def test_the_sums_enclose_the_integral_closely(a: float, b: float) -> None:
    lower, upper, rounding = models._integral(a, b)
    value, error = quad(lambda x: norm.pdf(a * x) * norm.cdf(b * x), 0, np.inf)
    assert lower - error <= value <= upper + error
    assert upper - lower <= 0.5 * 0.5 / a / models._PIECES + 2 * rounding


@pytest.mark.parametrize("strategy", [claims.steps(), claims.directed_steps()])
def test_patterns_change_in_most_cases(strategy: Any) -> None:
    changed = []

    @settings(max_examples=200, database=None, derandomize=True, deadline=None)
    @given(strategy)
    def count(case: dict[str, Any]) -> None:
        layer, rate = read(case["weight"], case["bias"], case["readout"]), Fraction(case["rate"])
        after = stepped(layer, case["data"], case["targets"], -rate)
        if "direction" in case:
            after = moved(layer, case["direction"], case["bias_direction"], rate)
        changed.append(distance(layer, after, case["data"]) > 0)

    count()
    assert sum(changed) >= 0.8 * len(changed)
