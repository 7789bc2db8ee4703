"""What it costs to watch rank, slope and distance to the edge during a training.

Run it with `make benchmarks`, among the others; it fails where the bound is missed. The data are those that
`RELUSCOPE_DATA` names.

F1 is trained on FashionMNIST; after each epoch one `Watch` measures rank, 2-slope and distance on 500 images of the
test set. What the watch takes is compared with what the epoch takes, epoch by epoch, so that both see the same load.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import reluscope as rs
from reluscope.lab import Lab

LAB = Lab()
METRICS = ["affine_rank", "slope", "edge_distance"]
POINTS, BATCH, EPOCHS = 500, 128, 3
BOUND = 0.25


def shares(root: Path) -> tuple[list[float], list[float]]:
    """Train, watch, and time both.

    Args:
        root: Folder with the data.

    Returns:
        Seconds of each epoch, and of the watch after it.
    """
    dataset = LAB.datasets["fashion_mnist"]
    images, labels = dataset.load("train", root).tensors
    points = dataset.load("test", root).tensors[0][:POINTS]
    model = LAB.architectures["f1"].build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    epochs, watches = [], []
    with rs.Watch(model, METRICS, data=[points], every=1, lab=LAB) as watch:
        for _ in range(EPOCHS):
            begin = time.perf_counter()
            for some in torch.randperm(len(images), generator=generator).split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(images[some]), labels[some]).backward()
                optimizer.step()
            middle = time.perf_counter()
            watch.step()
            epochs.append(middle - begin)
            watches.append(time.perf_counter() - middle)
    return epochs, watches


def test_watch_of_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    root = os.environ.get("RELUSCOPE_DATA")
    if not root:
        pytest.skip("RELUSCOPE_DATA is not set: point it at the folder with the real data")
    epochs, watches = shares(Path(root))
    share = float(np.median(np.array(watches) / np.array(epochs)))
    with capsys.disabled():
        print(
            f"F1 on FashionMNIST: an epoch takes {np.median(epochs):.1f} s, {', '.join(METRICS)} of {POINTS} points "
            f"{np.median(watches):.2f} s: {100 * share:.0f} % (at most {100 * BOUND:.0f} %)"
        )
    assert share <= BOUND
