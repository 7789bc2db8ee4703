"""Strategies and predicates of the claims on the models of how often patterns change."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from scipy.special import erfinv, ndtr, ndtri

from reluscope_plugins.temperature.error_function import ErrorFunction

Cases = SearchStrategy[dict[str, Any]]

EPS = float(np.finfo(np.float64).eps)
_PIECES = 2**14
_NOT_ZERO = st.fractions(-8, 8, max_denominator=8).filter(bool).map(str)
_NUMBER = st.fractions(-8, 8, max_denominator=8).map(str)
_QUANTILE = st.fractions(-3, 3, max_denominator=8).map(str)


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


def rate_transitions() -> Cases:
    """Return parameters of the model, and a probability as its normal quantile."""
    return st.fixed_dictionaries({"mu": _NUMBER, "sigma": _NOT_ZERO, "quantile": _QUANTILE})


def mu_transitions() -> Cases:
    """Return a deviation, a logarithm of a rate, and a probability as its normal quantile."""
    return st.fixed_dictionaries({"sigma": _NOT_ZERO, "quantile": _QUANTILE, "log_rate": _NUMBER})


def product_variance(values: list[int], deviation: str) -> bool:
    """Return whether Var(w x) = Var(w) Var(x)."""
    mean = Fraction(sum(values), len(values))
    own = sum(((x - mean) ** 2 for x in values), Fraction(0)) / len(values)
    return variance(values, Fraction(deviation)) == Fraction(deviation) ** 2 * own


def product_variance_of_moment(values: list[int], deviation: str) -> bool:
    """Return whether Var(w x) = Var(w) E[x^2]."""
    return variance(values, Fraction(deviation)) == Fraction(deviation) ** 2 * _mean_square(values)


def owen_integral(a: str, b: str) -> bool:
    """Return whether the printed value lies between a lower and an upper sum of the integral."""
    steepness, slope = abs(float(Fraction(a))), float(Fraction(b))
    lower, upper, rounding = _integral(steepness, slope)
    return lower - rounding <= _owen(steepness, slope) <= upper + rounding


def erf_inverse_main(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether both 3.43 and 3.44 undo 3.17."""
    return erf_inverse_main_rate(mu, sigma, quantile) and erf_inverse_main_mu(sigma, quantile, log_rate)


def erf_inverse_main_rate(mu: str, sigma: str, quantile: str) -> bool:
    """Return whether 3.43 undoes 3.17."""
    m, s, u = map(Fraction, (mu, sigma, quantile))
    return _undone(s * u - m, m, s, u) and _as_printed(s * u - m, -m, s, u)


def erf_inverse_main_mu(sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether 3.44 undoes 3.17."""
    s, u, rate = map(Fraction, (sigma, quantile, log_rate))
    return _undone(rate, s * u - rate, s, u) and _as_printed(s * u - rate, -rate, s, u)


def erf_inverse_sum(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether 3.43 and 3.44 undo 3.42, which is 3.17 with the other sign of mu."""
    m, s, u, rate = map(Fraction, (mu, sigma, quantile, log_rate))
    return (
        _undone(s * u - m, -m, s, u)
        and _as_printed(s * u - m, -m, s, u)
        and _undone(rate, rate - s * u, s, u)
        and _as_printed(s * u - rate, -rate, s, u)
    )


def erf_inverse_appendix(mu: str, sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether both A.4 (b) and (c) undo A.4 (a)."""
    return erf_inverse_appendix_rate(mu, sigma, quantile) and erf_inverse_appendix_mu(sigma, quantile, log_rate)


def erf_inverse_appendix_rate(mu: str, sigma: str, quantile: str) -> bool:
    """Return whether A.4 (b) undoes A.4 (a), which is 3.17, also where the library computes it."""
    m, s, u = map(Fraction, (mu, sigma, quantile))
    log_rate = s * u + m
    if not (_undone(log_rate, m, s, u) and _as_printed(log_rate, m, s, u)):
        return False
    if s < 0:
        return True
    found = math.log(ErrorFunction(mu=float(m), sigma=float(s)).rate(float(ndtr(float(u)))))
    return abs(found - float(log_rate)) <= _rounding(m, s, u)


def erf_inverse_appendix_mu(sigma: str, quantile: str, log_rate: str) -> bool:
    """Return whether A.4 (c) undoes A.4 (a), which is 3.17, also where the library computes it."""
    s, u, rate = map(Fraction, (sigma, quantile, log_rate))
    mu = rate - s * u
    if not (_undone(rate, mu, s, u) and _as_printed(mu, rate, -s, u)):
        return False
    if s < 0:
        return True
    found = ErrorFunction.mu_for(math.exp(rate), float(ndtr(float(u))), float(s))
    return abs(found - float(mu)) <= _rounding(rate, s, u)


# Whether 3.17 gives P for this log eta and mu: exactly, its argument being the quantile of P, and with erf. There the
# argument is a difference over sigma, each rounded; the density, at most 0.4, makes an error of P of it.
def _undone(log_rate: Fraction, mu: Fraction, sigma: Fraction, u: Fraction) -> bool:
    rate, m, s = map(float, (log_rate, mu, sigma))
    rounding = 8 * EPS * (1 + (abs(rate) + abs(m)) / abs(s))
    return (log_rate - mu) / sigma == u and abs(_model(rate, m, s) - float(ndtr(float(u)))) <= rounding


# whether the printed sum of a number and sigma sqrt(2) erfinv(2 P - 1) is that of it and sigma u
def _as_printed(claimed: Fraction, number: Fraction, sigma: Fraction, u: Fraction) -> bool:
    printed = _scaled_quantile(float(sigma), float(ndtr(float(u)))) + float(number)
    return abs(printed - float(claimed)) <= _rounding(number, sigma, u)


def _model(log_rate: float, mu: float, sigma: float) -> float:
    return (1 + math.erf((log_rate - mu) / (sigma * math.sqrt(2)))) / 2


def _scaled_quantile(sigma: float, probability: float) -> float:
    return sigma * math.sqrt(2) * float(erfinv(2 * probability - 1))


# Of log eta and mu, sums of a number and sigma u. Probability, quantile, exponential and logarithm are off by a few
# units in the last place each; an error of the probability, or of 2 P - 1, is one of the quantile over the density
# there, which is above 0.004 for quantiles within 3.
def _rounding(number: Fraction, sigma: Fraction, u: Fraction) -> float:
    quantile = float(u)
    density = math.exp(-(quantile**2) / 2) / math.sqrt(2 * math.pi)
    return 16 * EPS * (1 + abs(float(number)) + abs(float(sigma)) * (abs(quantile) + 1 / density))


def _mean_square(values: list[int]) -> Fraction:
    return Fraction(sum(x * x for x in values), len(values))


# (pi / 2 + arctan(b / |a|)) / (2 pi |a|)
def _owen(a: float, b: float) -> float:
    return (math.pi / 2 + math.atan(b / a)) / (2 * math.pi * a)


# Between points of equal mass of the normal density, Phi(b x) is monotone: its values at both ends bound it. Each mass
# and value of a piece is off by a few units in the last place of at most 1.
def _integral(a: float, b: float) -> tuple[float, float, float]:
    ends = ndtri(0.5 + 0.5 * np.arange(_PIECES + 1) / _PIECES)
    mass = np.diff(ndtr(ends)) / a
    values = np.append(ndtr(b * ends[:-1] / a), 0.5 + 0.5 * np.sign(b))
    lower, upper = np.minimum(values[:-1], values[1:]), np.maximum(values[:-1], values[1:])
    return float(mass @ lower), float(mass @ upper), 16 * _PIECES * EPS / a


def variance(values: list[int], deviation: Fraction) -> Fraction:
    """Return Var(w x) for a weight of this deviation and equally likely inputs."""
    # w is one deviation above or below 0, equally likely: mean 0 and the variance asked for
    found = [w * x for w in (deviation, -deviation) for x in values]
    mean = sum(found, Fraction(0)) / len(found)
    return sum(((y - mean) ** 2 for y in found), Fraction(0)) / len(found)
