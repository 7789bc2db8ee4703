"""Theorem 1 of Hartmann 2025 in wide layers: how far the printed law is off, in the limit and in what is drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reluscope_catalog.claims import hartmann_wide_layers as wide


@pytest.mark.parametrize("positive", [0.9375, 0.875])
def test_the_printed_law_stays_off_however_wide_the_layers(positive: float) -> None:
    """All hypotheses of the limit are kept: standard deviations and variances of the weights are at most 1 / n."""
    off = [wide.arctan_law(n, n, positive) - wide.law(n, n, 1.0) for n in (64, 10**3, 10**6)]
    limits = [1 - math.exp(-math.sqrt(1 + 4 / square) / math.pi) for square in (4 * positive * (1 - positive), 1)]
    assert min(off) > 0.1
    assert off[-1] == pytest.approx(limits[0] - limits[1], abs=1e-5)


def test_wide_layers_change_as_the_second_moments_say() -> None:
    """Null: the share is that of the second moments; n = 10,000; error probability 1e-6 by Hoeffding's inequality."""
    found = wide.changes_of_wide_layers(np.random.default_rng(0), 10_000, inputs=64, units=32, positive=0.9375)
    assert found.shape == (10_000,)
    assert abs(found.mean() - wide.law(64, 32, 1.0)) < math.sqrt(math.log(2e6) / (2 * 10_000))
