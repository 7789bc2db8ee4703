"""How many patterns were seen how often, and whether the samples are enough."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from reluscope.errors import ObservationError

SATURATED_SHARE = 0.9
"""Share of samples with a pattern of their own from which on an entropy measures the sample size."""

_CHUNK = 1 << 22
_TABLE = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class Multiplicities:
    """How many patterns were seen how often: all that an entropy needs to know of the counts.

    Attributes:
        count: How often a pattern was seen, rising, positive, int64 `(multiplicity,)`.
        patterns: How many patterns were seen that often, positive, int64 `(multiplicity,)`.

    Raises:
        ObservationError: If these are not as said.

    Example:
        >>> Multiplicities(np.array([1, 7]), np.array([3, 1])).samples
        10
    """

    count: npt.NDArray[np.int64]
    patterns: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        count, patterns = self.count, self.patterns
        whole = count.dtype.kind == patterns.dtype.kind == "i" and count.ndim == 1 and count.shape == patterns.shape
        if not whole or (np.diff(count, prepend=0) <= 0).any() or (patterns <= 0).any():
            got = f"count {count.dtype} {count.shape} and patterns {patterns.dtype} {patterns.shape}"
            raise ObservationError(
                f"got {got}, expected positive integers, count rising; make them by multiplicities()"
            )

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.count @ self.patterns)

    @property
    def distinct(self) -> int:
        """Number of distinct patterns."""
        return int(self.patterns.sum())

    def seen(self, times: int) -> int:
        """Count the patterns that were seen so often.

        Args:
            times: How often.

        Returns:
            How many.
        """
        return int(self.patterns[self.count == times].sum())


def multiplicities(counts: npt.ArrayLike) -> Multiplicities:
    """Count how many patterns were seen how often.

    It reads the counts once, in pieces, and sorts only those of 65,536 and more.

    Args:
        counts: How often each distinct pattern was seen, positive integers `(pattern,)` in any order.

    Returns:
        The frequencies of these frequencies; empty for no counts.

    Raises:
        ObservationError: If the counts are not whole, not positive or not one-dimensional.

    Example:
        >>> found = multiplicities([5, 1, 1, 5, 1])
        >>> found.count.tolist(), found.patterns.tolist()
        ([1, 5], [3, 2])
    """
    counts = np.asarray(counts)
    if counts.ndim != 1 or (counts.dtype.kind not in "iu" and counts.size):
        raise ObservationError(
            f"got counts of {counts.dtype}, shape {counts.shape}, expected integers in one dim; count patterns first"
        )
    table = np.zeros(_TABLE, np.int64)
    great = [np.zeros(0, np.int64)]
    for start in range(0, counts.size, _CHUNK):
        chunk = counts[start : start + _CHUNK].astype(np.int64, copy=False)
        if chunk.min() < 1:
            raise ObservationError(f"got a count of {chunk.min()}, expected at least 1; leave out what was not seen")
        table += np.bincount(chunk[chunk < _TABLE], minlength=_TABLE)
        great.append(chunk[chunk >= _TABLE])
    small = np.flatnonzero(table)
    values, numbers = np.unique(np.concatenate(great), return_counts=True)
    return Multiplicities(np.concatenate([small, values]), np.concatenate([table[small], numbers]).astype(np.int64))


def singleton_share(found: Multiplicities) -> float:
    """Share of the distinct patterns that were seen once.

    Args:
        found: How many patterns were seen how often.

    Returns:
        Between 0 and 1.

    Example:
        >>> singleton_share(multiplicities([1, 1, 1, 7]))
        0.75
    """
    needed(found)
    return found.seen(1) / found.distinct


def coverage(found: Multiplicities) -> float:
    r"""Estimate the probability that a new sample has a pattern already seen.

    $1 - f_1 / n$, where $f_1$ patterns were seen once among $n$ samples.

    Args:
        found: How many patterns were seen how often.

    Returns:
        Between 0 and 1.

    References:
        Good (1953), Biometrika 40, eq. 9, after Turing.

    Example:
        >>> coverage(multiplicities([1, 1, 1, 7]))
        0.7
    """
    return 1 - found.seen(1) / needed(found)


def saturated(found: Multiplicities) -> bool:
    r"""Say whether nearly every sample has a pattern of its own.

    Each pattern seen once adds $\frac{1}{n} \log_2 n$ to the plug-in entropy of $n$ samples. So with a share $s = f_1 /
    n$ of samples whose pattern is seen once it lies between $s \log_2 n$ and $\log_2 n$: at $s \geq 0.9$, a coverage of
    0.1 or less, nine tenths of the number are known before the network is looked at. It measures the sample size.

    Samples that are copies of each other hide this: where each comes twice, no pattern is seen once. Neighbouring
    positions of a convolution come near to it.

    Args:
        found: How many patterns were seen how often.

    Returns:
        Whether the share is at least `SATURATED_SHARE`.

    Example:
        >>> saturated(multiplicities([1] * 9 + [2])), saturated(multiplicities([1] * 18 + [2]))
        (False, True)
    """
    return found.seen(1) >= SATURATED_SHARE * needed(found)


def needed(found: Multiplicities) -> int:
    """Number of samples, of which an estimate needs at least one.

    Args:
        found: How many patterns were seen how often.

    Returns:
        How many.

    Raises:
        ObservationError: If there are none.

    Example:
        >>> needed(multiplicities([3, 1]))
        4
    """
    if found.count.size == 0:
        raise ObservationError("got no samples, expected at least one; an estimate needs a pattern")
    return found.samples
