"""What ActCooLR costs: a training's wall time with it over that of the same training with torch's OneCycleLR.

Run it with `make benchmarks`, or with `python tests/benchmarks/bench_actcoolr.py`; it fails, or exits with 1, where a
ratio misses its bound. Both trainings take turns in one process, some steps of one and the same steps of the other, so
that both see the same load. The data are those that `RELUSCOPE_DATA` names.

A whole training is a multiple of what is timed here, and its first fit comes but once. So next to the ratio of all
steps, first fit included, three more are printed: how many plain steps a full fit costs, how often it came, and the
ratio of the steps after the first.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reluscope.lab import Lab
from reluscope_plugins.schedulers import ActCooLR

BOUND = 1.08
"""How many times the training with OneCycleLR the one with ActCooLR may take."""
BATCH = 128
TURN = 8
"""Steps of a turn: those from one measurement to the next."""


@dataclass
class Training:
    """A training and the time that each of its steps took."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    seconds: list[float] = field(default_factory=list)
    fits: list[int] = field(default_factory=list)
    probes: list[int] = field(default_factory=list)

    def step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take one step.

        Args:
            x: Images.
            y: Labels.
        """
        begin = time.perf_counter()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(x), y)
        loss.backward()
        self.optimizer.step()
        if isinstance(self.scheduler, ActCooLR):
            self.scheduler.step(x)
        else:
            self.scheduler.step()
        self.seconds.append(time.perf_counter() - begin)
        self.fits.append(getattr(self.scheduler, "fits", 0))
        self.probes.append(getattr(self.scheduler, "probes", 0))


def training(name: str, steps: int, *, cools: bool, **params: Any) -> Training:
    """Start a training.

    Args:
        name: Architecture.
        steps: Optimizer steps.
        cools: Whether with ActCooLR.
        params: Of the architecture.

    Returns:
        The training.
    """
    model = Lab().architectures[name].build(seed=0, **params).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler: Any
    if cools:
        scheduler = ActCooLR(optimizer, model, steps)
    else:
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, steps, cycle_momentum=False)
    return Training(model, optimizer, scheduler)


def batches(x: torch.Tensor, y: torch.Tensor, steps: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield random batches, without end to the data."""
    generator = torch.Generator().manual_seed(0)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = torch.randperm(len(x), generator=generator)
        chosen, order = order[:BATCH], order[BATCH:]
        yield x[chosen], y[chosen]


def cost(name: str, x: torch.Tensor, y: torch.Tensor, steps: int, total_steps: int, **params: Any) -> tuple[float, str]:
    """Time both trainings.

    Args:
        name: Architecture.
        x: Images.
        y: Labels.
        steps: Optimizer steps of each that are timed.
        total_steps: Optimizer steps of the whole training.
        params: Of the architecture.

    Returns:
        The ratio of all steps, and lines to print.
    """
    ours, plain = (training(name, total_steps, cools=cools, **params) for cools in (True, False))
    waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
    turns = 0
    for number, batch in enumerate(batches(x, y, steps), start=1):
        waiting.append(batch)
        if len(waiting) == TURN or number == steps:
            for one in (ours, plain) if turns % 2 else (plain, ours):
                for part in waiting:
                    one.step(*part)
            waiting, turns = [], turns + 1
    with_it, without = np.array(ours.seconds), np.array(plain.seconds)
    fitting = np.diff(ours.fits, prepend=0) > 0
    step = float(np.median(without))
    measuring = (np.diff(ours.probes, prepend=0) > 0) & ~fitting
    other = ~measuring & ~fitting
    ratio = with_it.sum() / without.sum()
    return ratio, (
        f"{name}, batch {BATCH}, {steps} steps: ratio {ratio:.3f} (at most {BOUND}); "
        f"{with_it[1:].sum() / without[1:].sum():.3f} from the second step on\n"
        f"  a plain step takes {1000 * step:.1f} ms; "
        f"the first, with its fit, {with_it[0] / step:.1f} times that; {fitting.sum()} full fits, "
        f"{(with_it[fitting].sum() / step - fitting.sum()) / max(fitting.sum(), 1):.1f} steps each\n"
        f"  median step with a measurement {np.median(with_it[measuring]) / step:.3f}, "
        f"without one {np.median(with_it[other]) / step:.3f}; "
        f"median turn {np.median(_turns(with_it)) / np.median(_turns(without)):.3f}; "
        f"{ours.scheduler.probes / steps:.2f} forward passes of {ours.scheduler.samples} samples a step"
    )


def _turns(seconds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return seconds[: len(seconds) // TURN * TURN].reshape(-1, TURN).sum(1)


def fashion_mnist(root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the training images.

    Args:
        root: Folder with the data.

    Returns:
        Images, standardised, and labels.
    """
    x, y = Lab().datasets["fashion_mnist"].load("train", root).tensors  # type: ignore[attr-defined]
    return x, y


def cifar10(root: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read the training images of the subset.

    Args:
        root: Folder with the data.

    Returns:
        Images, standardised, and labels.
    """
    with np.load(root / "cifar10" / "cifar10_10k.npz") as data:
        x, y = torch.from_numpy(data["x_train"]), torch.from_numpy(data["y_train"])
    return ((x.permute(0, 3, 1, 2).float() / 255 - 0.45) / 0.25).contiguous(), y.long()


def folder() -> Path | None:
    """Return the folder with the data, None where there is none."""
    path = Path(os.environ.get("RELUSCOPE_DATA", ""))
    return path if (path / "cifar10" / "cifar10_10k.npz").is_file() and (path / "FashionMNIST").is_dir() else None


WORKS: dict[str, Any] = {
    "f1": lambda root: cost("f1", *fashion_mnist(root), 15 * 469, 15 * 469),
    "resnet20": lambda root: cost("resnet", *cifar10(root), 160, 100 * 391, depth=20),
}
"""F1 on FashionMNIST, all 15 epochs; ResNet-20 on CIFAR-10, of which 10,000 images do, the first 160 steps of 100
epochs: as the first are the most expensive, the whole costs less."""


@pytest.mark.parametrize("work", list(WORKS))
def test_a_training_takes_hardly_longer(work: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = folder()
    if root is None:
        pytest.skip("RELUSCOPE_DATA does not name a folder with FashionMNIST and cifar10/cifar10_10k.npz")
    ratio, text = WORKS[work](root)
    with capsys.disabled():
        print(f"\n{text}; load average {os.getloadavg()[0]:.2f}")
    assert ratio <= BOUND


def main() -> int:
    """Print both ratios.

    Returns:
        0 where both hold, 1 where one does not, 2 without the data.
    """
    root = folder()
    if root is None:
        print("RELUSCOPE_DATA does not name a folder with FashionMNIST and cifar10/cifar10_10k.npz", file=sys.stderr)
        return 2
    good = True
    for work in sys.argv[1:] or WORKS:
        ratio, text = WORKS[work](root)
        print(f"{text}; load average {os.getloadavg()[0]:.2f}", flush=True)
        good &= ratio <= BOUND
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
