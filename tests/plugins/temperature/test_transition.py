"""Transition models against their formulas in many digits, and their fits against grids, exact and noisy curves."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import erfinv

from reluscope.errors import ObservationError
from reluscope_plugins.temperature.transition import (
    MODELS,
    Arctangent,
    ErrorFunction,
    HalfErrorFunction,
    TransitionModel,
    fit,
)

mpmath = pytest.importorskip("mpmath")

GRID = np.geomspace(1e-4, 1e2, 50)
CLASSES = list(MODELS.values())
UNITS = [HalfErrorFunction, Arctangent]
each_class = pytest.mark.parametrize("model_class", CLASSES, ids=list(MODELS))

models = st.one_of(
    st.builds(ErrorFunction, st.floats(-30, 30), st.floats(0.01, 10)),
    *(st.builds(cls, st.floats(0.1, 1e4), st.floats(-10, 10).map(math.exp)) for cls in UNITS),
)


def exact(model: TransitionModel, rate: float) -> Any:
    """The formula as printed (with the sign of 3.17, and of 3.18 for the exponent), in 50 digits."""
    mu, sigma, eta = (mpmath.mpf(value) for value in (model.mu, model.sigma, rate))
    if isinstance(model, ErrorFunction):
        # The complement on the left side, where 1 + erf would need more digits.
        return mpmath.erfc(-(mpmath.log(eta) - mu) / (sigma * mpmath.sqrt(2))) / 2
    if isinstance(model, HalfErrorFunction):
        return 1 - (1 - mpmath.erf(sigma * eta / mpmath.sqrt(2)) / 2) ** mu
    return 1 - (1 - mpmath.atan(sigma * eta) / mpmath.pi) ** mu


def condition(model: TransitionModel, rate: float) -> float:
    """How far the logarithm of the rate moves when the probability moves by one rounding."""
    step = 1e-4
    with mpmath.workdps(50):
        slope = (exact(model, rate * math.exp(step)) - exact(model, rate * math.exp(-step))) / (2 * step)
        probability = exact(model, rate)
    return float(np.finfo(float).eps * probability / slope) if slope > 0 else math.inf


@given(models, st.floats(-4, 4))
def test_probability_as_printed(model: TransitionModel, away: float) -> None:
    rate = model.rate(0.5 * model.limit) * math.exp(away)
    with mpmath.workdps(50):
        expected = float(exact(model, rate))
    logarithm = 1e-15 * (abs(math.log(rate)) + abs(model.mu)) / model.sigma * 10
    assert model.probability(rate) == pytest.approx(expected, rel=1e-11 + logarithm, abs=1e-300)


@pytest.mark.parametrize("model", [ErrorFunction(-1.5, 0.8), HalfErrorFunction(40.0, 0.3), Arctangent(40.0, 0.3)])
@pytest.mark.parametrize("probability", [1e-12, 1e-9, 1e-3, 0.5, 0.999, 1 - 1e-9])
def test_tails(model: TransitionModel, probability: float) -> None:
    rate = model.rate(probability)
    with mpmath.workdps(50):
        assert float(exact(model, rate)) == pytest.approx(probability, rel=1e-11)
        assert float(1 - exact(model, rate)) == pytest.approx(1 - probability, rel=1e-6)
    assert 1 - model.probability(rate) == pytest.approx(1 - probability, rel=1e-6)


def test_last_tail_of_the_error_function() -> None:
    # Of 1 - 1e-12 a float holds four digits of what is missing to 1.
    model = ErrorFunction(2.0, 3.0)
    with mpmath.workdps(50):
        missing = 1 - mpmath.mpf(1 - 1e-12)
        assert float((1 - exact(model, model.rate(1 - 1e-12))) / missing) == pytest.approx(1, rel=1e-9)


@given(models, st.floats(-3, 3))
def test_rate_inverts_probability(model: TransitionModel, away: float) -> None:
    rate = model.rate(0.5 * model.limit) * math.exp(away)
    assume(model.probability(rate) > 1e-290 and condition(model, rate) < 1e-6)
    relative = 20 * condition(model, rate) + 1e-13 * (1 + abs(model.mu) + abs(math.log(rate)))
    assert model.rate(model.probability(rate)) == pytest.approx(rate, rel=relative)


@given(models, st.floats(1e-12, 1 - 1e-9))
def test_probability_inverts_rate(model: TransitionModel, share: float) -> None:
    probability = share * model.limit
    assert model.probability(model.rate(probability)) == pytest.approx(probability, rel=1e-9)


@given(models, st.floats(-3, 3))
def test_partial_inverse(model: TransitionModel, away: float) -> None:
    rate = model.rate(0.5 * model.limit) * math.exp(away)
    probability = model.probability(rate)
    assume(1e-12 < probability < 1 - 1e-9)
    mu = type(model).mu_for(rate, probability, model.sigma)
    assert type(model)(mu, model.sigma).probability(rate) == pytest.approx(probability, rel=1e-9)
    scale = model.sigma if isinstance(model, ErrorFunction) else model.mu
    assert mu == pytest.approx(model.mu, rel=1e-6, abs=1e-6 * scale)


@given(models)
def test_rises_from_zero_to_the_limit(model: TransitionModel) -> None:
    rates = np.concatenate([[0.0], np.geomspace(1e-300, 1e300, 400), [np.inf]])
    found = model.probability(rates)
    assert found[0] == 0.0
    assert found[-1] == pytest.approx(model.limit, rel=1e-12)
    assert (np.diff(found) >= -1e-15).all()
    assert model.rate(0.0) == 0.0
    assert model.rate(model.limit) == math.inf
    probabilities = np.linspace(0.01, 0.99, 30) * model.limit
    assert (np.diff(model.rate(probabilities)) > 0).all()
    assert isinstance(model, ErrorFunction) == (model.limit == 1.0) or model.mu > 50


@each_class
def test_many_at_once_as_one_by_one(model_class: type[TransitionModel]) -> None:
    model = model_class(1.5, 0.7)
    probabilities = model.probability(GRID.reshape(5, 10))
    assert probabilities.shape == (5, 10)
    assert probabilities.tolist() == [[model.probability(float(rate)) for rate in row] for row in GRID.reshape(5, 10)]
    inner = np.array([[0.1, 0.2], [0.3, 0.4]])
    assert model.rate(inner).tolist() == [[model.rate(p) for p in row] for row in inner.tolist()]
    assert model_class.mu_for(inner, inner, 0.7).tolist() == [
        [model_class.mu_for(p, p, 0.7) for p in row] for row in inner.tolist()
    ]
    assert type(model.probability(0.5)) is type(model.rate(0.5)) is float


# The three forms of the source, as printed.


def equation_3_17(rate: float, mu: float, sigma: float) -> float:
    return 0.5 * (1 + math.erf((math.log(rate) - mu) / (sigma * math.sqrt(2))))


def equation_3_42(rate: float, mu: float, sigma: float) -> float:
    return 0.5 * (1 + math.erf((mu + math.log(rate)) / (sigma * math.sqrt(2))))


def equation_3_43(probability: float, mu: float, sigma: float) -> float:
    return math.exp(sigma * math.sqrt(2) * float(erfinv(2 * probability - 1)) - mu)


def equation_3_44(rate: float, probability: float, sigma: float) -> float:
    return sigma * math.sqrt(2) * float(erfinv(2 * probability - 1)) - math.log(rate)


def appendix_b(probability: float, mu: float, sigma: float) -> float:
    return math.exp(sigma * math.sqrt(2) * float(erfinv(2 * probability - 1)) + mu)


def appendix_c(rate: float, probability: float, sigma: float) -> float:
    return math.log(rate) - sigma * math.sqrt(2) * float(erfinv(2 * probability - 1))


@given(st.floats(-10, 10), st.floats(0.1, 5), st.floats(0.01, 0.99))
def test_signs_of_the_source(mu: float, sigma: float, probability: float) -> None:
    model = ErrorFunction(mu, sigma)
    rate = model.rate(probability)
    assert equation_3_17(rate, mu, sigma) == pytest.approx(probability, rel=1e-9)
    assert appendix_b(probability, mu, sigma) == pytest.approx(rate, rel=1e-9)
    assert appendix_c(rate, probability, sigma) == pytest.approx(mu, rel=1e-9, abs=1e-9)
    # 3.43 and 3.44 invert 3.42, whose mu is the negative of 3.17's, and not 3.17, of which the text derives them.
    assert equation_3_42(equation_3_43(probability, mu, sigma), mu, sigma) == pytest.approx(probability, rel=1e-9)
    assert equation_3_44(rate, probability, sigma) == pytest.approx(-mu, rel=1e-9, abs=1e-9)
    assert equation_3_43(probability, mu, sigma) == pytest.approx(rate * math.exp(-2 * mu), rel=1e-9)
    assume(abs(mu) > 0.1)
    assert abs(math.log(equation_3_43(probability, mu, sigma) / rate)) > 0.19
    assert abs(equation_3_44(rate, probability, sigma) - mu) > 0.19


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ErrorFunction(math.nan, 1.0), "ErrorFunction: mu is nan, expected a finite number"),
        (lambda: ErrorFunction(0.0, 0.0), "ErrorFunction: sigma is 0.0, expected a finite number above 0"),
        (lambda: Arctangent(-3.0, 1.0), "Arctangent: mu is -3.0, expected a finite number above 0"),
        (lambda: HalfErrorFunction(1.0, math.inf), "HalfErrorFunction: sigma is inf"),
        (lambda: ErrorFunction(0, 1).probability([0.1, -0.1]), "-0.1 is no learning rate"),
        (lambda: ErrorFunction(0, 1).probability(math.nan), "nan is no learning rate"),
        (lambda: ErrorFunction(0, 1).rate(1.5), r"ErrorFunction\(mu=0.0, sigma=1.0\) gives no probability of 1.5"),
        (lambda: ErrorFunction(0, 1).rate([0.5, math.nan]), "gives no probability of nan"),
        (lambda: Arctangent(1, 1).rate(0.6), r"gives no probability of 0.6 at any rate, expected one within 0..0.5"),
        (lambda: ErrorFunction.mu_for(0.0, 0.5, 1.0), "no mu for the learning rate 0.0"),
        (lambda: ErrorFunction.mu_for(1.0, 1.0, 1.0), "no mu for a probability of 1.0, expected one strictly between"),
        (lambda: Arctangent.mu_for(1.0, 0.0, 1.0), "no mu for a probability of 0.0"),
        (lambda: Arctangent.mu_for(1.0, 0.5, -1.0), "Arctangent: sigma is -1.0"),
    ],
)
def test_outside_the_domain(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        call()


@given(st.floats(-20, 20), st.floats(0.02, 8), st.integers(3, 50), st.floats(1e-6, 0.3))
def test_exact_curves_of_the_error_function(mu: float, sigma: float, count: int, lowest: float) -> None:
    model = ErrorFunction(mu, sigma)
    rates = model.rate(np.linspace(lowest, 1 - lowest, count))
    for method in ("least_squares", "probit"):
        found = fit(ErrorFunction, rates, model.probability(rates), method=method)
        assert found.model.mu == pytest.approx(mu, abs=1e-6 * sigma)
        assert found.model.sigma == pytest.approx(sigma, rel=1e-6)
        assert found.maximum_residual < 1e-6


# Beyond 30 units the curves are 1 - exp(-c eta) to three digits, and mu and sigma cannot be told apart well.
@pytest.mark.parametrize("model_class", UNITS)
@given(number=st.floats(0.3, 30), scale=st.floats(-10, 10), count=st.integers(4, 50))
def test_exact_curves_of_independent_units(
    model_class: type[TransitionModel], number: float, scale: float, count: int
) -> None:
    model = model_class(number, math.exp(scale))
    rates = model.rate(np.linspace(0.02, 0.98, count) * model.limit)
    found = fit(model_class, rates, model.probability(rates))
    assert found.maximum_residual < 1e-7
    assert found.model.mu == pytest.approx(number, rel=1e-3)
    assert found.model.sigma == pytest.approx(model.sigma, rel=1e-3)


def curves(generator: np.random.Generator, samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Rates and the shares of so many samples that change there, of any of the models, with saturated shares."""
    number = int(generator.integers(4, 30))
    rates = np.exp(generator.uniform(-6, 3, number))
    middle, kind = math.exp(generator.uniform(-4, 1)), generator.integers(3)
    if kind == 0:
        model: TransitionModel = ErrorFunction(math.log(middle), generator.uniform(0.3, 3))
    else:
        cls, width = UNITS[kind - 1], math.exp(generator.uniform(0, 6))
        model = cls(width, cls(width, 1.0).rate(0.5 * cls(width, 1.0).limit) / middle)
    return rates, generator.binomial(samples, model.probability(rates)) / samples


def least_on_grid(model_class: type[TransitionModel], rates: np.ndarray, measured: np.ndarray) -> float:
    """Least sum of squares over a dense grid of parameters: for each sigma, mu is that of a probability at a rate."""
    least = math.inf
    middle = math.exp(np.log(rates).mean())
    for sigma in np.geomspace(0.02, 20, 50) if model_class is ErrorFunction else np.geomspace(1e-4, 1e4, 60) / middle:
        for probability in np.linspace(0.005, 0.995, 50):
            mu = model_class.mu_for(middle, float(probability), float(sigma))
            if math.isfinite(mu) and (model_class is ErrorFunction or mu > 0):
                residuals = model_class(mu, float(sigma)).probability(rates) - measured
                least = min(least, float(residuals @ residuals))
    return least


# No claim of a distribution: the fit is to be no worse than the best of a grid, on each of these curves.
@each_class
@pytest.mark.parametrize("seed", range(3))
def test_no_worse_than_a_dense_grid(model_class: type[TransitionModel], seed: int) -> None:
    generator = np.random.default_rng(seed)
    rates, measured = curves(generator, samples=int(generator.choice([20, 128, 1000])))
    inner = (measured > 0) & (measured < 1)
    assert inner.sum() >= 2
    found = fit(model_class, rates, measured)
    assert found.residuals @ found.residuals <= least_on_grid(model_class, rates, measured) * (1 + 1e-6)


def binomial_deviations(model: ErrorFunction, rates: np.ndarray, samples: int) -> np.ndarray:
    """Standard deviations of the least-squares estimates of mu and sigma, to first order, by finite differences."""
    step = 1e-5
    jacobian = np.stack(
        [
            (ErrorFunction(model.mu + step, model.sigma).probability(rates) - model.probability(rates)) / step,
            (ErrorFunction(model.mu, model.sigma + step).probability(rates) - model.probability(rates)) / step,
        ],
        axis=1,
    )
    probability = model.probability(rates)
    inverse = np.linalg.pinv(jacobian)
    return np.sqrt(np.diag(inverse * (probability * (1 - probability) / samples) @ inverse.T))


# Null: estimates are normal around the truth with the deviations of first order. 100 curves of 4,000 samples at 50
# rates, 2 parameters, 6.5 deviations: error probability 200 * 8.1e-11 < 1e-7. The interval is 6 % of sigma at most.
def test_noisy_curves() -> None:
    generator = np.random.default_rng(0)
    for _ in range(100):
        model = ErrorFunction(generator.uniform(-6, 1), generator.uniform(0.4, 2.5))
        measured = generator.binomial(4000, model.probability(GRID)) / 4000
        found = fit(ErrorFunction, GRID, measured).model
        error = np.abs([found.mu - model.mu, found.sigma - model.sigma])
        allowed = 6.5 * binomial_deviations(model, GRID, 4000)
        assert (allowed < 0.11 * model.sigma).all()
        assert (error < allowed).all()


# Null: twice the standard error holds the truth in at least 90 % of fits (it should in 95), once in at most 75 % (68).
# 300 independent curves: fewer than 237 or more than 264 have probabilities below 1e-6, for each of two parameters.
def test_standard_errors() -> None:
    generator = np.random.default_rng(1)
    model = ErrorFunction(-2.0, 1.2)
    ratios = []
    for _ in range(300):
        found = fit(ErrorFunction, GRID, generator.binomial(500, model.probability(GRID)) / 500)
        ratios.append([(found.model.mu + 2.0) / found.mu_error, (found.model.sigma - 1.2) / found.sigma_error])
    away = np.abs(ratios)
    assert ((away < 2).sum(axis=0) >= 237).all()
    assert ((away < 1).sum(axis=0) <= 264).all()


@each_class
def test_standard_errors_as_defined(model_class: type[TransitionModel]) -> None:
    generator = np.random.default_rng(2)
    truth = model_class(-1.0, 1.7) if model_class is ErrorFunction else model_class(3.0, 1.7)
    rates = truth.rate(np.linspace(0.05, 0.95, 9) * truth.limit)
    found = fit(model_class, rates, generator.binomial(400, truth.probability(rates)) / 400)
    mu, sigma, step = found.model.mu, found.model.sigma, 1e-6
    jacobian = np.stack(
        [
            (model_class(mu + step, sigma).probability(rates) - model_class(mu - step, sigma).probability(rates)),
            (model_class(mu, sigma + step).probability(rates) - model_class(mu, sigma - step).probability(rates)),
        ],
        axis=1,
    ) / (2 * step)
    inverse = np.linalg.inv(jacobian.T @ jacobian)
    leverage = np.diag(jacobian @ inverse @ jacobian.T)
    middle = jacobian.T @ np.diag((found.residuals / (1 - leverage)) ** 2) @ jacobian
    expected = np.sqrt(np.diag(inverse @ middle @ inverse))
    assert (found.mu_error, found.sigma_error) == pytest.approx(tuple(expected), rel=1e-5)


def test_no_standard_error_without_a_point_to_spare() -> None:
    for method in ("least_squares", "probit"):
        found = fit(ErrorFunction, [0.1, 1.0], [0.2, 0.7], method=method)
        assert math.isnan(found.mu_error)
        assert math.isnan(found.sigma_error)
        assert found.maximum_residual < 1e-9


@each_class
@given(seed=st.integers(0, 10**6), scale=st.floats(-8, 8))
def test_order_and_unit_of_the_rates(model_class: type[TransitionModel], seed: int, scale: float) -> None:
    generator = np.random.default_rng(seed)
    model = model_class(2.0, 0.8) if model_class is not ErrorFunction else model_class(0.5, 1.1)
    rates = model.rate(np.linspace(0.05, 0.9, 12) * model.limit)
    measured = generator.binomial(5000, model.probability(rates)) / 5000
    first = fit(model_class, rates, measured)
    order = generator.permutation(12)
    second = fit(model_class, rates[order] * math.exp(scale), measured[order])
    assert second.residuals == pytest.approx(first.residuals[order], abs=1e-6)
    assert second.rmse == pytest.approx(math.sqrt(np.mean(first.residuals**2)), rel=1e-6)
    if model_class is ErrorFunction:
        assert second.model.mu == pytest.approx(first.model.mu + scale, abs=1e-5)
        assert second.model.sigma == pytest.approx(first.model.sigma, rel=1e-5)
    else:
        assert second.model.mu == pytest.approx(first.model.mu, rel=1e-3)
        assert second.model.sigma == pytest.approx(first.model.sigma * math.exp(-scale), rel=1e-3)


def test_saturated_probabilities_take_part() -> None:
    rates, inner = [1e-3, 1e-2, 0.1, 1.0, 10.0], [0.3, 0.5]
    steep = fit(ErrorFunction, rates, [0.0, *inner, 1.0, 1.0])
    flat = fit(ErrorFunction, rates[1:3], inner)
    assert steep.model.sigma < flat.model.sigma
    assert len(steep.residuals) == 5
    without = fit(ErrorFunction, rates, [0.0, *inner, 1.0, 1.0], method="probit")
    assert (without.model.mu, without.model.sigma) == pytest.approx((flat.model.mu, flat.model.sigma))
    assert without.residuals[0] == pytest.approx(-without.model.probability(1e-3))


@pytest.mark.parametrize("model_class", UNITS)
def test_a_curve_that_only_infinitely_many_units_have(model_class: type[TransitionModel]) -> None:
    found = fit(model_class, GRID, -np.expm1(-3 * GRID))
    assert found.maximum_residual < 1e-5
    assert found.model.mu > 1e4
    assert found.model.probability(1e-6) == pytest.approx(3e-6, rel=1e-4)


def test_start_is_taken_where_it_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ErrorFunction(-30.0, 0.5)
    rates = truth.rate(np.array([0.2, 0.5, 0.9]))
    measured = truth.probability(rates)
    lost = ErrorFunction(400.0, 1e-3)  # so far off that nothing depends on its parameters
    assert fit(ErrorFunction, rates, measured, start=lost).model.mu == pytest.approx(-30.0)
    monkeypatch.setattr(ErrorFunction, "_starts", classmethod(lambda cls, rates, probabilities: [lost]))
    assert fit(ErrorFunction, rates, measured).maximum_residual > 0.5
    found = fit(ErrorFunction, rates, measured, start=ErrorFunction(-30.5, 0.9)).model
    assert (found.mu, found.sigma) == pytest.approx((-30.0, 0.5), rel=1e-6)


@given(st.integers(0, 10**6), st.integers(2, 40))
def test_probit_is_a_linear_least_squares(seed: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    rates = np.exp(np.sort(generator.normal(size=count)))
    measured = np.sort(generator.random(count).round(3))
    inner = (measured > 0) & (measured < 1)
    assume(len(set(measured[inner])) > 1)
    design = np.stack([np.ones(inner.sum()), math.sqrt(2) * erfinv(2 * measured[inner] - 1)], axis=1)
    (mu, sigma), *_ = np.linalg.lstsq(design, np.log(rates[inner]), rcond=None)
    found = fit(ErrorFunction, rates, measured, method="probit").model
    assert (found.mu, found.sigma) == pytest.approx((mu, sigma), rel=1e-7, abs=1e-9)


def test_singular_values_are_not_cut_off_at_ten() -> None:
    # Step 4 (iv) of A.4 drops singular values "at a threshold of 10"; of its own measurements that would drop all.
    probabilities = np.array([0.25, 0.5, 0.75])
    design = np.stack([np.ones(3), math.sqrt(2) * erfinv(2 * probabilities - 1)], axis=1)
    assert np.linalg.svd(design, compute_uv=False).max() < 10
    found = fit(ErrorFunction, ErrorFunction(-1.0, 2.0).rate(probabilities), probabilities, method="probit").model
    assert (found.mu, found.sigma) == pytest.approx((-1.0, 2.0))


RISING = [0.1, 0.5, 0.9]


@each_class
@pytest.mark.parametrize(
    ("rates", "probabilities", "message"),
    [
        ([0.1, 1.0], RISING, r"rates of shape \(2,\) and probabilities of shape \(3,\), expected two lists"),
        ([], [], r"0 probabilities \(\), 0 strictly between 0 and 1, expected two at different rates"),
        ([0.0, 0.1, 1.0], RISING, "at the learning rate 0.0, expected rates above 0"),
        ([0.1, 1.0, math.inf], RISING, "at the learning rate inf"),
        ([0.1, 1.0, 10.0], [0.1, math.nan, 0.9], "probability nan at the learning rate 1.0, .* network overflows"),
        ([0.1, 1.0, 10.0], [0.1, 0.5, 1.1], "probability 1.1 at the learning rate 10.0, expected one within 0..1"),
        ([0.1, 1.0, 10.0], [0.0, 0.5, 1.0], r"\(0, 0.5, 1\), 1 strictly between 0 and 1, expected two at different"),
        ([0.1, 1.0, 1.0], [0.0, 0.5, 0.6], "2 strictly between 0 and 1, expected two at different rates; measure at"),
        ([0.1, 1.0, 10.0], [0.9, 0.5, 0.1], "which do not rise with the rate; measure at more rates"),
        ([0.1, 1.0, 10.0], [0.5, 0.5, 0.5], "which do not rise with the rate"),
    ],
)
def test_what_determines_no_fit(
    model_class: type[TransitionModel], rates: list[float], probabilities: list[float], message: str
) -> None:
    with pytest.raises(ObservationError, match=message):
        fit(model_class, rates, probabilities)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.9, 0.5, 0.1], "which do not rise with the rate"),
        ([0.5, 0.5, 0.5], "3 above 1e-10 and below 1 - 1e-10, expected two different ones"),
        ([0.0, 0.5, 1.0], "1 above 1e-10 and below 1 - 1e-10, expected two different ones; measure at more rates"),
    ],
)
def test_what_determines_no_probit_fit(probabilities: list[float], message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        fit(ErrorFunction, [0.1, 1.0, 10.0], probabilities, method="probit")


def test_methods_by_name() -> None:
    with pytest.raises(ObservationError, match="no method 'probbit' to fit a transition model; Did you mean 'probit'"):
        fit(ErrorFunction, GRID, GRID, method="probbit")
    with pytest.raises(ObservationError, match="method 'probit' fits ErrorFunction, got Arctangent"):
        fit(Arctangent, GRID, GRID, method="probit")


@given(
    st.sampled_from(CLASSES),
    st.lists(
        st.tuples(st.floats(-20, 20).map(math.exp), st.floats(0, 1) | st.sampled_from([0.0, 1.0, 1e-12, 0.5])),
        max_size=12,
    ),
)
def test_any_curve_is_fitted_or_refused(model_class: type[TransitionModel], curve: list[tuple[float, float]]) -> None:
    rates, measured = [rate for rate, _ in curve], [probability for _, probability in curve]
    try:
        found = fit(model_class, rates, measured)
    except ObservationError:
        return
    assert math.isfinite(found.model.mu)
    assert np.isfinite(found.residuals).all()
    assert found.residuals == pytest.approx(np.array(measured) - found.model.probability(rates), abs=1e-12)
    # Better than the best constant.
    assert found.rmse <= np.std(measured) * (1 + 1e-6) + 1e-9 or model_class is not ErrorFunction


def test_fast_enough_for_a_scheduler() -> None:
    measured = np.random.default_rng(0).binomial(128, ErrorFunction(-2.0, 1.2).probability(GRID)) / 128

    def fastest(call: Callable[[], object]) -> float:
        times = []
        for _ in range(30):
            start = time.thread_time()
            call()
            times.append(time.thread_time() - start)
        return min(times)

    for model_class in CLASSES:
        assert fastest(lambda model_class=model_class: fit(model_class, GRID, measured)) < 10e-3
    assert fastest(lambda: fit(ErrorFunction, GRID, measured, method="probit")) < 1e-3
