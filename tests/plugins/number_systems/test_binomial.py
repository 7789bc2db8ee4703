"""Binomial draws against the exact distribution; every test of chance fails a sound kernel in at most 1 run of 10^6."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from reluscope_plugins.number_systems.binomial import count_dtype, counts_by_comparison
from reluscope_plugins.number_systems.psb import PSB

ERROR = 1e-6
"""Probability that all tests of chance of this file together fail a sound kernel; each has its share."""
CASES = 100
"""At least as many single tests as there are."""
DRAWS = 1 << 17

PROBABILITIES = {
    "least": 2.0**-23,
    "small": 1e-3,
    "third": float(np.float32(4 / 3) - 1),
    "half": 0.5,
    "mantissa": float(np.float32(1.7320508) - 1),
    "large": 1 - 2.0**-10,
    "greatest": 1 - 2.0**-23,
}
SAMPLES = [1, 2, 16, 17, 64, 65, 511, 512, 1000, 5000]


def counts(p: float, samples: int, size: int = DRAWS, seed: int = 0, dtype: torch.dtype = torch.float32) -> np.ndarray:
    weight = torch.full((size,), 1 + p, dtype=dtype)
    system = PSB()
    return system.counts(system.encode(weight), samples, torch.Generator().manual_seed(seed)).numpy()


def p_value(observed: np.ndarray, samples: int, p: float) -> float:
    """Pearson's chi-square of counts against Binomial(samples, p).

    Null: independent draws of that distribution. Outcomes are joined until each class expects 50 draws or more, where
    the statistic follows its limit closely enough for a level of 1e-8.
    """
    expected = stats.binom.pmf(np.arange(samples + 1), samples, p) * len(observed)
    found = np.bincount(observed, minlength=samples + 1)
    assert len(found) == samples + 1
    classes, together = [], [0.0, 0.0]
    for pair in zip(expected, found, strict=True):
        together = [together[0] + pair[0], together[1] + pair[1]]
        if together[0] >= 50:
            classes.append(together)
            together = [0.0, 0.0]
    if not classes:
        classes = [[0.0, 0.0]]
    classes[-1] = [classes[-1][0] + together[0], classes[-1][1] + together[1]]
    if len(classes) == 1:
        # a single class: the rare outcome is Poisson
        rare = found[1:].sum() if p < 0.5 else found[:-1].sum()
        mean = (1 - stats.binom.pmf(0 if p < 0.5 else samples, samples, p)) * len(observed)
        return float(min(1.0, 2 * min(stats.poisson.sf(rare - 1, mean), stats.poisson.cdf(rare, mean))))
    e, f = np.array(classes).T
    return float(stats.chi2.sf(((f - e) ** 2 / e).sum(), len(e) - 1))


@pytest.mark.parametrize("samples", SAMPLES)
@pytest.mark.parametrize("name", PROBABILITIES)
def test_distribution(name: str, samples: int) -> None:
    """131,072 draws of Binomial(n, p)."""
    p = PROBABILITIES[name]
    size = DRAWS if samples <= 64 else DRAWS // 4
    assert p_value(counts(p, samples, size), samples, p) > ERROR / CASES


def test_the_most_samples() -> None:
    """Null: Binomial(2^22, p) for many p, some of which expect few; chi-square of 20 classes of its shares."""
    samples, rng = 2**22, np.random.default_rng(0)
    p = np.concatenate([rng.random(DRAWS), 2.0 ** -rng.uniform(18, 23, DRAWS)])
    weight = torch.from_numpy(1 + p)
    p = (weight - 1).numpy()
    found = PSB().counts(PSB().encode(weight), samples, torch.Generator().manual_seed(2)).numpy()
    # the place of a draw in its distribution, made uniform by a random share of its own probability
    below = stats.binom.cdf(found - 1, samples, p)
    shares = below + rng.random(len(p)) * stats.binom.pmf(found, samples, p)
    for half in (shares[:DRAWS], shares[DRAWS:]):
        observed = np.histogram(half, np.linspace(0, 1, 21))[0]
        assert stats.chisquare(observed).pvalue > ERROR / CASES


def test_time_does_not_grow_with_the_samples() -> None:
    """2^22 samples bit by bit would take the time of 64 thousand words a weight: a minute for these."""
    assert counts(0.3, 2**22, 10_000).max() < 2**21


def test_distribution_of_double_precision() -> None:
    """A probability that only float64 has, and whose first 24 digits are those of another: 2^-30."""
    observed = counts(2.0**-30, 2**20, 1 << 14, dtype=torch.float64)
    # Poisson(2^-10) each, but for 2^-30; so Poisson(16) in all
    total = int(observed.sum())
    assert min(stats.poisson.cdf(total, 16), stats.poisson.sf(total - 1, 16)) > ERROR / CASES


def test_the_other_devices_draws() -> None:
    """What runs on other devices than the processor, on the processor."""
    for p in (PROBABILITIES["third"], PROBABILITIES["large"]):
        observed = counts_by_comparison(torch.full((DRAWS,), p), 16, seed=1).numpy()
        assert p_value(observed, 16, p) > ERROR / CASES


def test_comparison_is_exact() -> None:
    """The least probability of a float32: 2^27 samples of 2^-23 are Poisson(16) but for 2^-23."""
    hits = int(counts_by_comparison(torch.full((1 << 21,), 2.0**-23), 64, seed=3).sum())
    assert min(stats.poisson.cdf(hits, 16), stats.poisson.sf(hits - 1, 16)) > ERROR / CASES


@pytest.mark.parametrize("samples", [1, 16, 64])
def test_neighbours_and_calls_are_independent(samples: int) -> None:
    """Null: draws of neighbouring weights, and of one weight in consecutive calls, are uncorrelated.

    A correlation of 2^17 independent pairs is normal with deviation 2^-8.5; Bonferroni over 5 lags.
    """
    system = PSB()
    encoded = system.encode(torch.full((DRAWS,), float(np.float32(1.7320508))))
    generator = torch.Generator().manual_seed(4)
    first, second = (system.counts(encoded, samples, generator).numpy().astype(np.float64) for _ in range(2))
    bound = stats.norm.isf(ERROR / CASES / 10) / np.sqrt(DRAWS)
    for lag in (1, 2, 64, 1024):
        assert abs(np.corrcoef(first[lag:], first[:-lag])[0, 1]) < bound
    assert abs(np.corrcoef(first, second)[0, 1]) < bound


def test_neighbours_are_jointly_binomial() -> None:
    """Null: two neighbours' counts at n = 2 are independent; chi-square of the 3 x 3 table, 4 degrees of freedom."""
    observed = counts(0.5, 2, 2 * DRAWS)
    table = np.zeros((3, 3))
    np.add.at(table, (observed[::2], observed[1::2]), 1)
    expected = np.outer([1, 2, 1], [1, 2, 1]) / 16 * DRAWS
    assert stats.chi2.sf(((table - expected) ** 2 / expected).sum(), 8) > ERROR / CASES


def test_equal_seeds_draw_equal_counts_and_others_do_not() -> None:
    first, second, other = counts(0.3, 16, 1000, 5), counts(0.3, 16, 1000, 5), counts(0.3, 16, 1000, 6)
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize("samples", [16, 64])
def test_threads_make_no_difference(samples: int) -> None:
    """Same seed, same bits, with one thread and with two."""
    system = PSB()
    weight = torch.randn(1_500_000, generator=torch.Generator().manual_seed(0))
    threads, drawn = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            drawn.append(system.draw(system.encode(weight), samples, torch.Generator().manual_seed(7)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("samples", "dtype"), [(1, torch.uint8), (255, torch.uint8), (256, torch.int16), (32768, torch.int32)]
)
def test_counts_take_the_smallest_type(samples: int, dtype: torch.dtype) -> None:
    assert count_dtype(samples) == dtype
    system = PSB()
    drawn = system.counts(system.encode(torch.tensor([1.9999999])), samples, torch.Generator().manual_seed(0))
    assert drawn.dtype == dtype
    assert 0.9 * samples <= int(drawn) <= samples


@pytest.mark.parametrize("samples", [1, 5, 9, 16, 17, 32, 33, 63, 64, 65, 100, 300])
def test_against_a_plain_loop(samples: int) -> None:
    """The same random words, read one digit of one sample after the other."""
    seed, mask = 12345, 2**64 - 1

    def word(place: int, number: int) -> int:
        value = (seed + (place + (number << 40)) * 0x9E3779B97F4A7C15) & mask
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & mask
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & mask
        return value ^ (value >> 31)

    def draw(code: int, place: int) -> int:
        count, undecided, number, left, bits, fresh, digit = 0, samples, 0, 0, 0, samples, 0
        while undecided and code:
            if fresh > 8:
                number, left, fresh, digit = digit << 16, 0, (fresh + 1) // 2, digit + 1
            zeros = 0
            for _ in range(undecided // 64):
                zeros += bin(word(place, number)).count("1")
                number += 1
            due = undecided % 64
            if due > left:
                bits, left, number = word(place, number), 64, number + 1
            for _ in range(due):
                zeros, bits, left = zeros + bits % 2, bits // 2, left - 1
            if code >> 63:
                count, undecided = count + zeros, undecided - zeros
            else:
                undecided = zeros
            code = code * 2 & mask
        return count

    from reluscope_plugins.number_systems.binomial import fill_counts

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**64, 3000, dtype=np.uint64)
    codes[:1000] &= np.uint64(0xFFFFFE0000000000)
    codes[:50] = 0
    out = np.empty_like(codes)
    fill_counts(codes, samples, np.uint64(seed), 10, out)
    assert out.tolist() == [draw(int(code), 10 + place) for place, code in enumerate(codes)]
