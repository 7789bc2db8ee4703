"""Random words that belong to a place and a number, so that the order in which they are asked for makes no difference.

They are SplitMix64's of a counter.

References:
    G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from reluscope.kernels import compiled


@compiled
def random_word(seed: np.uint64, place: int, number: int) -> Any:
    """Return one random word: SplitMix64 of a counter.

    Args:
        seed: Of the call.
        place: Of the weight, below 2^40.
        number: Of the weight's word, below 2^24.

    Returns:
        64 bits.
    """
    word = seed + (np.uint64(place) + (np.uint64(number) << np.uint64(40))) * np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))


@compiled
def random_share(seed: np.uint64, place: int, number: int) -> Any:
    """Return one random number between 0 and 1.

    Args:
        seed: Of the call.
        place: Of the weight, below 2^40.
        number: Of the weight's word, below 2^24.

    Returns:
        An odd multiple of 2^-53, each as likely: neither 0 nor 1.
    """
    return (np.float64(random_word(seed, place, number) >> np.uint64(12)) + 0.5) * 2.0**-52
