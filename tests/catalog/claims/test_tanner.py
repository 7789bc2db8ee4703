"""The verifier refutes each claim of Tanner's lecture that holds once an exponent, a constant or a term is off."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import chi

from reluscope_catalog.claims import tanner as claims
from reluscope_catalog.claims import tanner_gaussian as gaussian
from reluscope_catalog.claims import tanner_paths as paths
from reluscope_catalog.claims.exact_regions import UNIT_SQUARE, arrangement_regions, cells, pieces
from reluscope_catalog.claims.exact_roots import sign


def binomials(units: int, terms: int) -> int:
    return sum(math.comb(units, j) for j in range(terms))


def term_less(units: int, inputs: int) -> int:
    return binomials(units, inputs)


def all_patterns(units: int, inputs: int) -> int:
    return int(2**units)


def central_of_one_unit_more(units: int, inputs: int) -> int:
    return 2 * binomials(units, inputs)


def of_one_factor_more(inputs: int, units: int) -> Fraction:
    """Return (n1 / n0)^(n0 + 1) in place of (n1 / n0)^n0, squared."""
    return Fraction(units, inputs) ** (2 * inputs + 2)


def ceilings(inputs: int, widths: list[int]) -> int:
    folds: int = math.prod(math.ceil(width / inputs) for width in widths[:-1]) ** inputs
    return folds * binomials(widths[-1], inputs + 1)


def last_layer_folds_too(inputs: int, widths: list[int]) -> int:
    return folds_of_each_input(inputs, widths[:-1]) * widths[-1] * binomials(widths[-1], inputs + 1)


def folds_of_each_input(inputs: int, widths: list[int]) -> int:
    return int(math.prod(widths) ** inputs)


def one_more_power(inputs: int, widths: list[int]) -> int:
    return int(math.prod(width // inputs for width in widths) ** (inputs + 1))


def of_the_best_direction(weights: list[int], width: int) -> float:
    return max(map(abs, weights)) * math.sqrt(width)


def one_percent_greater(weights: list[int], width: int) -> float:
    return 1.01 * greatest_m(weights, width)


def without_the_half(*case: Any) -> tuple[float, float, float]:
    """Return terms of M^L in place of (M / 2)^L."""
    expected, least, length = terms(*case)
    return expected, 2 * least, length


def mean_modulus(direction: list[int], share: float) -> float:
    """Return E|u^T w| over sqrt(2 / pi) from its characteristic function."""

    def integrand(t: float) -> float:
        return float((1 - math.prod(1 - share + share * math.exp(-((u * t) ** 2) / 2) for u in direction)) / t**2)

    found, _ = quad(integrand, 0, np.inf, limit=400)
    return float(found) * math.sqrt(2 / math.pi)


def a_billionth_more() -> float:
    return math.sqrt(2 / math.pi) * (1 + 1e-9)


def deviation_itself() -> float:
    return 1.0


def root_of_share(share: Fraction) -> Fraction:
    return Fraction(math.sqrt(share))


def share_and_a_hundredth(share: Fraction) -> Fraction:
    return share * Fraction(101, 100)


def of_one_weight_less(direction: list[int]) -> Fraction:
    return Fraction(paths._square(direction), max(len(direction) - 1, 1))


def without_the_root(direction: list[int]) -> Fraction:
    return Fraction(paths._square(direction), len(direction) ** 2)


def root_of_the_mean_number(width: int) -> float:
    """Return sqrt(E K) for E sqrt(K), of norms of K numbers."""
    return gaussian.mean_norm(width) / math.sqrt(2)


def root_of_half_the_width(width: int) -> float:
    return math.sqrt(width / 2)


def of_one_unit_more(width: int) -> float:
    return active_norm(width + 1)


def of_one_more_kept(width: int) -> tuple[Fraction, Fraction]:
    """Return the terms of c_(n + 1)."""
    return even_and_odd(width + 1)


def one_tenth_less(width: int) -> tuple[Fraction, Fraction]:
    even, odd = even_and_odd(width)
    return even * Fraction(9, 10), odd * Fraction(9, 10)


greatest_m = paths._greatest_m
terms = paths.growth_terms
active_norm = gaussian.mean_active_norm
even_and_odd = gaussian._even_and_odd

CODE = "reluscope_catalog.claims.tanner:"
PATHS = "reluscope_catalog.claims.tanner_paths:"
GAUSSIAN = "reluscope_catalog.claims.tanner_gaussian:"
MUTANTS: dict[str, list[Any]] = {
    "one_layer_partitions_general": [
        {f"{CODE}hyperplane_regions": term_less},
        {f"{CODE}hyperplane_regions": all_patterns},
    ],
    "one_layer_partitions_central": [
        {f"{CODE}central_regions": term_less},
        {f"{CODE}central_regions": central_of_one_unit_more},
    ],
    "partition_power_bound_per_input": [
        {f"{CODE}hyperplane_regions": term_less},
        {f"{CODE}_squared_power": of_one_factor_more},
    ],
    "depth_lower_bound_attained": [
        {f"{CODE}pascanu_lower_bound": ceilings},
        {f"{CODE}pascanu_lower_bound": last_layer_folds_too},
    ],
    "depth_lower_bound_per_input": [{f"{CODE}_folds": folds_of_each_input}, {f"{CODE}_folds": one_more_power}],
    "trajectory_growth_symmetric": [
        {f"{PATHS}growth_terms": without_the_half},
        {f"{PATHS}_greatest_m": of_the_best_direction},
        {f"{PATHS}_greatest_m": one_percent_greater},
    ],
    "trajectory_gaussian_m": [
        {f"{PATHS}greatest_gaussian_m": a_billionth_more},
        {f"{PATHS}greatest_gaussian_m": deviation_itself},
    ],
    "trajectory_gaussian_m_sparse": [
        {f"{PATHS}_sparse_m": root_of_share},
        {f"{PATHS}_sparse_m": share_and_a_hundredth},
    ],
    "trajectory_gaussian_m_per_width": [
        {f"{PATHS}_mean_square": of_one_weight_less},
        {f"{PATHS}_mean_square": without_the_root},
    ],
    "trajectory_gaussian_growth": [
        {f"{GAUSSIAN}mean_active_norm": root_of_the_mean_number},
        {f"{GAUSSIAN}mean_active_norm": root_of_half_the_width},
        {f"{GAUSSIAN}mean_active_norm": of_one_unit_more},
    ],
    "trajectory_gaussian_growth_bound": [
        {f"{GAUSSIAN}_even_and_odd": of_one_more_kept},
        {f"{GAUSSIAN}_even_and_odd": one_tenth_less},
    ],
}


def rank(rows: Any) -> int:
    return int(np.linalg.matrix_rank(np.array(rows, dtype=np.float64)))


@given(claims.general_layers())
def test_layers_in_general_position(case: dict[str, Any]) -> None:
    inputs = len(case["weights"][0])
    rows = [[*row, bias] for row, bias in zip(case["weights"], case["biases"], strict=True)]
    for size in range(1, len(rows) + 1):
        for chosen in itertools.combinations(rows, size):
            assert rank([row[:-1] for row in chosen]) == min(size, inputs)
            assert rank(chosen) == min(size, inputs + 1)


@given(claims.deep_networks())
def test_pieces_have_the_patterns_of_points_inside(case: dict[str, Any]) -> None:
    """Against patterns at midpoints between all zeros of all units, found by evaluation alone."""
    layers = case["layers"]
    found = pieces(layers)
    assert found[0][0] is None
    assert found[-1][1] is None
    for (_, end, left), (begin, _, right) in itertools.pairwise(found):
        assert end is not None
        assert end == begin
        assert [a * end + b for a, b in left] == [a * end + b for a, b in right]
    ends = [Fraction(-(10**6)), *(end for _, end, _ in found[:-1] if end is not None), Fraction(10**6)]
    patterns: list[set[tuple[int, ...]]] = []
    for (low, high), (_, _, units) in zip(itertools.pairwise(ends), found, strict=True):
        patterns.append(set())
        for x in (low + (high - low) / 7, (low + high) / 2):
            values, signs = [x], []
            for weights, biases in layers:
                rows = zip(weights, biases, strict=True)
                before = [sum(w * v for w, v in zip(row, values, strict=True)) + b for row, b in rows]
                values = [max(value, Fraction(0)) for value in before]
                signs += [(value > 0) - (value < 0) for value in before]
            assert values == [a * x + b for a, b in units]
            patterns[-1].add(tuple(signs))
    assert all(len(pattern) == 1 for pattern in patterns)
    assert all(one != other for one, other in itertools.pairwise(patterns))


def test_cells_of_one_layer_are_those_of_the_arrangement() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        weights = generator.integers(-3, 4, (4, 2)).tolist()
        biases = generator.integers(-3, 4, 4).tolist()
        window = [(1000 * (2 * x - 1), 1000 * (2 * y - 1)) for x, y in UNIT_SQUARE]
        assert len(cells([(weights, biases)], window)) == arrangement_regions(weights, biases)


def test_growth_is_claimed_of_lengths_that_are_not_zero() -> None:
    """Otherwise the claim would hold for want of a case: of most cases M is above 0, too."""
    found = []

    @settings(max_examples=200, database=None, derandomize=True, deadline=None)
    @given(paths.symmetric_layers())
    def count(case: dict[str, Any]) -> None:
        _, least, length = paths.growth_terms(**case)
        assert length > 0
        found.append(least > 0)

    count()
    assert sum(found) >= 0.8 * len(found)


def test_the_growth_of_one_unit() -> None:
    # w and b are 1 or -1: of the four images of [0, 2] two are |[1, 3]| and |[0, 1]| long, the others [0, 1] and none
    assert paths.growth_terms([1, -1], [1, -1], 1, [[0], [2]]) == (1.0, 1.0, 2.0)


@pytest.mark.parametrize("direction", [[1], [1, 1], [3, -2, 0], [1, 2, 3, -1]])
@pytest.mark.parametrize("share", ["1", "1/2", "1/12"])
def test_the_mean_projection_is_that_of_the_characteristic_function(direction: list[int], share: str) -> None:
    terms = paths.mean_projection(direction, Fraction(share))
    found = math.fsum(float(factor) * math.sqrt(radicand) for factor, radicand in terms)
    assert found == pytest.approx(mean_modulus(direction, float(Fraction(share))), rel=1e-6)  # quad's own error


@given(st.lists(st.tuples(st.fractions(-3, 3, max_denominator=6), st.fractions(0, 50, max_denominator=6)), max_size=5))
def test_the_sign_of_a_sum_of_roots(terms: list[Any]) -> None:
    with localcontext() as context:
        context.prec = 200
        total = sum((decimal(factor) * decimal(radicand).sqrt() for factor, radicand in terms), Decimal(0))
    assert sign(terms) == (total > Decimal("1e-150")) - (total < Decimal("-1e-150"))


def decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def test_the_sign_of_roots_that_cancel() -> None:
    assert sign([(1, 2), (1, 8), (-1, 18)]) == 0
    assert sign([(1, Fraction(1, 2)), (Fraction(-1, 2), 2)]) == 0
    assert sign([(1, 2), (1, 8), (-1, 18), (Fraction(1, 10**40), 5)]) == 1
    assert sign([]) == sign([(3, 0)]) == 0


@pytest.mark.parametrize("width", [1, 2, 3])
def test_the_mean_norm_of_active_units(width: int) -> None:
    """Against the integral of P(norm > t) over all t."""
    kept = [math.comb(width, k) / 2**width for k in range(width + 1)]
    found, _ = quad(lambda t: sum(p * chi.sf(t, k) for k, p in enumerate(kept) if k), 0, np.inf)
    assert gaussian.mean_active_norm(width) == pytest.approx(found, rel=1e-7)


@pytest.mark.parametrize("direction", [[1], [3, -1], [1, 2, 3, 0, -2, 1]])
def test_a_mean_modulus_by_its_series_is_that_by_quadrature(direction: list[int]) -> None:
    assert paths.mean_modulus(direction) == pytest.approx(
        mean_modulus(direction, 1.0) * math.sqrt(2 / math.pi), rel=1e-6
    )
