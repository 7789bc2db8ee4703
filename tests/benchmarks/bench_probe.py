"""Probing 50 learning rates against the bare forward pass.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_probe.py`; it fails, or exits with 1, where the
probe takes more than 55 times the bare pass. Both run in training mode on the same batch; they take turns of five
passes, so that both see the same load, and the median of the turns' ratios counts. It is of processor time, over which
other work on the machine has less say; the wall time's is printed too, and that to a forward pass of training, which
records a graph.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope.observation import observe
from reluscope.preserve import preserved
from reluscope_plugins.temperature.distance import changes

Array = np.ndarray[Any, Any]

BATCH = 128
TURN = 5
RATES = np.geomspace(1e-4, 1e2, 50)
BOUND = 55.0
"""How many times the bare forward pass the probe may take."""


def ratios(images: torch.Tensor, labels: torch.Tensor, rounds: int = 2) -> tuple[float, str]:
    """Time a probe of a ResNet-20.

    Args:
        images: `(sample, channel, height, width)`.
        labels: `(sample,)`.
        rounds: How often each is timed.

    Returns:
        How many bare passes it takes, and a line to print.
    """
    model = rs.Lab().architectures["resnet"].build(depth=20, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def bare() -> None:
        with torch.no_grad():
            for _ in range(TURN):
                model(images)

    def training() -> None:
        for _ in range(TURN):
            model(images)

    bare_times, training_times, starts, probes = [], [], [], []
    for _ in range(rounds):
        with preserved(model):
            starts.append(timed(lambda: rs.OptimizerStep(optimizer)))
            step = rs.OptimizerStep(optimizer)
            starts[-1] = starts[-1] + timed(lambda step=step: observe(model, images, patterns_only=True, step=step))
            before = observe(model, images, patterns_only=True, step=step)
        for place in range(0, len(RATES), TURN):
            rates = RATES[place : place + TURN].tolist()
            bare_times.append(timed(bare))
            probes.append(timed(lambda rates=rates, before=before, step=step: changes(before, step, rates)))
            training_times.append(timed(training))

    def times(one: list[Array], other: list[Array]) -> Array:
        turn = np.median(np.array(probes) / np.array(other), axis=0) * len(RATES)
        return np.asarray(turn + np.median(np.array(starts), axis=0) / (np.median(np.array(one), axis=0) / TURN))

    to_bare, to_training = times(bare_times, bare_times), times(training_times, training_times)
    wall = np.median(np.array(bare_times), axis=0)[1] / TURN
    return float(to_bare[0]), (
        f"50 rates on ResNet-20, {len(images)} images: {to_bare[0]:.1f} times the bare pass (at most {BOUND:g}; by "
        f"wall time {to_bare[1]:.1f} times {1000 * wall:.0f} ms), {to_training[0]:.1f} times a training forward pass "
        f"(by wall time {to_training[1]:.1f})"
    )


def timed(work: Callable[[], object]) -> Array:
    """Time a work.

    Args:
        work: What is timed.

    Returns:
        Processor time and wall time in seconds.
    """
    start = time.process_time(), time.perf_counter()
    work()
    return np.array([time.process_time() - start[0], time.perf_counter() - start[1]])


def cifar() -> tuple[torch.Tensor, torch.Tensor] | None:
    """Read CIFAR-10 test images.

    Returns:
        One batch, standardised, and its labels; None where the data are not there.
    """
    path = Path(os.environ.get("RELUSCOPE_DATA", "")) / "cifar10" / "cifar10_10k.npz"
    if not path.is_file():
        return None
    with np.load(path) as data:
        images = torch.from_numpy(data["x_test"][:BATCH]).permute(0, 3, 1, 2).float() / 255
        labels = torch.from_numpy(data["y_test"][:BATCH]).long()
    return ((images - 0.45) / 0.25).contiguous(), labels


def test_fifty_rates(capsys: pytest.CaptureFixture[str]) -> None:
    found = cifar()
    if found is None:
        pytest.skip("RELUSCOPE_DATA does not name a folder with cifar10/cifar10_10k.npz")
    to_bare, text = ratios(*found)
    with capsys.disabled():
        print(f"\n{text}; load average {os.getloadavg()[0]:.2f}")
    assert to_bare <= BOUND


def main() -> int:
    """Print the ratios.

    Returns:
        0 where the bound holds, else 1.
    """
    found = cifar()
    if found is None:
        print("RELUSCOPE_DATA does not name a folder with cifar10/cifar10_10k.npz", file=sys.stderr)
        return 1
    to_bare, text = ratios(*found)
    print(text)
    return 0 if to_bare <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
