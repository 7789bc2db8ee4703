"""Laws at initialisation: exact tests against sums over all outcomes, and a seeded check that p-values are uniform."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reluscope.errors import ObservationError
from reluscope_plugins.arrangements.cosines import kernel_cosines
from reluscope_plugins.arrangements.null_distribution import (
    corrected,
    cosine_p_value,
    share_interval,
    sign_p_value,
)


def coins(number: int) -> list[Fraction]:
    return [Fraction(math.comb(number, k), 2**number) for k in range(number + 1)]


@given(st.lists(st.sampled_from([-1.0, -0.2, 0.0, 0.3, math.nan]), max_size=40))
def test_the_sign_test_sums_all_outcomes_that_are_no_likelier(cosines: list[float]) -> None:
    signs = [value for value in cosines if value == value and value != 0.0]
    law = coins(len(signs))
    seen = law[sum(value < 0 for value in signs)]
    assert sign_p_value(np.array(cosines)) == pytest.approx(float(sum(p for p in law if p <= seen)), rel=1e-9)


@given(st.integers(1, 200), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_the_interval_leaves_at_most_half_of_the_rest_on_either_side(filters: int, level: float) -> None:
    lower, upper = share_interval(filters, level)
    law = coins(filters)
    least = round(lower * filters)
    assert upper == pytest.approx(1 - lower)
    assert float(sum(law[:least])) <= (1 - level) / 2 + 1e-12
    assert float(sum(law[: least + 1])) >= (1 - level) / 2 - 1e-12


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6))
def test_holm_is_the_closure_of_bonferroni(thousandths: list[int]) -> None:
    # the adjusted p-value of a test: the greatest Bonferroni p-value of a set of tests that it belongs to
    values = [number / 1000 for number in thousandths]
    for place, found in enumerate(corrected(values)):
        others = [value for at, value in enumerate(values) if at != place]
        sets = [[values[place], *chosen] for n in range(len(values)) for chosen in itertools.combinations(others, n)]
        assert found == pytest.approx(max(min(1.0, len(one) * min(one)) for one in sets))
    assert corrected(values, "none").tolist() == values


def test_cosines_of_normal_weights_pass_their_exact_law_and_wide_ones_the_normal_law() -> None:
    # Null: cosines of 4,000 filters of 9 normal weights have the law of the sphere. The test's level is 1e-6.
    weight = torch.randn(4000, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    cosines = kernel_cosines(weight).numpy()
    assert cosine_p_value(cosines, 9, "sphere") > 1e-6
    # Of 9 weights the normal law is wrong by up to 0.013, which 40,000 filters tell.
    many = torch.randn(40000, 9, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert cosine_p_value(kernel_cosines(many).numpy(), 9, "normal") < 1e-3
    wide = torch.randn(4000, 900, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert cosine_p_value(kernel_cosines(wide).numpy(), 900, "normal") > 1e-6
    assert cosine_p_value(kernel_cosines(wide + 0.01).numpy(), 900, "normal") < 1e-6


@pytest.mark.parametrize("law", ["normal", "sphere"])
def test_a_cosine_that_rounding_took_out_of_the_circle_is_cut(law: str) -> None:
    far = np.array([-1.0 - 2.0**-52, 0.1, 1.0 + 2.0**-52])
    expected = cosine_p_value(far.clip(-1.0, 1.0), 9, law)  # type: ignore[arg-type]
    assert cosine_p_value(far, 9, law) == expected  # type: ignore[arg-type]
    assert 0.0 <= expected <= 1.0


@given(st.floats(-0.999, 0.999), st.integers(2, 12))
def test_the_law_of_the_sphere_is_the_integral_of_its_density(cosine: float, inputs: int) -> None:
    from scipy.integrate import quad
    from scipy.special import gamma

    # In the angle: the density of c is proportional to (1 - c^2)^((n - 3) / 2), so that of its angle to sin^(n - 2).
    factor = gamma(inputs / 2) / (math.sqrt(math.pi) * gamma((inputs - 1) / 2))
    below = factor * quad(lambda angle: math.sin(angle) ** (inputs - 2), math.acos(cosine), math.pi)[0]
    # one cosine: Kolmogorov and Smirnov's distance D is the greater of F and 1 - F, and its p-value 2 (1 - D)
    assert cosine_p_value(np.array([cosine]), inputs, "sphere") == pytest.approx(
        min(1.0, 2 * (1 - max(below, 1 - below))), abs=1e-7
    )


def test_what_has_no_test_and_what_is_wrong() -> None:
    assert sign_p_value(np.array([])) == 1.0
    assert math.isnan(cosine_p_value(np.array([math.nan]), 9))
    assert math.isnan(cosine_p_value(np.array([1.0]), 1))
    assert all(map(math.isnan, share_interval(0)))
    with pytest.raises(ObservationError, match=r"level: got 1\.0, expected a number between 0 and 1"):
        share_interval(4, 1.0)
    with pytest.raises(ObservationError, match="correction: got 'bonferroni'"):
        corrected([0.5], "bonferroni")  # type: ignore[arg-type]
    with pytest.raises(ObservationError, match="law: got 'uniform'"):
        cosine_p_value(np.array([0.5]), 9, "uniform")  # type: ignore[arg-type]
