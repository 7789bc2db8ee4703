"""Exact binomial draws for a whole tensor of probabilities, from about two random bits a sample.

The binary digits of a probability are compared with those of as many uniform random numbers as there are samples, all
at once: of m samples that agree with the probability so far, the number r whose next digit is 0 is Binomial(m, 1/2), as
is the number of ones among m random bits. Where the probability's digit is 1 those r are successes and m - r go on;
where it is 0 the others have failed and r go on. About half go on each time, and where none does, or only zeros are
left of the probability, it is over. Nothing is rounded: any probability that is a multiple of 2^-64 is met exactly.

From many samples on they are drawn by rejection instead (`binomial_rejection`), in double precision.

The random words belong to the weight's place and the number of the word, so the draws are the same however the weights
are shared out among threads.

References:
    L. Devroye, Non-Uniform Random Variate Generation, 1986, section XIV.4 (Bernoulli trials by comparing digits).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reluscope.kernels import compiled, shared_out
from reluscope_plugins.number_systems.binomial_rejection import fill_by_rejection
from reluscope_plugins.number_systems.random_words import random_word

Array = np.ndarray[Any, Any]

ONE_WORD = 16
"""Samples for which the 64 bits of one word nearly always do."""
HALF_A_WORD = ONE_WORD // 2
REJECTION = 512
"""Samples from which on they are not drawn digit by digit, but in a time that does not grow with their number."""
BLOCK = 1 << 13
"""Weights that are drawn one step after the other, so that what lies between stays in the cache."""
COST = 256
"""Bytes that are read in the time that a weight takes, for the choice of the number of threads."""
ROUNDS = 10
"""Digits that are looked at in all weights alike before those that need more are finished one by one."""
_SWAPS = tuple(
    (np.uint64(shift), np.uint64(sum(((1 << shift) - 1) << place for place in range(0, 64, 2 * shift))))
    for shift in (1, 2, 4, 8, 16)
)


@compiled
def bit_count(word: Any) -> Any:
    """Count the bits of a word that are set.

    Args:
        word: 64 bits.

    Returns:
        From 0 to 64.
    """
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@compiled
def successes(code: np.uint64, samples: np.uint64, seed: np.uint64, place: int) -> Any:
    """Draw the number of successes of one weight.

    Each of the first digits takes words of its own, with numbers from 2^16 times the digit's on: as long as halving the
    samples as often leaves more than eight. After that a word serves until its bits do not do.

    Args:
        code: The probability times 2^64.
        samples: Number of samples.
        seed: Of the call.
        place: Of the weight.

    Returns:
        Binomial(samples, code / 2^64).
    """
    one, whole = np.uint64(1), np.uint64(64)
    count, undecided, fresh = np.uint64(0), samples, samples
    word, left, digit = np.uint64(0), np.uint64(0), 0
    number: Any = 0
    while undecided > 0 and code != 0:
        if fresh > HALF_A_WORD:
            left, number = np.uint64(0), digit << 16
            fresh = (fresh + one) // np.uint64(2)
            digit += 1
        zeros, words, due = np.uint64(0), np.int64(undecided // whole), undecided % whole
        for further in range(words):
            zeros += bit_count(random_word(seed, place, number + further))
        number += words
        if due > left:
            word, left = random_word(seed, place, number), whole
            number += 1
        zeros += bit_count(word & ((one << due) - one))
        word >>= due
        left -= due
        if code >> np.uint64(63):
            count += zeros
            undecided -= zeros
        else:
            undecided = zeros
        code <<= one
    return count


@compiled
def fill_counts(codes: Array, samples: int, seed: np.uint64, first: int, out: Array) -> None:
    """Draw the numbers of successes of consecutive weights.

    Args:
        codes: uint64 `(weight,)`, the probabilities times 2^64.
        samples: Number of samples.
        seed: Of the call.
        first: The place of the first weight.
        out: uint64 `(weight,)`, overwritten.
    """
    one, size, flag = np.uint64(1), len(codes), np.uint64(1 << 63)
    if samples >= REJECTION:
        fill_by_rejection(codes, samples, seed, first, out)
        return
    if samples == 1:  # what follows comes to the same, digit by digit
        for place in range(size):
            out[place] = _reversed(~random_word(seed, first + place, 0)) < codes[place]
        return
    digits, undecided, zeros = codes.copy(), np.full(size, np.uint64(samples)), np.empty(size, np.uint64)
    out[:] = 0
    number = 0
    while samples > ONE_WORD << number:
        mean = samples / 2**number
        words = int(min(samples, mean + 6 * math.sqrt(mean)) + 63) // 64
        zeros[:] = 0
        for further in range(words):
            begin = np.int64(64 * further)
            for place in range(size):
                behind: Any = np.int64(undecided[place]) - begin
                due = np.uint64(min(max(behind, 0), 64))
                half = due >> one  # no shift by 64
                word = random_word(seed, first + place, (number << 16) + further)
                zeros[place] += bit_count(word & (((one << half) << (due - half)) - one))
        for place in range(size):
            waiting, digit = undecided[place], digits[place] >> np.uint64(63)
            out[place] |= flag if waiting > 64 * words else np.uint64(0)
            out[place] += zeros[place] * digit
            undecided[place] = waiting - zeros[place] if digit else zeros[place]
            digits[place] <<= one
        number += 1
    for place in range(size):
        code, word = digits[place], random_word(seed, first + place, number << 16)
        count, waiting, used = out[place], undecided[place], np.uint64(0)
        for _ in range(ROUNDS):
            found = bit_count(word & ((one << waiting) - one))
            word >>= waiting
            used += waiting
            digit = code >> np.uint64(63)
            count += found * digit
            waiting = waiting - found if digit else found
            code <<= one
        unfinished = (waiting != 0 and code != 0) or used > 63
        out[place] = flag if unfinished else count
    for place in range(size):
        if out[place] & flag:
            out[place] = successes(codes[place], np.uint64(samples), seed, first + place)


@compiled
def _reversed(word: Any) -> Any:
    for shift, mask in _SWAPS:
        word = ((word >> shift) & mask) | ((word & mask) << shift)
    return (word >> np.uint64(32)) | (word << np.uint64(32))


def draw_blocks(
    values: Array,
    samples: int,
    seed: int,
    encode: Callable[[Array, Array], None],
    finish: Callable[[Array, Array, Array], None],
    out: Array,
) -> None:
    """Draw the number of successes of each weight, block by block, and make of it what is asked for.

    Args:
        values: `(weight,)`.
        samples: Number of samples.
        seed: From 0 to 2^64 - 1.
        encode: Takes a block of values and writes their probabilities times 2^64, uint64.
        finish: Takes a block of values, their numbers of successes, uint64, and the block of `out`, to be overwritten.
        out: `(weight,)`, overwritten.
    """

    def work(part: slice) -> bool:
        codes = np.empty(min(BLOCK, part.stop - part.start), np.uint64)
        counts = np.empty_like(codes)
        for first in range(part.start, part.stop, BLOCK):
            block = slice(first, min(first + BLOCK, part.stop))
            size = block.stop - first
            encode(values[block], codes[:size])
            fill_counts(codes[:size], samples, np.uint64(seed), first, counts[:size])
            finish(values[block], counts[:size], out[block])
        return True

    shared_out(len(values), work, len(values) * COST)


def one_seed(generator: torch.Generator) -> int:
    """Draw the seed of one call.

    Args:
        generator: Where chance comes from; is moved on by one draw.

    Returns:
        From 0 to 2^63 - 1.
    """
    return int(torch.randint(2**63 - 1, (), generator=generator, device=generator.device))


def count_dtype(samples: int) -> torch.dtype:
    """Return the smallest type that holds a number of successes.

    Args:
        samples: Number of samples.

    Returns:
        An integer type.

    Example:
        >>> count_dtype(16), count_dtype(1000)
        (torch.uint8, torch.int16)
    """
    if samples < 1 << 8:
        return torch.uint8
    return torch.int16 if samples < 1 << 15 else torch.int32


def counts_by_comparison(probability: torch.Tensor, samples: int, seed: int) -> torch.Tensor:
    """Draw numbers of successes where no compiled loop runs: on other devices than the processor.

    Each sample compares each probability with a random integer of 31 bits, of 63 for float64. So this is exact too for
    the probability that is a float's mantissa, 23 digits or 52.

    Args:
        probability: float32 or float64, any shape.
        samples: Number of samples.
        seed: Of torch's generator on the device.

    Returns:
        Integers in the shape of the probability.
    """
    generator = torch.Generator(probability.device).manual_seed(seed)
    bits, dtype = (31, torch.int32) if probability.dtype == torch.float32 else (63, torch.int64)
    most = torch.iinfo(dtype).max  # a probability of 1 falls short of it by 2^-63
    threshold = torch.where(probability < 1, probability.double() * 2.0**bits, 0.0).to(dtype)
    threshold = torch.where(probability < 1, threshold, most)
    counts = torch.zeros_like(threshold, dtype=count_dtype(samples))
    drawn = torch.empty_like(threshold)
    for _ in range(samples):
        counts += drawn.random_(generator=generator) < threshold
    return counts
