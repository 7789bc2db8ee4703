"""Binomial draws in a time that does not grow with the number of samples: by rejection, in double precision.

Where many successes are expected, those of transformed rejection: a candidate from a hat function, which is accepted
with the probability that makes it binomial. Where few are, the distances from one success to the next.

References:
    W. Hörmann, The generation of binomial random variates, Journal of Statistical Computation and Simulation 46, 1993,
    algorithm BTRS.
    L. Devroye, Non-Uniform Random Variate Generation, 1986, section X.4.3 (first waiting time algorithm).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from reluscope.kernels import Array, compiled
from reluscope_plugins.number_systems.random_words import random_share, random_word

FEW = 10.0
"""Expected successes below which the distances between them are drawn."""
SURE = 0.07
"""Distance from the ends of the hat from which on a candidate may be accepted without its probability."""
WHOLE = 2.0**64
BELOW_ONE = 1 - 2.0**-53


@compiled
def fill_by_rejection(codes: Array, samples: int, seed: np.uint64, first: int, out: Array) -> None:
    """Draw the numbers of successes of consecutive weights.

    Each outcome's probability is right to about 1e-10 of it, or to 2^-64 where it is below 2^-30. Most first candidates
    are accepted at once, which is found for all weights alike; the others, and weights of which few successes are
    expected, are drawn one by one.

    Args:
        codes: uint64 `(weight,)`, the probabilities times 2^64.
        samples: Number of samples, such that the hat function fits half of them: at least 20.
        seed: Of the call.
        first: The place of the first weight.
        out: uint64 `(weight,)`, overwritten.
    """
    n, half = np.float64(samples), np.uint64(1 << 63)
    found = np.empty(len(codes), np.float64)
    for index in range(len(codes)):
        code = codes[index]
        p = np.float64(code if code <= half else np.uint64(0) - code) / WHOLE
        u, v = random_share(seed, first + index, 0) - 0.5, random_share(seed, first + index, 1)
        a, b, _ = _hat(n, p)
        margin = 0.5 - abs(u)
        sure = (margin >= SURE) & (v <= 0.92 - 4.2 / b) & (n * p >= FEW)
        found[index] = np.floor((2 * a / margin + b) * u + n * p + 0.5) if sure else -1.0
    for index in range(len(codes)):
        code, count = codes[index], found[index]
        if count < 0:
            # what is left to 2^64 is exact in integers
            p = np.float64(code if code <= half else np.uint64(0) - code) / WHOLE
            count = _few(n, p, seed, first + index) if n * p < FEW else _many(n, p, seed, first + index)
        out[index] = np.uint64(count) if code <= half else np.uint64(samples) - np.uint64(count)


@compiled
def _hat(n: float, p: float) -> Any:
    spread = np.sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * spread
    return -0.0873 + 0.0248 * b + 0.01 * p, b, (2.83 + 5.1 / b) * spread


@compiled
def _few(n: float, p: float, seed: np.uint64, place: int) -> float:
    if p == 0:
        return 0.0
    logarithm, left, count, number = math.log1p(-p), n, 0.0, 0
    while True:
        # all 64 bits, so that small distances, next to none likely, have the right probability too
        share = min((np.float64(random_word(seed, place, number)) + 0.5) / WHOLE, BELOW_ONE)
        left -= np.floor(math.log1p(-share) / logarithm) + 1
        if left < 0:
            return count
        count += 1
        number += 1


@compiled
def _many(n: float, p: float, seed: np.uint64, place: int) -> float:
    a, b, height = _hat(n, p)
    number = 0
    while True:
        u, v = random_share(seed, place, number) - 0.5, random_share(seed, place, number + 1)
        number += 2
        margin = 0.5 - abs(u)
        k = np.floor((2 * a / margin + b) * u + n * p + 0.5)
        if margin >= SURE and v <= 0.92 - 4.2 / b:
            return k
        if k < 0 or k > n:
            continue
        odds, mode = p / (1 - p), np.floor((n + 1) * p)
        bound = (
            (mode + 0.5) * math.log((mode + 1) / (odds * (n - mode + 1)))
            + (n + 1) * math.log((n - mode + 1) / (n - k + 1))
            + (k + 0.5) * math.log(odds * (n - k + 1) / (k + 1))
            + _stirling(mode)
            + _stirling(n - mode)
            - _stirling(k)
            - _stirling(n - k)
        )
        if math.log(v * height / (a / (margin * margin) + b)) <= bound:
            return k


@compiled
def _stirling(k: float) -> float:
    # by how much log k! differs from Stirling's formula for log (k + 1)^(k + 1/2)
    if k < 10:
        product = 1.0
        for factor in range(2, int(k) + 1):
            product *= factor
        return math.log(product) - (0.5 * math.log(2 * math.pi) + (k + 0.5) * math.log(k + 1) - (k + 1))
    square = (k + 1) * (k + 1)
    return (1 / 12 - (1 / 360 - (1 / 1260 - 1 / 1680 / square) / square) / square) / (k + 1)
