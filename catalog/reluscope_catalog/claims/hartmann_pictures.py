"""Drawings of cases against claims of Hartmann 2025."""

from __future__ import annotations

from fractions import Fraction

from scipy.special import ndtr

from reluscope_catalog.claims.drawings import bars, graph, polygons
from reluscope_catalog.claims.exact_matrices import matrix, product, pseudo_inverse
from reluscope_catalog.claims.exact_steps import Rows, read, stepped, values
from reluscope_catalog.claims.hartmann_cells import added, pre_activations
from reluscope_catalog.claims.hartmann_models import variance
from reluscope_catalog.claims.hartmann_number_systems import relative_variance
from reluscope_catalog.claims.hartmann_wide_layers import law as wide_law

_STEPS = 64


def segment(x: str) -> str:
    """Return a drawing of the segment of the proof, and the line that is printed for it."""
    place = Fraction(x)
    return polygons(
        lines=[[(1, -3), (-3, 1)], [(-3, -1), (1, 3)]],
        marks=[(1, -3, "(1, -3)"), (-3, 1, "(-3, 1)"), (place, place + 2, "printed")],
        title="The segment, and y = x + 2",
    )


def shares(units: int, counts: list[int]) -> str:
    """Return a drawing of shares of the possible patterns, as printed, and shares of the samples."""
    printed = [Fraction(count, 2**units) for count in counts]
    return bars(
        {"c / 2^d": printed, "c / n": [Fraction(count, sum(counts)) for count in counts]},
        labels=[f"{pattern:0{units}b}" for pattern in range(len(counts))],
        title="Printed shares, which sum to " + str(sum(printed)),
    )


def steps_back(weight: Rows, bias: list[int], readout: list[int], data: Rows, targets: list[int], rate: str) -> str:
    """Return a drawing of the signs of pre-activations before a step, after it, and after the step back."""
    layer = read(weight, bias, readout)
    there = stepped(layer, data, targets, Fraction(rate))
    back = stepped(there, data, targets, -Fraction(rate))
    series = {
        name: [1 if value > 0 else -1 for x in data for value in values(moment, x)]
        for name, moment in {"before": layer, "after the step": there, "after the step back": back}.items()
    }
    labels = [f"x{sample + 1} unit {unit + 1}" for sample in range(len(data)) for unit in range(len(bias))]
    return bars(series, labels=labels if len(labels) < 5 else (), title="Signs of pre-activations: the patterns")


def law(inputs: int, units: int, positive: float) -> str:
    """Return a drawing of how often a pattern changes over the rate, as printed and by second moments."""
    rates = [2 * place / (units * _STEPS) for place in range(_STEPS + 1)]
    squares = {"printed": 4 * positive * (1 - positive), "by second moments": 1.0}
    curves = {name: [(eta, wide_law(inputs, units, square, eta)) for eta in rates] for name, square in squares.items()}
    return graph(curves, marks=[(1 / units, wide_law(inputs, units, 1.0))], title="P(D) over the rate")


def printed_rate(mu: str, sigma: str, quantile: str) -> str:
    """Return a drawing of the model, and the rate of equation 3.43 with the probability that was asked for."""
    m, s, u = (float(Fraction(value)) for value in (mu, sigma, quantile))
    return _model(m, s, s * u - m, u, "printed eta")


def printed_mu(sigma: str, quantile: str, log_rate: str) -> str:
    """Return a drawing of the model with mu of equation 3.44, and the rate and probability that it comes from."""
    s, u, rate = (float(Fraction(value)) for value in (sigma, quantile, log_rate))
    return _model(s * u - rate, s, rate, u, "measured")


def printed_inverses(mu: str, sigma: str, quantile: str, log_rate: str) -> str:
    """Return a drawing of the one of both that is off."""
    return printed_rate(mu, sigma, quantile) if Fraction(mu) else printed_mu(sigma, quantile, log_rate)


def projections(weight: Rows, target: list[int], x: list[int], readout: Rows, constant: list[int]) -> str:
    """Return a drawing of what the layer gives at x and what its projection gives with c' = c."""
    w, v = matrix(weight), matrix(readout)
    bias = added(target, [-value for value in product(matrix([x]), w)[0]])
    y = [max(value, Fraction(0)) for value in pre_activations(w, bias, x)]
    projected = product([added(y, [-value for value in bias])], pseudo_inverse(w))
    outputs = {
        "y V + c": added(product([y], v)[0], constant),
        "x^ V' + c'": added(product(projected, product(w, v))[0], constant),
    }
    return bars(outputs, labels=[f"output {place + 1}" for place in range(len(constant))])


def relative_variances(exponent: int, probability: str) -> str:
    """Return a drawing of the relative variance within an octave."""
    places = [Fraction(place, _STEPS) for place in range(_STEPS + 1)]
    p, half = Fraction(probability), Fraction(1, 2)
    return graph(
        {"Var(w_1) / w^2": [(place, relative_variance(exponent, place)) for place in places]},
        marks=[(half, relative_variance(exponent, half), "1/2"), (p, relative_variance(exponent, p), probability)],
        title="Over p",
    )


def variances(values: list[int], deviation: str) -> str:
    """Return a drawing of the variance of a product and the product of the variances."""
    mean = Fraction(sum(values), len(values))
    own = sum(((x - mean) ** 2 for x in values), Fraction(0)) / len(values)
    weight = Fraction(deviation)
    return bars({"Var(w x)": [variance(values, weight)], "Var(w) Var(x)": [weight**2 * own]}, labels=[f"x in {values}"])


def _model(mu: float, sigma: float, log_rate: float, quantile: float, name: str) -> str:
    low, high = min(mu - 3 * abs(sigma), log_rate), max(mu + 3 * abs(sigma), log_rate)
    places = [low + (high - low) * place / _STEPS for place in range(_STEPS + 1)]
    curve = [(place, float(ndtr((place - mu) / sigma))) for place in places]
    return graph({"model": curve}, marks=[(log_rate, float(ndtr(quantile)), name)], title="P over log eta")
