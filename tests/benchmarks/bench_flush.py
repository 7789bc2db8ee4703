"""A flush costs the same however long the run is: the 10,000th against the 10th.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_flush.py [FLUSHES]`; it fails, or exits with 1,
where the ratio is above 2.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from reluscope.archive import ArchiveWriter

FLUSHES = 10_000
MOST = 2.0
WINDOW = 15
LABEL = {"long_name": "value", "units": "1"}
SITES = np.array([f"layer{index}.relu#0" for index in range(5)])


def measure(flushes: int, folder: Path) -> tuple[float, float]:
    """Time the last flushes of a long run, in turn with those around the 10th of a fresh one, under the same load.

    Args:
        flushes: How many the long run has.
        folder: Where to put the runs.

    Returns:
        Medians around the 10th and of the last flushes, in seconds.
    """
    early, late = [], []
    with ArchiveWriter(folder / "run.nc", attrs={}) as run, ArchiveWriter(folder / "fresh.nc", attrs={}) as fresh:
        for number in range(10 - WINDOW // 2):
            flush(fresh, number)
        for number in range(flushes - WINDOW):
            flush(run, number)
        for number in range(WINDOW):
            late.append(flush(run, flushes - WINDOW + number))
            early.append(flush(fresh, 10 - WINDOW // 2 + number))
    return statistics.median(early), statistics.median(late)


def flush(writer: ArchiveWriter, epoch: int) -> float:
    """Append the data of one epoch and flush them.

    Args:
        writer: The run.
        epoch: Which.

    Returns:
        How long the flush took, in seconds.
    """
    rng = np.random.default_rng(epoch)
    data = xr.Dataset(
        {"loss": ("epoch", rng.random(1), LABEL), "firing_rate": (("epoch", "site"), rng.random((1, 5)), LABEL)},
        {"epoch": ("epoch", [epoch], LABEL), "site": ("site", SITES, LABEL)},
    )
    writer.append("epoch", data, {"seed": 0})
    start = time.perf_counter()
    writer.flush({"epoch": epoch})
    return time.perf_counter() - start


def report(flushes: int, folder: Path) -> tuple[float, str]:
    """Measure, and put it into words.

    Args:
        flushes: How many.
        folder: Where to put the run.

    Returns:
        The ratio, and a line that says it.
    """
    early, late = measure(flushes, folder)
    load = f"load average {os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "load average unknown"
    return late / early, (
        f"10th flush {early * 1e3:.2f} ms, {flushes:,}th flush {late * 1e3:.2f} ms, ratio {late / early:.2f} "
        f"(at most {MOST:g}), {load}"
    )


def test_a_flush_costs_the_same_however_long_the_run_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratio, line = report(FLUSHES, tmp_path)
    with capsys.disabled():
        print(f"\n{line}")
    assert ratio <= MOST, line


def main() -> int:
    """Print the ratio.

    Returns:
        The exit status.
    """
    with tempfile.TemporaryDirectory() as folder:
        ratio, line = report(int(sys.argv[1]) if len(sys.argv) > 1 else FLUSHES, Path(folder))
    print(line)
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
