"""What integer arithmetic gives, found in float64 without a single shift: the same numbers, by matrix products."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reluscope.errors import ReluscopeError

EXACT = 2.0**52
"""Sums of integers below this magnitude are exact in float64, in any order, with a bit to spare."""


class Sums(NamedTuple):
    """What accumulators of 32 bits hold, and what is known of overflows without adding in order.

    Attributes:
        total: Float64 integers within -2^31..2^31 - 1, `(row, group, output)`.
        certain: Whether an addition or shift overflows in every order of the additions.
        possible: Whether one does in some order.
    """

    total: Tensor
    certain: Tensor
    possible: Tensor


def wrap(values: Tensor) -> Tensor:
    """Take integers to the 32 bits that are left of them.

    Args:
        values: Float64 integers, any shape.

    Returns:
        The numbers within -2^31..2^31 - 1 that differ from them by multiples of 2^32, float64.

    Example:
        >>> wrap(torch.tensor([5.0, 2.0**31, -(2.0**31) - 1], dtype=torch.float64)).tolist()
        [5.0, -2147483648.0, 2147483647.0]
    """
    return torch.remainder(values + 2.0**31, 2.0**32) - 2.0**31


def simulate_sums(rows: Tensor, sign: Tensor, exponent: Tensor, counts: Tensor, samples: int, guard_bits: int) -> Sums:
    """Add up stochastic products by matrix products, one pair for each exponent that occurs.

    With x' = floor(x 2^(e + G)) and x'' = floor(x 2^(e + 1 + G)), each wrapped to 32 bits, the sum over the inputs of
    s ((n - K) x' + K x''), wrapped.

    Positive and negative terms are added apart as well. Where either sum leaves 32 bits, some order of the additions
    overflows; where the total does, every order.

    Args:
        rows: Integers within int16, any type, `(row, group, input)`.
        sign: -1, 0 or 1, `(group, output, input)`.
        exponent: e, `(group, output, input)`.
        counts: K, `(row, group, output, input)`; `row` may be 1, for counts that all rows share.
        samples: n.
        guard_bits: G.

    Returns:
        Totals and what overflows, `(row, group, output)`.

    Raises:
        ReluscopeError: If the sums are too large for float64 to hold them exactly.

    Example:
        >>> weight = torch.tensor([[[1, -1]]])  # signs; 1.5 and -1 as drawn below
        >>> counts = torch.tensor([[[[1, 0]]]])
        >>> simulate_sums(torch.tensor([[[10, 3]]]), weight, torch.zeros(1, 1, 2), counts, 2, 0).total.item()
        24.0
    """
    x = rows.double()
    shape = (len(rows), *sign.shape[:2])
    total = torch.zeros(shape, dtype=torch.float64, device=rows.device)
    magnitude, lost = torch.zeros_like(total), torch.zeros_like(total)
    ones = counts.double().movedim(0, 2)  # (group, output, row, input)
    for value in exponent[sign != 0].unique().tolist():
        here = torch.where(exponent == value, sign, 0).double()[:, :, None]
        for above, times in ((0, samples - ones), (1, ones)):
            # beyond these places a shift leaves nothing, or nothing but the sign
            places = min(max(value + guard_bits + above, -32), 32)
            exact = torch.floor(x * 2.0**places)
            shifted = wrap(exact)
            share = here * times
            total += _product(shifted, share)
            magnitude += _product(shifted.abs(), share.abs())
            lost += _product((shifted != exact).double(), share.abs())
    if (magnitude >= EXACT).any():
        raise ReluscopeError(
            f"the products of one output add up to a magnitude of {magnitude.max().item():.3g}, expected less than "
            "2^52, beyond which float64 rounds; give fewer samples or guard bits"
        )
    wrapped = wrap(total)
    certain = (wrapped != total) | (lost > 0)
    positive, negative = (magnitude + total) / 2, (magnitude - total) / 2
    return Sums(wrapped, certain, certain | (positive > 2.0**31 - 1) | (negative > 2.0**31))


def _product(rows: Tensor, weight: Tensor) -> Tensor:
    # rows (row, group, input) with weights (group, output, row or 1, input) to (row, group, output)
    if weight.shape[2] == 1:
        return torch.einsum("rgi,goi->rgo", rows, weight[:, :, 0])
    return torch.einsum("rgi,gori->rgo", rows, weight)


def simulate_capacitor(sums: Sums, bias: Tensor, sample_bits: int, places: int) -> tuple[Tensor, Tensor, Sums]:
    """Average the samples, add the bias, round half to even, and saturate.

    Args:
        sums: `(row, group, output)`.
        bias: Integers within 32 bits, `(group, output)`.
        sample_bits: log2 n.
        places: The result is divided by 2^places.

    Returns:
        The outputs, int16 `(row, group, output)`; which of them were saturated; the accumulators with the bias.
    """
    exact = torch.floor(sums.total / 2.0**sample_bits) + bias.double()
    total = wrap(exact)
    over = total != exact
    rounded = torch.round(total / 2.0**places)
    kept = rounded.clamp(-(2.0**15), 2.0**15 - 1)
    return kept.to(torch.int16), kept != rounded, Sums(total, sums.certain | over, sums.possible | over)
