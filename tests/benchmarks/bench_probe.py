"""Probing 50 learning rates against the bare forward pass.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_probe.py`; it fails, or exits with 1, where the
probe takes more than 55 times the bare pass. Both run in training mode on the same batch; they take turns, as many
passes of one as of the other, so that both see the same load, and the median of the turns counts. A forward pass of
training, which records a graph, is timed too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope_plugins.temperature.distance import pattern_distances

BATCH = 128
RATES = np.geomspace(1e-4, 1e2, 50)
BOUND = 55.0
"""How many times the bare forward pass the probe may take."""


def ratios(images: torch.Tensor, labels: torch.Tensor, rounds: int = 3) -> tuple[float, float, int, str]:
    """Time a probe of a ResNet-20.

    Args:
        images: `(sample, channel, height, width)`.
        labels: `(sample,)`.
        rounds: How often each is timed.

    Returns:
        How many bare passes it takes, how many forward passes of training, how many passes it makes, and a line to
        print.
    """
    model = rs.Lab().architectures["resnet"].build(depth=20, seed=0).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()

    def bare() -> None:
        with torch.no_grad():
            for _ in range(len(RATES) + 1):
                model(images)

    def training() -> None:
        for _ in range(len(RATES) + 1):
            model(images)

    def probe() -> None:
        pattern_distances(model, images, rs.OptimizerStep(optimizer), RATES.tolist())

    works: dict[str, Callable[[], None]] = {"bare": bare, "training": training, "probe": probe}
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    passes: list[int] = []
    handle = model.register_forward_hook(lambda *_: passes.append(1))
    probe()
    handle.remove()
    median = {name: float(np.median(found)) / (len(RATES) + 1) for name, found in times.items()}
    one = median["probe"] * (len(RATES) + 1)
    to_bare, to_training = one / median["bare"], one / median["training"]
    return (
        to_bare,
        to_training,
        len(passes),
        f"50 rates on ResNet-20, {len(images)} images: {one:.2f} s in {len(passes)} passes, {to_bare:.1f} times the "
        f"bare pass of {1000 * median['bare']:.0f} ms (at most {BOUND:g}), {to_training:.1f} times the forward pass of "
        f"training of {1000 * median['training']:.0f} ms",
    )


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
    to_bare, _, passes, text = ratios(*found)
    with capsys.disabled():
        print(f"\n{text}; load average {os.getloadavg()[0]:.2f}")
    assert passes == 51
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
    to_bare, _, _, text = ratios(*found)
    print(text)
    return 0 if to_bare <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
