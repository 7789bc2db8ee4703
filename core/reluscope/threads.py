"""Work for several threads: numpy lets go of the interpreter's lock while it computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

P = TypeVar("P")
R = TypeVar("R")


def in_threads(work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
    """Do parts of a work at the same time, in as many threads as torch uses.

    Args:
        work: What is done with each part.
        parts: The parts.

    Returns:
        What it gave, in the order of the parts, whatever the number of threads.

    Example:
        >>> in_threads(len, ["a", "bc"])
        [1, 2]
    """
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:  # made anew: threads do not outlive a fork
        return list(pool.map(work, parts))
