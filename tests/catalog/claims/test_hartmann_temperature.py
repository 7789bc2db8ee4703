"""The verifier refutes each claim on the change of patterns once a sign, a constant or a relation is off."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.integrate import quad
from scipy.special import erfinv
from scipy.stats import norm

from reluscope_catalog.claims import hartmann_models as models
from reluscope_catalog.claims import hartmann_temperature as claims
from reluscope_catalog.claims.exact_steps import distance, moved, read, stepped
from reluscope_plugins.temperature.distance import pattern_distances, temperature
from reluscope_plugins.temperature.error_function import ErrorFunction
from reluscope_plugins.temperature.theorem import predicted_distance


def at_twice_the_rate(model: Any, x: Any, step: Any, rates: Any) -> Any:
    return pattern_distances(model, x, step, [2 * rate for rate in rates])


def at_an_eighth_more(model: Any, x: Any, step: Any, rates: Any) -> Any:
    return pattern_distances(model, x, step, [rate + 0.125 for rate in rates])


def uphill(layer: Any, data: Any, targets: Any, eta: Fraction) -> Any:
    return stepped(layer, data, targets, -eta)


def inverted(share: float) -> Any:
    return -temperature(share)


def further_on(layer: Any, direction: Any, bias_direction: Any, eta: Fraction) -> Any:
    return moved(layer, direction, bias_direction, abs(eta))


def half_of_the_way_back(layer: Any, direction: Any, bias_direction: Any, eta: Fraction) -> Any:
    return moved(layer, direction, bias_direction, eta if eta > 0 else eta / 2)


def of_the_other_ratio(
    std: float, step_std: float, units: int, rate: float, *, bias_std: float, step_bias_std: float, **inputs: Any
) -> float:
    return predicted_distance(step_std, std, units, rate, bias_std=step_bias_std, step_bias_std=bias_std, **inputs)


def of_one_unit_more(std: float, step_std: float, units: int, rate: float, **others: Any) -> float:
    return float(predicted_distance(std, step_std, units + 1, rate, **others))


def without_the_bias(*given: Any, squared_norm: float, **biases: Any) -> float:
    return float(predicted_distance(*given, squared_norm=squared_norm))


def one_percent_more(*given: Any, **others: Any) -> float:
    return 1.01 * float(predicted_distance(*given, **others))


def product_of_variances(values: list[int], deviation: Fraction) -> Fraction:
    """Return what 3.19 has for the variance of w x."""
    mean = Fraction(sum(values), len(values))
    return deviation**2 * sum(((x - mean) ** 2 for x in values), Fraction(0)) / len(values)


def square_of_the_mean(values: list[int]) -> Fraction:
    return Fraction(sum(map(abs, values)), len(values)) ** 2


def owen_without_magnitude(a: float, b: float) -> float:
    return (math.pi / 2 + math.atan(b)) / (2 * math.pi * a)


def owen_of_the_inverse_ratio(a: float, b: float) -> float:
    return (math.pi / 2 + math.atan(b * a)) / (2 * math.pi * a)


def one_percent_greater(a: float, b: float) -> float:
    return 1.01 * owen(a, b)


def without_the_root(log_rate: float, mu: float, sigma: float) -> float:
    return (1 + math.erf((log_rate - mu) / sigma)) / 2


def quantile_without_the_root(sigma: float, probability: float) -> float:
    return sigma * float(erfinv(2 * probability - 1))


def quantile_of_the_probability(sigma: float, probability: float) -> float:
    return sigma * math.sqrt(2) * float(erfinv(probability))


def quantile_of_the_complement(sigma: float, probability: float) -> float:
    return sigma * math.sqrt(2) * float(erfinv(1 - 2 * probability))


class OffModel(ErrorFunction):
    """A model of which one factor is off by a part in a thousand million."""

    def rate(self, *given: Any) -> Any:
        return super().rate(*given) * (1 + 1e-9)

    @staticmethod
    def mu_for(*given: Any) -> Any:
        return ErrorFunction.mu_for(*given) + 1e-9


owen = models._owen

_STEPS = "reluscope_catalog.claims.hartmann_temperature:"
_MODELS = "reluscope_catalog.claims.hartmann_models:"
_MODEL = f"{_MODELS}ErrorFunction"


_INVERSES = [
    {f"{_MODELS}_model": without_the_root},
    {f"{_MODELS}_scaled_quantile": quantile_without_the_root},
    {f"{_MODELS}_scaled_quantile": quantile_of_the_probability},
    {f"{_MODELS}_scaled_quantile": quantile_of_the_complement},
]

MUTANTS: dict[str, list[Any]] = {
    "distance_nonnegative": [
        {f"{_STEPS}pattern_distances": at_twice_the_rate},
        {f"{_STEPS}stepped": uphill},
        {f"{_STEPS}temperature": inverted},
    ],
    "distance_zero_rate": [{f"{_STEPS}_NO_RATE": 0.125}, {f"{_STEPS}pattern_distances": at_an_eighth_more}],
    "distance_reversal_of_direction": [{f"{_STEPS}moved": further_on}, {f"{_STEPS}moved": half_of_the_way_back}],
    "arctan_law_of_moments": [
        {f"{_STEPS}predicted_distance": of_the_other_ratio},
        {f"{_STEPS}predicted_distance": of_one_unit_more},
        {f"{_STEPS}predicted_distance": without_the_bias},
        {f"{_STEPS}predicted_distance": one_percent_more},
    ],
    "product_variance_of_moment": [
        {f"{_MODELS}variance": product_of_variances},
        {f"{_MODELS}_mean_square": square_of_the_mean},
    ],
    "owen_integral": [
        {f"{_MODELS}_owen": owen_without_magnitude},
        {f"{_MODELS}_owen": owen_of_the_inverse_ratio},
        {f"{_MODELS}_owen": one_percent_greater},
    ],
    "erf_inverse_sum": _INVERSES,
    "erf_inverse_appendix": _INVERSES,
    "erf_inverse_appendix_rate": [*_INVERSES, {_MODEL: OffModel}],
    "erf_inverse_appendix_mu": [*_INVERSES, {_MODEL: OffModel}],
}


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
