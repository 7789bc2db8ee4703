"""A 64-bit key for each activation pattern: the pattern itself where it fits, else a universal hash."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from reluscope.observation import Observation

Array = np.ndarray[Any, Any]
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}
_PIECES = 1 << 15


def row_keys(packed: torch.Tensor, *, seed: int = 0) -> Array:
    r"""Give each row a key; equal patterns have equal keys.

    A pattern of up to 64 bits is its own key. A longer one, cut into 32-bit pieces $x_j$, gets two independent 32-bit
    hashes $\lfloor ((b + \sum_j a_j x_j) \bmod 2^{64}) / 2^{32} \rfloor$ with random 64-bit $a_j$ and $b$. Two
    different patterns, whatever they are, share each with probability $2^{-32}$, so both with $2^{-64}$.

    Args:
        packed: uint8 `(row, byte)`, as `Observation.packed` has it.
        seed: Seed of the hash; keys of different seeds do not compare.

    Returns:
        `(row,)`: uint8, uint16 or uint32 where a row has so many bits, else uint64.

    References:
        Thorup 2015, High speed hashing for integers and strings, section 3.5 (multiply-shift for vectors).

    Example:
        >>> row_keys(torch.tensor([[5, 0], [0, 1]], dtype=torch.uint8)).tolist()
        [5, 256]
    """
    if packed.device.type != "cpu" and packed.shape[1] > 8:
        return _hashed_on_device(packed, seed)
    data = np.ascontiguousarray(packed.cpu().numpy())
    size = data.shape[1]
    if size <= 8:
        keys: Array = data.view(_UNSIGNED[size]).reshape(-1)
        return keys
    return _joined(_hashed(data.view(np.uint32), seed), seed)


def global_keys(observation: Observation, *, seed: int = 0) -> Array:
    """Give each input sample a key of its global pattern: all sites, and all their positions.

    Args:
        observation: One batch.
        seed: Seed of the hash.

    Returns:
        uint64 `(sample,)`. Two different global patterns share a key with probability at most 2^-64.

    Raises:
        ObservationError: If the rows of a site do not belong to samples.

    References:
        Hartmann 2025, definition 3.
    """
    total = np.zeros((observation.samples, 2), np.uint64)
    for site in observation.sites:
        # by name: where batches take different paths through a network, their sites do not correspond by number
        stream = int.from_bytes(hashlib.sha256(site.encode()).digest()[:16], "little")
        total += _hashed(sample_pieces(observation, site), seed, stream) + _factors(1, seed, stream, 1)
    return _joined(total, seed)


def sample_keys(observation: Observation, site: str, *, seed: int = 0) -> Array:
    """Give each input sample a key of its pattern at one site: of all positions together.

    Args:
        observation: One batch.
        site: The site.
        seed: Seed of the hash.

    Returns:
        `(sample,)`, as `row_keys` gives it: where a sample is one row both are the same.

    Raises:
        ObservationError: If the rows of the site do not belong to samples.
    """
    packed = observation.packed[site]
    if len(packed) == observation.samples:
        return row_keys(packed, seed=seed)
    return _joined(_hashed(sample_pieces(observation, site), seed), seed)


def sample_pieces(observation: Observation, site: str) -> Array:
    """Lay out the bits of a site in 32-bit pieces, all positions of a sample side by side.

    Args:
        observation: One batch.
        site: The site.

    Returns:
        uint32 `(sample, piece)`.

    Raises:
        ObservationError: If the rows of the site do not belong to samples.
    """
    from reluscope.errors import ObservationError

    if not observation.site[site].positions:
        raise ObservationError(
            f"site {site!r}: its rows do not belong to samples, expected the same number of rows for each; count the "
            "patterns of the other sites"
        )
    data = np.ascontiguousarray(observation.packed[site].cpu().numpy()).reshape(observation.samples, -1)
    missing = -data.shape[1] % 4
    padded = np.pad(data, ((0, 0), (0, missing))) if missing else data
    return padded.view(np.uint32)


def check_seed(seed: int) -> None:
    """See to it that a seed of the hash is one.

    Args:
        seed: What was got.

    Raises:
        ObservationError: If it is not.
    """
    from reluscope.errors import ObservationError

    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ObservationError(f"seed is {seed!r}, expected an integer of at least 0: it draws the hash of patterns")


def false_merge_bound(patterns: int, bits: int) -> float:
    """Bound the probability that any two different patterns were counted as one.

    Args:
        patterns: Number of distinct patterns.
        bits: Bits of a pattern.

    Returns:
        0 for up to 64 bits; else the number of pairs times 2^-64, at most 1.

    Example:
        >>> false_merge_bound(1_000_000, 64), false_merge_bound(1_000_000, 65) < 3e-8
        (0.0, True)
    """
    return 0.0 if bits <= 64 else min(1.0, patterns * (patterns - 1) / 2 * 2.0**-64)


# Two sums modulo 2^64 for each row, whose upper halves are the hashes: (row, 2).
def _hashed(pieces: Array, seed: int, stream: int = 0) -> Array:
    from reluscope.kernels import hash_rows, shared_out

    sums = np.zeros((len(pieces), 2), np.uint64)
    for first in range(0, pieces.shape[1], _PIECES):
        columns = pieces[:, first : first + _PIECES]
        factors = np.ascontiguousarray(_factors(columns.shape[1], seed, stream, first).T)

        def work(part: slice, columns: Array = columns, factors: Array = factors) -> bool:
            hash_rows(columns[part], factors, sums[part])
            return True

        shared_out(len(pieces), work, columns.nbytes)
    return sums


def _joined(sums: Array, seed: int) -> Array:
    sums = sums + _added(seed)
    keys: Array = (sums[:, 0] >> np.uint64(32)) | (sums[:, 1] & np.uint64(0xFFFFFFFF00000000))
    return keys


def _hashed_on_device(packed: torch.Tensor, seed: int) -> Array:
    # torch has no unsigned product, but modulo 2^64 the signed one has the same bits
    pieces = packed.contiguous().view(torch.int32)
    sums = torch.zeros((len(pieces), 2), dtype=torch.int64, device=packed.device)
    for first in range(0, pieces.shape[1], _PIECES):
        columns = pieces[:, first : first + _PIECES].to(torch.int64) & 0xFFFFFFFF
        factors = torch.from_numpy(_factors(columns.shape[1], seed, 0, first).view(np.int64).copy()).to(packed.device)
        sums += torch.stack([(columns * factors[:, column]).sum(1) for column in (0, 1)], dim=1)
    return _joined(sums.cpu().numpy().view(np.uint64), seed)


# Of a generator of its own: no piece begins at 1. A seed alone would not do, since numpy takes missing words for zeros:
# [seed] draws what [seed, 0, 0] does, which are the first factors.
def _added(seed: int) -> Array:
    return _factors(1, seed, 0, 1)[0]


@lru_cache(maxsize=256)
def _factors(count: int, seed: int, stream: int, first: int) -> Array:
    generator = np.random.default_rng([seed, stream, first])
    factors = generator.integers(0, 2**64, size=(count, 2), dtype=np.uint64)
    factors.flags.writeable = False
    return factors
