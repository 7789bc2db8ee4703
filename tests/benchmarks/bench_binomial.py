"""What a draw of 25 million weights at 16 samples costs: time over that of `torch.binomial`, and memory.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_binomial.py`; it fails, or exits with 1, where a
bound is missed. Both draws take turns in one process, so that both see the same load, and both are given one thread
(torch's draws in one however many there are). The ratio is that of the processor's time, which others' load does not
change; that of the wall's is printed beside it.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable

import pytest
import torch

from reluscope_plugins.number_systems.psb import PSB

WEIGHTS, SAMPLES, PIECES = 25_000_000, 16, 10
BOUND = 5.0
"""How many times as long `torch.binomial` takes at least."""
SPARE = 16 << 20
"""Bytes that a draw may take beside its output."""


def peak() -> int:
    """Return the most memory that the process ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Return the processor's and the wall's seconds."""
    processor, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def cost() -> tuple[float, int, str]:
    """Measure.

    Returns:
        The ratio of the processor's times, bytes beside weights and output, and lines to print.
    """
    system, generator = PSB(), torch.Generator().manual_seed(0)
    weight = torch.empty(WEIGHTS).normal_(generator=generator)
    encoded = system.encode(weight)
    system.draw(system.encode(weight[:1000]), SAMPLES, generator)  # compiles
    before = peak()
    system.draw(encoded, SAMPLES, generator)
    beside = peak() - before - WEIGHTS * 4
    number = torch.full((WEIGHTS // PIECES,), float(SAMPLES))
    ours, theirs = [], []
    for piece in weight.chunk(PIECES):
        code = system.encode(piece)
        probability = code.probability
        ours.append(timed(lambda code=code: system.draw(code, SAMPLES, generator)))
        theirs.append(timed(lambda p=probability: torch.binomial(number, p, generator=generator)))
    (mine, my_wall), (other, other_wall) = (map(sum, zip(*times, strict=True)) for times in (ours, theirs))
    return (
        other / mine,
        beside,
        (
            f"{WEIGHTS} weights, {SAMPLES} samples: {1e9 * mine / WEIGHTS:.1f} ns a weight, torch.binomial "
            f"{1e9 * other / WEIGHTS:.1f} ns: ratio {other / mine:.1f} (at least {BOUND:.0f}), of wall time "
            f"{other_wall / my_wall:.1f}; {max(beside, 0) / 2**20:.1f} MiB beside input and output; load average "
            f"{os.getloadavg()[0]:.2f}"
        ),
    )


def test_draws_are_fast_and_small(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ratio, beside, text = cost()
    finally:
        torch.set_num_threads(threads)
    with capsys.disabled():
        print(f"\n{text}")
    assert ratio >= BOUND
    assert beside <= SPARE


def main() -> int:
    """Print both.

    Returns:
        0 where both hold, 1 where one does not.
    """
    torch.set_num_threads(1)
    ratio, beside, text = cost()
    print(text)
    return 0 if ratio >= BOUND and beside <= SPARE else 1


if __name__ == "__main__":
    sys.exit(main())
