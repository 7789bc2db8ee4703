"""Activation patterns as bits: eight units a byte, straight from pre-activations in the network's own layout.

A float32 pre-activation takes 32 bits and its state one, so that whatever counts or compares patterns should move the
bits. On the CPU a tensor is read once, in blocks that stay in the second-level cache.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from reluscope.layout import rows
from reluscope.sites import Bound, pattern

Array = np.ndarray[Any, Any]
Write = Callable[[Array, Array], object]
"""From a block `(sample, unit, position)` to its bits, bool `(sample, bit, position)`, in place."""

BLOCK = 1 << 22
"""Bits of images that are handled at once; as bools they take 4 MiB, which stay in the cache."""

ROWS_BLOCK = 1 << 19
"""Bits of rows that are handled at once: as bools they fit into the second-level cache."""

WINNER_BITS = 32
"""Bits of a max-pool's winner."""

_WORDS = {1: np.uint8, 2: np.int16, 4: np.int32}
_own = threading.local()
_NUMPY = (torch.float16, torch.float32, torch.float64)


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


def pack(preactivation: torch.Tensor, channel: int, lower: Bound, upper: Bound, *, outer: bool = False) -> torch.Tensor:
    """Pack the pattern that pre-activations have.

    Args:
        preactivation: At least two dims, in the network's own shape; no NaN.
        channel: The dim that counts units.
        lower: Lower threshold, None where there is none.
        upper: Upper threshold, None where there is none.
        outer: Whether a unit passes its input on beyond the thresholds, as a shrink.

    Returns:
        As `pack_states` of the states that `reluscope.sites.pattern` gives.

    Example:
        >>> pack(torch.tensor([[1.0, -1.0, 2.0], [-1.0, -1.0, 3.0]]), 1, 0.0, None)
        tensor([[5],
                [4]], dtype=torch.uint8)
    """
    z = preactivation.detach()
    one_sided = (lower is None) != (upper is None)
    scalar = not isinstance(lower, torch.Tensor) and not isinstance(upper, torch.Tensor)
    if not (one_sided and scalar and z.device.type == "cpu" and z.dtype in _NUMPY):
        states = pattern(z, lower, upper, outer=outer)
        return pack_states(states, channel, bits=1 if states.dtype == torch.bool else 2)
    block = _blocked(z, channel)
    with np.errstate(over="ignore"):  # beyond what the dtype holds is infinity
        threshold = np.asarray(lower if upper is None else upper, dtype=block.dtype)
    compare = np.greater if upper is None else np.less
    return _pack(block, block.shape[1], lambda values, out: compare(values, threshold, out=out))


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
        matrix = rows(states, channel).to(torch.int32).contiguous()
        return _padded(matrix.view(torch.uint8).reshape(len(matrix), -1))
    if states.device.type != "cpu":
        return _pack_on_device(rows(states, channel), bits)
    block = _blocked(states, channel)
    if bits == 1:
        return _pack(block, block.shape[1], lambda values, out: np.not_equal(values, 0, out=out))

    def write(values: Array, out: Array) -> None:
        np.not_equal(values & 1, 0, out=out[:, 0::2])
        np.not_equal(values & 2, 0, out=out[:, 1::2])

    return _pack(block, 2 * block.shape[1], write)


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


# View a tensor as (sample, unit, position); position is 1 where units lie side by side in memory.
def _blocked(tensor: torch.Tensor, channel: int) -> Array:
    last = tensor.movedim(channel, -1)
    units = tensor.shape[channel]
    if last.is_contiguous():
        found = last.reshape(-1, units, 1)
    else:
        samples = int(np.prod(tensor.shape[:channel], dtype=np.int64))
        positions = int(np.prod(tensor.shape[channel + 1 :], dtype=np.int64))
        found = tensor.reshape(samples, units, positions)
    values: Array = found.resolve_neg().numpy()
    return values


def _pack(values: Array, bits: int, write: Write) -> torch.Tensor:
    samples, _, positions = values.shape
    size = row_bytes(bits)
    whole = np.zeros if positions > 1 and size > -(-bits // 8) else np.empty
    out = whole((samples, positions, size), np.uint8)
    (_pack_planes if positions > 1 else _pack_rows)(values, bits, write, out)
    return torch.from_numpy(out.reshape(samples * positions, size))


def _pack_rows(values: Array, bits: int, write: Write, out: Array) -> None:
    samples, _, size = out.shape
    step = max(1, ROWS_BLOCK // (8 * size))
    if values.dtype == bool and bits == 8 * size:
        for start in range(0, samples, step):
            packed = np.packbits(values[start : start + step].reshape(-1), bitorder="little")
            out[start : start + step] = packed.reshape(-1, 1, size)
        return
    flags = np.zeros((min(step, samples), 8 * size, 1), bool)
    for start in range(0, samples, step):
        block = values[start : start + step]
        write(block, flags[: len(block), :bits])
        packed = np.packbits(flags[: len(block)].reshape(-1), bitorder="little")
        out[start : start + step] = packed.reshape(-1, 1, size)


# Eight channels become one byte by three rounds of shift and or; eight positions are handled in one 64-bit word, within
# which nothing crosses a byte. Numpy compares faster than torch, whose other operations take all threads.
def _pack_planes(values: Array, bits: int, write: Write, out: Array) -> None:
    samples, _, positions = values.shape
    used = -(-bits // 8)
    wide = -(-positions // 8)
    step = min(samples, max(1, BLOCK // (64 * used * wide)))
    flags, *halves = (_scratch(number, (step, used * parts, wide)) for number, parts in enumerate((8, 4, 2, 1)))
    bools = flags.numpy().view(bool)
    if bits < 8 * used or positions < 8 * wide:
        bools[...] = False  # what earlier blocks of other shapes left
    packed = torch.from_numpy(out)
    whole = torch.from_numpy(out.view(_WORDS[out.shape[2]])[:, :, 0]) if out.shape[2] in _WORDS else None
    for start in range(0, samples, step):
        block = values[start : start + step]
        count = len(block)
        write(block, bools[:count, :bits, :positions])
        found = flags[:count]
        for shift, buffer in zip((1, 2, 4), halves, strict=True):
            into = buffer[:count]
            torch.bitwise_left_shift(found[:, 1::2], shift, out=into)
            torch.bitwise_or(into, found[:, 0::2], out=into)
            found = into
        planes = found.view(torch.uint8)[:, :, :positions]
        if whole is None:
            packed[start : start + step, :, :used].copy_(planes.transpose(1, 2))
            continue
        # a whole word at a time is several times faster than bytes in strides
        row = whole[start : start + step].copy_(planes[:, 0])
        for place in range(1, used):
            row.add_(planes[:, place].to(row.dtype), alpha=1 << 8 * place)


# Memory that each thread uses again and again: fresh pages cost more than what is done with them.
def _scratch(number: int, shape: tuple[int, ...]) -> torch.Tensor:
    size = math.prod(shape)
    kept: dict[int, torch.Tensor] = _own.__dict__.setdefault("kept", {})
    if number not in kept or len(kept[number]) < size:
        with torch.inference_mode(False):  # else it could not be written to outside that mode
            kept[number] = torch.empty(size, dtype=torch.int64, device="cpu")
    return kept[number][:size].view(shape)


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
