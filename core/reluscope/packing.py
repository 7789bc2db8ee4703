"""Activation patterns as bits: eight units a byte, straight from pre-activations in the network's own layout.

A float32 pre-activation takes 32 bits and its state one, so that whatever counts or compares patterns should move the
bits. On the CPU a tensor is read once.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from reluscope.finite import total
from reluscope.kernels import pack_planes, pack_rows, shared_out
from reluscope.layout import rows
from reluscope.sites import Bound, pattern

Array = np.ndarray[Any, Any]
WINNER_BITS = 32
"""Bits of a max-pool's winner."""

_WORDS = {1: np.uint8, 2: np.uint16, 4: np.uint32}
_NUMPY = {torch.float16: np.float16, torch.float32: np.float32, torch.float64: np.float64}


def row_bytes(bits: int) -> int:
    """Say how many bytes a row takes.

    Args:
        bits: Bits of its pattern.

    Returns:
        1, 2, 4 or a multiple of 8, so that a row is one integer, or several of 64 bits.

    Example:
        >>> [row_bytes(bits) for bits in (1, 8, 9, 17, 33, 64, 65)]
        [1, 1, 2, 4, 8, 8, 16]
    """
    needed = max(1, -(-bits // 8))
    return next((size for size in (1, 2, 4) if needed <= size), -(-needed // 8) * 8)


def pack(
    preactivation: torch.Tensor, channel: int, lower: Bound, upper: Bound, *, outer: bool = False
) -> tuple[torch.Tensor, bool]:
    """Pack the pattern that pre-activations have.

    Args:
        preactivation: At least two dims, in the network's own shape.
        channel: The dim that counts units.
        lower: Lower threshold, None where there is none.
        upper: Upper threshold, None where there is none.
        outer: Whether a unit passes its input on beyond the thresholds, as a shrink.

    Returns:
        As `pack_states` of the states that `reluscope.sites.pattern` gives; and False where a value may not be finite,
        so that a closer look is due.

    Example:
        >>> pack(torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, 3.0]]), 1, 0.0, None)
        (tensor([[5],
                [4]], dtype=torch.uint8), True)
    """
    z = preactivation.detach()
    one_sided = (lower is None) != (upper is None)
    scalar = not isinstance(lower, torch.Tensor) and not isinstance(upper, torch.Tensor)
    if not (one_sided and scalar and z.device.type == "cpu" and z.dtype in _NUMPY):
        states = pattern(z, lower, upper, outer=outer)
        packed = pack_states(states, channel, bits=1 if states.dtype == torch.bool else 2)
        return packed, bool(total(z).isfinite())
    threshold = _threshold(lower if upper is None else upper, _NUMPY[z.dtype])
    return _pack(_blocked(z.float() if z.dtype == torch.float16 else z, channel), threshold, upper is None)


def pack_states(states: torch.Tensor, channel: int, *, bits: int) -> torch.Tensor:
    """Pack the states of units.

    Args:
        states: bool, uint8 or integers below two to the power of `bits`; at least two dims.
        channel: The dim that counts units.
        bits: Bits of a unit: 1, 2, or `WINNER_BITS` for a max-pool.

    Returns:
        uint8 `(row, byte)`, rows sample-major as in `Observation.pattern`: unit `i` takes the bits from `bits * i` on,
        bit `j` is bit `j % 8` of byte `j // 8`; zeros fill up to `row_bytes`.

    Example:
        >>> pack_states(torch.tensor([[0, 1, 2, 0, 1]], dtype=torch.uint8), 1, bits=2)
        tensor([[36,  1]], dtype=torch.uint8)
    """
    if bits == WINNER_BITS:
        matrix = rows(states, channel).to(torch.int32)
        return _padded(matrix.reshape(-1).view(torch.uint8).reshape(len(matrix), -1))
    if states.device.type != "cpu":
        return _pack_on_device(rows(states, channel), bits)
    block = _blocked(states, channel)
    if bits == 2:
        samples, units, positions = block.shape
        block = np.stack([block & 1, block >> 1], axis=2).reshape(samples, 2 * units, positions)
    return _pack(block.astype(bool, copy=False).view(np.uint8), np.uint8(0), True)[0]


def unpack(packed: torch.Tensor, units: int, *, bits: int) -> torch.Tensor:
    """Undo `pack_states`.

    Args:
        packed: uint8 `(row, byte)`.
        units: Number of units.
        bits: Bits of a unit.

    Returns:
        `(row, unit)`: bool for one bit, uint8 for two, int64 for a max-pool's winners.

    Example:
        >>> unpack(torch.tensor([[5], [4]], dtype=torch.uint8), 3, bits=1)
        tensor([[ True, False,  True],
                [False, False,  True]])
    """
    if bits == WINNER_BITS:
        return packed[:, : 4 * units].contiguous().view(torch.int32).to(torch.int64).reshape(len(packed), units)
    if bits == 1 and packed.device.type == "cpu":
        flags = np.unpackbits(packed.numpy(), axis=1, count=units, bitorder="little")
        return torch.from_numpy(flags.view(np.bool_))
    place = torch.arange(units, device=packed.device) * bits
    states: torch.Tensor = (packed[:, place // 8] >> (place % 8).to(torch.uint8)) & (2**bits - 1)
    return states.bool() if bits == 1 else states


# A threshold in the type of the values, or in float32 where that holds these; what the type does not hold is infinity.
@lru_cache(maxsize=64)
def _threshold(bound: float, dtype: type[np.floating[Any]]) -> np.floating[Any]:
    with np.errstate(over="ignore"):
        threshold = dtype(bound)
    return threshold if dtype == np.float64 else np.float32(threshold)


@lru_cache(maxsize=8)
def _places(size: int) -> Array:
    dtype = np.dtype(_WORDS.get(size, np.uint64))
    places: Array = 2 ** np.arange(8 * dtype.itemsize, dtype=dtype)
    return places


# View a tensor as (sample, unit, position); position is 1 where units lie side by side in memory.
def _blocked(tensor: torch.Tensor, channel: int) -> Array:
    units = tensor.shape[channel]
    if channel == tensor.ndim - 1 or not tensor.is_contiguous():
        last = tensor.movedim(channel, -1)
        if last.is_contiguous():
            return _array(last.reshape(-1, units, 1))
    samples, positions = math.prod(tensor.shape[:channel]), math.prod(tensor.shape[channel + 1 :])
    return _array(tensor.reshape(samples, units, positions))


def _array(tensor: torch.Tensor) -> Array:
    values: Array = tensor.resolve_neg().numpy()
    return values


def _pack(values: Array, threshold: Any, above: bool) -> tuple[torch.Tensor, bool]:
    samples, units, positions = values.shape
    size = row_bytes(units)
    if positions == 1:
        out = np.empty((samples, size), np.uint8)
        finite = shared_out(
            samples, lambda part: pack_rows(values[part, :, 0], threshold, above, out[part]), values.nbytes
        )
        return torch.from_numpy(out), finite
    places = _places(size)
    words = np.empty((samples, positions, max(1, size // 8)), places.dtype)
    finite = shared_out(
        samples, lambda part: pack_planes(values[part], threshold, above, places, words[part]), values.nbytes
    )
    return torch.from_numpy(words.view(np.uint8).reshape(samples * positions, size)), finite


def _pack_on_device(states: torch.Tensor, bits: int) -> torch.Tensor:
    count, units = states.shape
    size = row_bytes(bits * units)
    flags = states.new_zeros((count, 8 * size), dtype=torch.uint8)
    if bits == 1:
        flags[:, :units] = states.to(torch.uint8)
    else:
        flags[:, 0 : 2 * units : 2] = states & 1
        flags[:, 1 : 2 * units : 2] = states >> 1
    weights = 2 ** torch.arange(8, device=states.device, dtype=torch.uint8)
    found: torch.Tensor = (flags.reshape(count, size, 8) * weights).sum(-1, dtype=torch.uint8)
    return found


def _padded(matrix: torch.Tensor) -> torch.Tensor:
    missing = row_bytes(8 * matrix.shape[1]) - matrix.shape[1]
    return torch.nn.functional.pad(matrix, (0, missing)) if missing else matrix
