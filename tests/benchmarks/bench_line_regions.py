"""How fast all breakpoints between two inputs are found.

Run it with `make benchmarks`, among the others; it fails where a bound is missed. The data are those that
`RELUSCOPE_DATA` names.

The physical unit is the network's bare forward pass, in float64, over as many inputs as there are pieces: each
breakpoint has to be looked at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from reluscope.lab import Lab
from reluscope_plugins.regions.line_regions import line_regions

LAB = Lab()
WIDTHS = [784, 512, 512, 512, 512, 512, 10]


def seconds(work: Callable[[], object]) -> float:
    """Time one call.

    Args:
        work: What to time.

    Returns:
        Its wall time in seconds.
    """
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def images(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return MNIST.

    Args:
        split: `"train"` or `"test"`.

    Returns:
        Images and labels.
    """
    root = os.environ.get("RELUSCOPE_DATA")
    if not root:
        pytest.skip("RELUSCOPE_DATA is not set: point it at the folder with the real data")
    return LAB.datasets["mnist"].load(split, Path(root)).tensors


def trained(x: torch.Tensor, y: torch.Tensor) -> nn.Module:
    """Train the dense network for an epoch.

    Args:
        x: Images.
        y: Labels.

    Returns:
        The network, in eval mode.
    """
    model = LAB.architectures["mlp"].build(seed=0, widths=WIDTHS)
    optimizer = torch.optim.Adam(model.parameters())
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    for batch in order.split(128):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
        optimizer.step()
    return model.eval()


def test_between_two_test_images(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = images("test")
    model = trained(*images("train"))
    with torch.no_grad():
        accuracy = float((model(x).argmax(1) == y).double().mean())
    exact = model.double()
    line_regions(exact, x[:2], pieces=False)
    for pair in (x[:2], x[[3, 2]], x[[7, 5]]):
        count = int(line_regions(exact, pair, pieces=False).region_count)
        taken = min(seconds(lambda pair=pair: line_regions(exact, pair, pieces=False)) for _ in range(3))
        whole = seconds(lambda pair=pair: line_regions(exact, pair))
        t = torch.linspace(0, 1, count, dtype=torch.float64).reshape(-1, 1, 1, 1)
        points = torch.lerp(pair[:1].double(), pair[1:].double(), t)
        with torch.no_grad():
            bare = min(seconds(lambda points=points: exact(points)) for _ in range(3))
        with capsys.disabled():
            print(
                f"784-512x5-10, one epoch of MNIST ({accuracy:.3f}): {count} regions in {taken:.2f} s (below 1 s), "
                f"{taken / bare:.1f} bare passes; with slopes and offsets {whole:.2f} s"
            )
        assert taken < 1


def test_a_residual_network(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).eval().double()
    begin = torch.randn(3, 32, 32, dtype=torch.float64)
    points = torch.stack((begin, begin + 0.02 * torch.randn(3, 32, 32, dtype=torch.float64)))
    found = []
    taken = seconds(lambda: found.append(line_regions(model, points, pieces=False)))
    count = int(found[0].region_count)
    with torch.no_grad():
        bare = seconds(lambda: model(points[:1].expand(50, -1, -1, -1))) / 50 * count
    with capsys.disabled():
        print(f"resnet18, 3 x 32 x 32: {count} regions in {taken:.1f} s, {taken / bare:.1f} bare passes (below 10)")
    assert taken < 10 * bare
